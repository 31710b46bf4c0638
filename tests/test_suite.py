"""What the suite says of itself holds."""

from __future__ import annotations

import gc
import re
from itertools import product
from pathlib import Path

from tests.conftest import LONGEST


def test_every_marker_has_tests(repository: Path) -> None:
    configuration = (repository / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.findall(r'^    "(\w+): ', configuration.partition("markers = [")[2].partition("]")[0], re.MULTILINE)
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted((repository / "tests").rglob("test_*.py")))
    assert declared
    assert [marker for marker in declared if f"pytest.mark.{marker}" not in sources] == []


def test_the_longest_modules_are_there(repository: Path) -> None:
    assert [name for name in LONGEST if not (repository / "tests" / name).is_file()] == []


def test_every_test_that_is_not_slow_is_of_one_part_of_make_test(repository: Path) -> None:
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    parts = re.findall(r"^\w+_TESTS := .* -m '(.+?)'", makefile, re.MULTILINE)
    assert len(parts) == 3
    for clock, alone, slow in product((False, True), repeat=3):
        marks = {"clock": clock, "alone": alone, "slow": slow}
        assert sum(eval(part, marks) for part in parts) == (not slow), marks


def test_what_was_collected_is_not_looked_through_again() -> None:
    assert gc.isenabled()
    assert gc.get_freeze_count() > 10_000
