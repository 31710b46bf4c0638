"""What holds for the options of every command."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest

import wav_policy.cli
from wav_models.configuration import flat_hints, range_of
from wav_models.field_descriptions import field_descriptions
from wav_policy.cli.main import COMMANDS

MODULES = sorted({command.target.split(":")[0] for command in COMMANDS.values()})
OF_COMMANDS = {module.name for module in pkgutil.iter_modules(wav_policy.cli.__path__, "wav_policy.cli.")}
DESCRIBED = sorted({*MODULES, *OF_COMMANDS} - {"wav_policy.cli.__main__"})
"""All there are: also those that another one imports when an option asks for it."""


def bare_numbers(hint: Any) -> Iterator[type]:
    """Numbers in a type that may be any number."""
    if hint in (int, float):
        yield hint
    elif range_of(hint) is None:
        for part in get_args(hint):
            yield from bare_numbers(part)


def classes_of_arguments(name: str) -> list[type]:
    members = inspect.getmembers(importlib.import_module(name), inspect.isclass)
    return [cls for _, cls in members if is_dataclass(cls) and cls.__name__.endswith("Arguments")]


@pytest.mark.parametrize("name", MODULES)
def test_every_number_has_a_range(name: str) -> None:
    """So that a wrong one is refused in words before anything is loaded."""
    for cls in classes_of_arguments(name):
        for field, hint in flat_hints(cls).items():
            assert not list(bare_numbers(hint)), f"{cls.__name__}.{field}"


@pytest.mark.parametrize("name", DESCRIBED)
def test_every_option_is_described_by_words_that_stand_alone(name: str) -> None:
    """In the help a text stands beside a name in capitals: "Of the plans." is no sentence there."""
    for cls in (cls for cls in classes_of_arguments(name) if cls.__module__ == name):
        described = {key: text for base in reversed(cls.__mro__[:-1]) for key, text in field_descriptions(base).items()}
        for field in fields(cls):
            text = described.get(field.name, "")
            stands_alone = bool(text) and not text[0].islower() and not text.startswith("Of ")
            assert stands_alone, f"{cls.__name__}.{field.name}: {text}"


def test_what_runs_the_networks_is_auto_unless_results_must_not_depend_on_the_machine() -> None:
    classes = {cls for name in DESCRIBED for cls in classes_of_arguments(name)}
    defaults = {cls.__name__: cls.engine for cls in classes if hasattr(cls, "engine")}  # type: ignore[attr-defined]
    assert defaults.pop("EvaluateArguments") == "torch"
    assert defaults.pop("ExportArguments") == "onnxruntime"  # what the graphs are for
    assert len(defaults) > 3
    assert set(defaults.values()) == {"auto"}
