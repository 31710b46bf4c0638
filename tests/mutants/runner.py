"""Runs mutants in copies of the tree, each in a process of its own that has the libraries loaded already."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant

ROOT = Path(__file__).parents[2]
_COPIED = ("wav_models", "wav_policy", "tests", "config", "launch", "docker", "ros2_ws", "pyproject.toml", "Makefile")
_LINKED = ("checkpoints", "docs")
_TIMEOUT = 180
"""Of one test [s]: a fault that makes it hang is noticed, too."""


class Verdict(Enum):
    KILLED = "killed"
    SURVIVED = "SURVIVED"
    BROKEN = "BROKEN"
    """Its tests could not be run, or they fail without it, too."""


@dataclass(frozen=True)
class Outcome:
    """What became of one mutant.

    Attributes:
        seconds: of a processor that its tests took [s].
        detail: the first test that failed, or the end of pytest's output.
    """

    mutant: Mutant
    verdict: Verdict
    seconds: float
    detail: str


@contextmanager
def copied_tree(root: Path = ROOT) -> Iterator[Path]:
    """A copy of what the tests need, in a temporary directory; what is large and never changed is linked."""
    with tempfile.TemporaryDirectory(prefix="wav-mutants-") as name:
        tree = Path(name)
        for entry in _COPIED:
            source = root / entry
            if source.is_dir():
                shutil.copytree(source, tree / entry, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tree / entry)
        for entry in _LINKED:
            (tree / entry).symlink_to(root / entry)
        yield tree


def run_mutants(
    mutants: Sequence[Mutant], num_processes: int, *, tests_first: bool = True, root: Path = ROOT
) -> Iterator[Outcome]:
    """Outcomes as they come, `num_processes` mutants at a time.

    Args:
        mutants: what to try.
        num_processes: at least 1.
        tests_first: run the tests without any mutant before; one whose tests fail then is broken.
        root: of the tree that is copied.

    Raises:
        MutantError: one does not fit the source.
    """
    for mutant in mutants:
        mutant.check(root)
    load_libraries()
    with ExitStack() as stack:
        trees = [stack.enter_context(copied_tree(root)) for _ in range(num_processes)]
        suites = sorted({mutant.tests for mutant in mutants}) if tests_first else []
        failing = {job.tests: found for job, found in _run_jobs([_Job(s) for s in suites], trees) if found.code != 0}
        for mutant in mutants:
            if found := failing.get(mutant.tests):
                yield Outcome(mutant, Verdict.BROKEN, found.seconds, f"fails without the fault: {found.detail}")
        jobs = [_Job(mutant.tests, mutant) for mutant in mutants if mutant.tests not in failing]
        for job, found in _run_jobs(jobs, trees):
            assert job.mutant is not None
            yield Outcome(job.mutant, found.verdict, found.seconds, found.detail)


def load_libraries() -> None:
    """Import what most tests import, once for all processes; nothing of this repository."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for name in ("can", "numpy", "scipy", "yaml"):
        importlib.import_module(name)
    import cv2
    import hypothesis
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)  # a failure is enough, it need not be small
    hypothesis.settings.register_profile("mutants", phases=phases, database=None, derandomize=True, deadline=None)
    hypothesis.settings.load_profile("mutants")


@dataclass(frozen=True)
class _Job:
    tests: tuple[str, ...]
    mutant: Mutant | None = None


@dataclass(frozen=True)
class _Result:
    """Exit status of pytest, processor time it took [s], and the first test that failed or the end of the output."""

    code: int
    seconds: float
    detail: str

    @property
    def verdict(self) -> Verdict:
        """A test that noticed has failed; one that could not even be set up has noticed nothing."""
        if self.code == pytest.ExitCode.TESTS_FAILED and self.detail.startswith("FAILED"):
            return Verdict.KILLED
        return Verdict.SURVIVED if self.code == pytest.ExitCode.OK else Verdict.BROKEN


def _run_jobs(jobs: Iterable[_Job], trees: Sequence[Path]) -> Iterator[tuple[_Job, _Result]]:
    """One job per tree at a time; the tree has the job's fault meanwhile."""
    free, waiting = list(trees), list(reversed(list(jobs)))
    running: dict[int, tuple[_Job, Path, ExitStack]] = {}
    try:
        while waiting or running:
            while waiting and free:
                job, tree, fault = waiting.pop(), free.pop(), ExitStack()
                if job.mutant is not None:
                    fault.enter_context(job.mutant.applied(tree))
                running[_fork(job.tests, tree)] = (job, tree, fault)
            pid, status, usage = os.wait3(0)
            job, tree, fault = running.pop(pid)
            fault.close()
            free.append(tree)
            yield job, _Result(os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, _detail(tree))
    finally:
        for pid in running:  # we were interrupted
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _detail(tree: Path) -> str:
    """The first test that failed in the tree, or the last line of the output."""
    output = _output_file(tree).read_text(encoding="utf-8", errors="replace").splitlines()
    failed = [line for line in output if line.startswith(("FAILED", "ERROR"))]
    return (failed or output[-1:] or ["no output"])[0]


def _output_file(tree: Path) -> Path:
    return tree / "output.txt"


def _fork(tests: Sequence[str], tree: Path) -> int:
    """Run tests of the tree in a child process, which has the libraries; its id."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        with _output_file(tree).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(tree)
        os.environ["PYTHONPATH"] = str(tree)
        sys.path[:] = [str(tree), *(entry for entry in sys.path if Path(entry or ROOT).resolve() != ROOT)]
        for name in [name for name in sys.modules if name.split(".")[0] in ("tests", "wav_models", "wav_policy")]:
            del sys.modules[name]
        code = int(pytest.main(["-x", "-q", f"--timeout={_TIMEOUT}", "-p", "no:cacheprovider", *tests]))
        sys.stdout.flush()
    finally:
        os._exit(code)
