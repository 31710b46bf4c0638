"""ROS parameters from a frozen dataclass: one parameter per field, nested dataclasses as `outer.inner`.

Unknown overrides (from `-p name:=value` or a parameter file) are errors: a misspelt limit must not be ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rclpy.node import Node

T = TypeVar("T")

# Declared by rclpy itself; legal in every node's parameter file.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")


class ParameterError(ValueError):
    """A parameter that does not exist, has the wrong type or an impossible value."""


def declare(node: Node, cls: type[T]) -> T:
    """Declare one read-only parameter per field of `cls` and return the configured instance.

    Args:
        node: its parameter overrides are consumed.
        cls: frozen dataclass; fields are bool, int, float, str, homogeneous tuples of these, or dataclasses.
            Every field has a default.

    Raises:
        ParameterError: an override is no field (names the valid ones), or has the wrong type or value.
    """
    overrides = {name: override.value for name, override in node._parameter_overrides.items()}
    ours = {name: value for name, value in overrides.items() if not _belongs_to_rclpy(name)}
    try:
        config = from_mapping(cls, ours)
    except ParameterError as error:
        raise ParameterError(f"{node.get_name()}: {error}") from None
    _declare_values(node, config)
    return config


def from_mapping(cls: type[T], values: Mapping[str, Any]) -> T:
    """Build `cls` from flat `{"outer.inner": value}`; absent names keep their defaults.

    Raises:
        ParameterError: as `declare`.
    """
    valid = list(parameter_names(cls))
    for name in values:
        if name not in valid:
            raise ParameterError(_unknown(name, valid))
    return _build(cls, values, prefix="")


def parameter_names(cls: type, prefix: str = "") -> Iterator[str]:
    """Flat names of all parameters of `cls`, in field order."""
    for name, kind, _ in _fields(cls):
        if dataclasses.is_dataclass(kind):
            yield from parameter_names(typing.cast(type, kind), f"{prefix}{name}.")
        else:
            yield prefix + name


def _build(cls: type[T], values: Mapping[str, Any], prefix: str) -> T:
    arguments: dict[str, Any] = {}
    for name, kind, _ in _fields(cls):
        full_name = prefix + name
        if dataclasses.is_dataclass(kind):
            arguments[name] = _build(typing.cast(type, kind), values, full_name + ".")
        elif full_name in values:
            arguments[name] = _convert(full_name, values[full_name], kind)
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(f"{prefix.rstrip('.') or 'parameters'}: {error}") from error


def _convert(name: str, value: Any, kind: Any) -> Any:
    """ROS value to field type; an integer is accepted where a float is wanted, nothing else is guessed."""
    if typing.get_origin(kind) is tuple:
        element = typing.get_args(kind)[0]
        if isinstance(value, (str, bytes, bool, int, float)) or value is None:
            raise ParameterError(f"parameter '{name}' must be a list of {element.__name__}, got {value!r}")
        return tuple(_convert(f"{name}[{i}]", _plain(item), element) for i, item in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ParameterError(f"parameter '{name}' must be {kind.__name__}, got {value!r} ({type(value).__name__})")
    return value


def _plain(item: Any) -> Any:
    """Python scalar of an element of a ROS array (which may be a NumPy scalar)."""
    return item.item() if hasattr(item, "item") else item


def _fields(cls: type) -> Iterator[tuple[str, Any, dataclasses.Field[Any]]]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        yield field.name, hints[field.name], field


def _declare_values(node: Node, config: Any, prefix: str = "") -> None:
    from rcl_interfaces.msg import ParameterDescriptor

    for name, kind, _ in _fields(type(config)):
        value = getattr(config, name)
        if dataclasses.is_dataclass(kind):
            _declare_values(node, value, f"{prefix}{name}.")
        elif not node.has_parameter(prefix + name):
            ros_value = list(value) if isinstance(value, tuple) else value
            descriptor = ParameterDescriptor(read_only=True)
            node.declare_parameter(prefix + name, ros_value, descriptor, ignore_override=True)


def _belongs_to_rclpy(name: str) -> bool:
    return name in _RCLPY_PARAMETERS or name.startswith("qos_overrides.")


def _unknown(name: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(name, valid, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"unknown parameter '{name}'.{hint} Valid parameters: {', '.join(valid)}"
