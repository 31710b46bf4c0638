"""What the fields of a configuration mean, read from where that is written: docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from itertools import pairwise
from typing import Any, Final, cast, get_type_hints

_ENTRY: Final = re.compile(r"(\w+(?:, \w+)*): (.*)")


def flat_descriptions(cls: type, prefix: str = "") -> dict[str, str]:
    """Descriptions by flat name, as `wav_models.configuration.flat_hints` gives them; "" where none is written.

    Args:
        cls: dataclass.
    """
    described, hints = field_descriptions(cls), get_type_hints(cls)
    found: dict[str, str] = {}
    for field in fields(cls):
        if is_dataclass(hint := hints[field.name]):
            found |= flat_descriptions(cast(type, hint), f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = described.get(field.name, "")
    return found


def field_descriptions(cls: type) -> dict[str, str]:
    """From the section "Attributes:" of the class's docstring, and from texts that follow a field."""
    return {**dict(_from_section(inspect.getdoc(cls) or "")), **dict(_from_body(cls))}


def _from_section(text: str) -> Iterator[tuple[str, str]]:
    _, _, section = text.partition("Attributes:\n")
    entries = re.split(r"\n(?! )", textwrap.dedent(section.split("\n\n")[0]))
    for entry in entries:
        if found := _ENTRY.fullmatch(" ".join(entry.split())):
            for name in found[1].split(", "):
                yield name, found[2]


def _from_body(cls: type) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except OSError:  # installed without sources
        return
    body: list[Any] = cast(ast.ClassDef, tree.body[0]).body
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            yield cast(ast.Name, field.target).id, " ".join(str(text.value.value).split())
