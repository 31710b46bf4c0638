"""Commands in the pages: every option, launch argument and choice of them exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import pytest

from wav_models import command_line
from wav_policy.bringup.arguments import ARGUMENTS
from wav_policy.cli.main import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("wav", ".venv/bin/wav")
LAUNCH = ["ros2", "launch", "wav_policy"]
ENDS = {"&", "&&", "|", ";", ">"}
CHOICES = {argument.name: argument.choices for argument in ARGUMENTS}


class ParsedError(BaseException):
    """Instead of doing what was asked for."""


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every command in a block of code."""
    for page in PAGES:
        for block in re.findall(r"^ *```(?:sh|text)?\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
            variables: dict[str, str] = {}
            for line in block.replace("\\\n", " ").splitlines():
                try:
                    words = shlex.split(Template(line).safe_substitute(variables), comments=True)
                except ValueError:  # a drawing
                    continue
                while words and re.fullmatch(r"\w+=.*", words[0]):
                    name, _, variables[name] = words.pop(0).partition("=")
                if words and (words[0] in PROGRAMS or words[:3] == LAUNCH):
                    end = next((i for i, word in enumerate(words) if word in ENDS), len(words))
                    yield page.name, words[:end]


def stop(arguments: Any, *_: Any) -> Any:
    raise ParsedError


COMMANDS = list(commands())


@pytest.mark.parametrize(
    ("page", "words"), [pytest.param(*both, id=f"{both[0]}-{i}") for i, both in enumerate(COMMANDS)]
)
def test_a_command_in_a_page_can_be_given(page: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (word.split(":=", 1) for word in words if ":=" in word):
        assert name in CHOICES, (page, words)
        assert not (choices := CHOICES[name]) or value in choices, (page, words)
    if words[:3] == LAUNCH:
        return
    monkeypatch.setattr(command_line, "_checked", stop)
    monkeypatch.setattr("wav_policy.cli.up.parse", stop)
    if words[1:] in (["--version"], ["suite", "list"], ["COMMAND", "--help"]):
        return
    with pytest.raises((ParsedError, SystemExit)) as ended:
        main(words[1:])
    assert ended.type is ParsedError or ended.value.code == 0, (page, words)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 100
