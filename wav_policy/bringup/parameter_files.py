"""Which sections of a ROS parameter file are for a node, as rcl decides it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from wav_models.configuration import ConfigurationError, read

_SECTION: Final = "ros__parameters"


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
            if not isinstance(value, dict | None):
                raise ConfigurationError(f"{file}: {_SECTION} of /{'/'.join(outer)} is {value!r}; a mapping fits")
            yield outer, value or {}
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
