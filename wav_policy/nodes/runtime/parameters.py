"""ROS parameters as a typed configuration: one read-only parameter per field, nested dataclasses as `outer.inner`.

Unknown overrides (from `-p name:=value` or a parameter file) are errors: a misspelt limit must not be ignored. Nor must
a file be whose sections are for nodes of other names, as rcl does: that is said.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from wav_models.configuration import ConfigurationError, flat_names, from_flat, read

if TYPE_CHECKING:
    from rclpy.node import Node

T = TypeVar("T")

# Declared by rclpy itself; legal in every node's parameter file.
_RCLPY_PARAMETERS = ("use_sim_time", "start_type_description_service")
_SECTION = "ros__parameters"


class ParameterError(ConfigurationError):
    """A parameter that does not exist, has the wrong type or an impossible value; names node, parameter and file."""


def declare(node: Node, cls: type[T]) -> T:
    """Declare one read-only parameter per field of `cls` and return the configured instance.

    Args:
        node: its parameter overrides are consumed; its log tells which parameter files apply to it and which do not.
        cls: frozen dataclass as `wav_models.configuration` takes them, with a default for every field.

    Raises:
        ParameterError: an override is no field (names the valid ones), or has the wrong type or value.
    """
    overrides = {name: override.value for name, override in node._parameter_overrides.items()}
    ours = {name: value for name, value in overrides.items() if not _belongs_to_rclpy(name)}
    files = parameter_files(sys.argv)
    sections = {file: section(file, node.get_fully_qualified_name()) for file in files}
    try:
        config = from_flat(cls, ours, node.get_name())
    except ConfigurationError as error:
        origin = [str(file) for file, values in sections.items() if values and error.key in values]
        raise ParameterError(f"{error}{f' ({origin[-1]})' if origin else ''}") from error
    _tell(node, sections)
    _declare_values(node, config)
    return config


def parameter_files(arguments: Sequence[str]) -> list[Path]:
    """The files of a node's command line, in the order in which they apply."""
    return [Path(value) for option, value in pairwise(arguments) if option == "--params-file"]


def section(file: Path, node: str) -> dict[str, Any] | None:
    """What a parameter file holds for a node, by flat name; None where no section is for it.

    Args:
        file: of the form that rcl reads, with `*` and `**` in the names of nodes.
        node: fully qualified name, such as "/robot1/piper_node".

    Raises:
        ConfigurationError: the file cannot be read.
    """
    found = [values for pattern, values in _sections(read(file), ()) if _matches(pattern, node)]
    return {name: value for values in found for name, value in _flat(values)} if found else None


def _sections(data: dict[str, Any], outer: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    for key, value in data.items():
        if key == _SECTION:
            yield outer, value or {}
        elif isinstance(value, dict):
            yield from _sections(value, (*outer, *filter(None, str(key).split("/"))))


def _matches(pattern: tuple[str, ...], node: str) -> bool:
    wildcards = {"*": r"/\w+", "**": r"(/\w+)*"}
    return re.fullmatch("".join(wildcards.get(part, f"/{re.escape(part)}") for part in pattern), node) is not None


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _tell(node: Node, sections: dict[Path, dict[str, Any] | None]) -> None:
    """Who applies a file says so: whoever starts a node cannot know."""
    logger, name = node.get_logger(), node.get_fully_qualified_name()
    if applied := [str(file) for file, values in sections.items() if values is not None]:
        logger.info(f"parameters from {', '.join(applied)}")
    for file in (file for file, values in sections.items() if values is None):
        logger.error(f"NOTHING in {file} applies to this node: no section is for {name}; name one '/**' or '{name}'")


def _declare_values(node: Node, config: Any) -> None:
    from rcl_interfaces.msg import ParameterDescriptor

    for name in flat_names(type(config)):
        value = config
        for attribute in name.split("."):
            value = getattr(value, attribute)
        if not node.has_parameter(name):
            ros_value = list(value) if isinstance(value, tuple) else value
            node.declare_parameter(name, ros_value, ParameterDescriptor(read_only=True), ignore_override=True)


def _belongs_to_rclpy(name: str) -> bool:
    return name in _RCLPY_PARAMETERS or name.startswith("qos_overrides.")
