"""The table of mutants fits the source, its quick part dies, and one that lives is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, MutantError
from tests.mutants.table import FAST, MUTANTS

SAME = Mutant("same", "wav_models/flow.py", "return x_1 - x_0", "return -x_0 + x_1", ("tests/wav_models/test_flow.py",))


def test_every_mutant_fits_the_source(repository: Path) -> None:
    """A snippet that a change has moved or doubled is named here; mend it in tests/mutants/of_*.py."""
    unfit = []
    for mutant in MUTANTS:
        try:
            mutant.check(repository)
        except MutantError as error:
            unfit.append(str(error))
    assert unfit == []


def test_there_are_enough_and_none_twice() -> None:
    names = [mutant.name for mutant in MUTANTS]
    changes = {(mutant.file, mutant.old, mutant.new) for mutant in MUTANTS}
    assert len(names) == len(set(names)) == len(changes) >= 120
    assert set(names) >= FAST
    assert all(mutant.old != mutant.new for mutant in MUTANTS)


def test_one_mutant_of_each_kind_is_killed(repository: Path) -> None:
    command = [sys.executable, "-m", "tests.mutants", "--fast"]
    ran = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(FAST)} of {len(FAST)} mutants killed" in ran.stdout


def test_a_survivor_and_a_mutant_that_cannot_be_tried_are_told(repository: Path) -> None:
    code = """
from dataclasses import replace
from tests.mutants.runner import run_mutants
from tests.mutants.test_mutants import SAME
broken = replace(SAME, name="no_import", old="import annotations", new="import nothing")
for outcome in run_mutants([SAME, broken], 2, tests_first=False):
    print(outcome.mutant.name, outcome.verdict.name)
"""
    source = (repository / SAME.file).read_bytes()
    ran = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False)
    assert sorted(ran.stdout.splitlines()) == ["no_import BROKEN", "same SURVIVED"], ran.stderr
    assert (repository / SAME.file).read_bytes() == source


@pytest.mark.parametrize(
    ("file", "old", "words"),
    [
        ("wav_models/flow.py", "no such text", "same: wav_models/flow.py has 'no such text' 0 times"),
        ("wav_models/flow.py", "return", "same: wav_models/flow.py has 'return' . times"),
        ("wav_models/flow.py", "from __future__", "same: 'x' makes no valid Python of wav_models/flow.py"),
        ("wav_models/gone.py", "return", "same: there is no wav_models/gone.py"),
    ],
)
def test_a_mutant_that_does_not_fit_is_named(repository: Path, file: str, old: str, words: str) -> None:
    with pytest.raises(MutantError, match=words):
        Mutant("same", file, old, "x", SAME.tests).check(repository)
    with pytest.raises(MutantError, match=r"no tests at \['tests/gone.py'\]"):
        Mutant("same", SAME.file, SAME.old, "x", ("tests/gone.py",)).check(repository)
