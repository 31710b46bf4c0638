from __future__ import annotations

import re
from pathlib import Path

import pytest

from wav_models.words import counted

ROOT = Path(__file__).parents[2]
BARE = re.compile(r"\{[a-z_][^{}]*\} (?:episodes|trials|attempts|frames|files|errors|warnings|problems)\b(?!/s)")
"""A number in an f-string with a noun of which there may be one."""


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 episodes"), (1, "1 episode"), (2, "2 episodes"), (21, "21 episodes")]
)
def test_one_thing_is_no_several(number: int, said: str) -> None:
    assert counted(number, "episode") == said


def test_a_plural_may_be_another() -> None:
    assert [counted(number, "process", "processes") for number in (1, 2)] == ["1 process", "2 processes"]


@pytest.mark.parametrize("package", ["wav_models", "wav_policy"])
def test_numbers_in_messages_are_counted(package: str) -> None:
    bare = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in (ROOT / package).rglob("*.py")
        for found in BARE.finditer(path.read_text())
    ]
    assert bare == []
