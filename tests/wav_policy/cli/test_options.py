"""What holds for the options of every command."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any, get_args

import pytest

from wav_models.configuration import flat_hints, range_of
from wav_policy.cli.main import COMMANDS

MODULES = sorted({command.target.split(":")[0] for command in COMMANDS.values()})


def bare_numbers(hint: Any) -> Iterator[type]:
    """Numbers in a type that may be any number."""
    if hint in (int, float):
        yield hint
    elif range_of(hint) is None:
        for part in get_args(hint):
            yield from bare_numbers(part)


@pytest.mark.parametrize("name", MODULES)
def test_every_number_has_a_range(name: str) -> None:
    """So that a wrong one is refused in words before anything is loaded."""
    module = importlib.import_module(name)
    for _, cls in inspect.getmembers(module, lambda member: inspect.isclass(member) and is_dataclass(member)):
        if not cls.__name__.endswith("Arguments"):
            continue
        for field, hint in flat_hints(cls).items():
            assert not list(bare_numbers(hint)), f"{cls.__name__}.{field}"
