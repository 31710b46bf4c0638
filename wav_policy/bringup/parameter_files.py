"""What a ROS parameter file holds for a node, as rcl decides it, and whether it fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from wav_models.configuration import ConfigurationError, flat_hints, from_flat, read

T = TypeVar("T")

_SECTION: Final = "ros__parameters"
_OF_RCLPY: Final = ("use_sim_time", "start_type_description_service")
"""Declared by rclpy itself; legal in every node's parameter file."""
_EXPONENT: Final = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
"""A number to rcl, as to everybody but YAML 1.1."""


class ParameterError(ConfigurationError):
    """A parameter that does not exist, has the wrong type or an impossible value; names node, parameter and file."""


def section(file: Path, node: str) -> dict[str, Any] | None:
    """What a parameter file holds for a node, by flat name; None where no section is for it.

    Args:
        file: of the form that rcl reads, with `*` and `**` in the names of nodes.
        node: fully qualified name, such as "/robot1/piper_node".

    Raises:
        ConfigurationError: the file cannot be read, or a section is no mapping.
    """
    found = [values for pattern, values in _sections(read(file), file) if _matches(pattern, node)]
    return {name: value for values in found for name, value in _flat(values)} if found else None


def typed(cls: type[T], node: str, values: Mapping[str, Any], sections: Mapping[Path, Mapping[str, Any] | None]) -> T:
    """The configuration of a node.

    Args:
        cls: frozen dataclass as `wav_models.configuration` takes them, with a default for every field.
        node: its name, for messages.
        values: all its parameters by flat name, those of rclpy too.
        sections: what its files hold for it, to name the one to blame.

    Raises:
        ParameterError: a parameter is no field (names the valid ones), or has the wrong type or value.
    """
    try:
        return from_flat(cls, {name: value for name, value in values.items() if not _belongs_to_rclpy(name)}, node)
    except ConfigurationError as error:
        origin = [str(file) for file, found in sections.items() if found and error.key in found]
        raise ParameterError(f"{error}{f' ({origin[-1]})' if origin else ''}", error.key) from error


def check_parameters(cls: type, node: str, files: Iterable[Path], decided: Mapping[str, Any]) -> None:
    """What a node will say of its parameters, before it is started.

    Args:
        cls: as `typed`.
        node: fully qualified name, such as "/robot1/piper_node".
        files: later ones win.
        decided: wins over the files.

    Raises:
        ParameterError: see `typed`.
    """
    sections = {file: section(file, node) for file in files}
    hints = flat_hints(cls)
    stated = {
        name: float(value) if _is_number(value) and hints.get(name) is not str else value
        for values in sections.values()
        for name, value in (values or {}).items()
    }
    typed(cls, node.rsplit("/", 1)[-1], {**stated, **decided}, sections)


def names_of_sections(file: Path) -> list[str]:
    """Of which nodes a file speaks, as it writes them.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return [f"/{'/'.join(pattern)}" for pattern, _ in _sections(read(file), file)]


def _sections(
    data: dict[str, Any], file: Path, outer: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for key, value in data.items():
        if key == _SECTION:
            where = f"{file}: {_SECTION} of /{'/'.join(outer)}"
            if not isinstance(value, dict):
                raise ConfigurationError(f"{where} is {'empty' if value is None else repr(value)}; a mapping fits")
            for name, stated in _flat(value):
                if fault := _refused_by_rcl(stated):
                    raise ConfigurationError(f"{where}: {name} {fault}")
            yield outer, value
        elif isinstance(value, dict):
            yield from _sections(value, file, (*outer, *filter(None, str(key).split("/"))))


def _matches(pattern: tuple[str, ...], node: str) -> bool:
    wildcards = {"*": r"/\w+", "**": r"(/\w+)*"}
    return re.fullmatch("".join(wildcards.get(part, f"/{re.escape(part)}") for part in pattern), node) is not None


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _refused_by_rcl(value: Any) -> str:
    """Why rcl would not read the file, which ends every node that is given it; "" where it would."""
    if value is None:
        return "has no value"
    if isinstance(value, list):
        kinds = sorted({"float" if _is_number(item) else type(item).__name__ for item in value})
        if len(kinds) > 1:
            return f"is {value!r}; ROS wants one type in a list, not {' and '.join(kinds)}: 1.0, not 1, among floats"
    return ""


def _belongs_to_rclpy(name: str) -> bool:
    return name in _OF_RCLPY or name.startswith("qos_overrides.")


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and _EXPONENT.fullmatch(value) is not None
