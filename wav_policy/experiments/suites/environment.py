"""An environment of a suite, in a process of its own, that may die or hang without harm to the evaluation."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

import numpy as np

from wav_models.signals import die_with_parent
from wav_models.types import FloatArray, ImageArray
from wav_policy.experiments.suites.catalogue import Suite
from wav_policy.experiments.suites.installation import SuiteError, own_environment, python_of
from wav_policy.experiments.suites.processes.wire import SuiteWireError, read_message, write_message

START_TIMEOUT: Final = 600.0
"""Imports, the scene of a task, and its first layout, before which much is compiled [s]."""
STEP_TIMEOUT: Final = 120.0
"""A request takes a tenth of a second; ten seconds on a very busy machine [s]."""
SILENT_STARTS: Final = 2
"""So many processes in a row that do not answer at their start, and no other is waited for."""

T = TypeVar("T")


class EnvironmentLost(SuiteError):
    """The process has died, hung, refused or answered nonsense: the trial that it was in is not decided."""


class EnvironmentSilent(EnvironmentLost):
    """It did not answer in time."""


@dataclass(frozen=True)
class SuiteSeen:
    """What is known after a step.

    Attributes:
        state: measured, shape [S], in the units of the suite's robot.
        success: the task is done.
    """

    state: FloatArray
    success: bool


@dataclass(frozen=True)
class Demonstrated:
    """A command of a scripted operator.

    Attributes:
        action: the command, [A].
        finished: the operator has done all it wanted to.
        errs: it does what nobody should imitate, and will make it good.
    """

    action: FloatArray
    finished: bool
    errs: bool


class SuiteEnvironment:
    """Tasks of one suite, one at a time; the process is started when first needed.

    Args:
        suite: which.
        command: of the process; that of the suite's installation if None.
        timeout: of a request [s].

    Raises:
        SuiteError: the suite is not installed.
    """

    def __init__(self, suite: Suite, command: Sequence[str] | None = None, timeout: float = STEP_TIMEOUT) -> None:
        self.suite, self._timeout = suite, timeout
        self._command = list(command or (str(python_of(suite.package)), str(suite.package.script)))
        self._process: subprocess.Popen[bytes] | None = None
        self._task: int | None = None
        self._silent_starts = 0
        self.instruction = ""

    def reset(self, task: int, *, state: int | None = None, seed: int = 0) -> SuiteSeen:
        """Begin an episode, past the waiting steps.

        Args:
            task: of the suite.
            state: one of the evaluation's initial states; None: a layout drawn by `seed`.
        """
        if self._task == task:
            return self._ask("reset", self._seen, state=state, seed=seed)
        if self._silent_starts == SILENT_STARTS:
            raise EnvironmentLost(
                f"{self.suite.name}: not tried, for {SILENT_STARTS} processes in a row did not answer at their start; "
                f"`wav suite install {self.suite.package.name}` installs it anew"
            )
        try:
            self.instruction = self._ask("make", _instruction, suite=self.suite.name, task=task, timeout=START_TIMEOUT)
            seen = self._ask("reset", self._seen, state=state, seed=seed, timeout=START_TIMEOUT)
        except EnvironmentSilent:
            self._silent_starts += 1
            raise
        self._task, self._silent_starts = task, 0
        return seen

    def step(self, action: FloatArray) -> SuiteSeen:
        """One command [A], held for one step of the suite's rate."""
        return self._ask("step", self._seen, arrays=[np.asarray(action, dtype=np.float64)])

    def render(self, size: int) -> dict[str, ImageArray]:
        """Images of now by view, uint8 [size, size, 3], as the published evaluations turn them."""
        return self._ask("render", self._images, size=size)

    def operate(self, seed: int, quality: str, hold: int = 1) -> None:
        """Let the suite's scripted operator begin a demonstration in which every command is held for `hold` steps."""
        self._ask("operate", lambda *_: None, seed=seed, quality=quality, hold=hold)

    def demonstrate(self) -> Demonstrated:
        """What the scripted operator would command now."""
        return self._ask("demonstrate", self._demonstrated)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                pipe.close()
        self._process = self._task = None

    def __enter__(self) -> SuiteEnvironment:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _seen(self, header: dict[str, Any], arrays: list[np.ndarray]) -> SuiteSeen:
        return SuiteSeen(_numbers(arrays, self.suite.robot.state_dim), bool(header["success"]))

    def _demonstrated(self, header: dict[str, Any], arrays: list[np.ndarray]) -> Demonstrated:
        action = _numbers(arrays, self.suite.robot.action_dim)
        return Demonstrated(action, bool(header["finished"]), bool(header["errs"]))

    def _images(self, header: dict[str, Any], arrays: list[np.ndarray]) -> dict[str, ImageArray]:
        for image in arrays:
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
                raise ValueError(f"an image of {image.dtype} {list(image.shape)}")
        return dict(zip(self.suite.robot.view_names, arrays, strict=True))

    def _ask(
        self,
        request: str,
        understand: Callable[[dict[str, Any], list[np.ndarray]], T],
        *,
        arrays: Sequence[np.ndarray] = (),
        timeout: float | None = None,
        **arguments: Any,
    ) -> T:
        """What `understand` makes of the answer.

        EnvironmentLost where there is none in time, one that is an error, or another than was asked for; the process is
        gone then.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        limit = timeout or self._timeout
        try:
            write_message(process.stdin, {"request": request, **arguments}, arrays)  # type: ignore[arg-type]
            reply = read_message(_Reader(process, time.monotonic() + limit))
        except TimeoutError as error:
            self.close()
            raise EnvironmentSilent(f"{self.suite.name}: did not answer {request!r} within {limit:g} s") from error
        except SuiteWireError as error:
            code = process.poll()
            self.close()
            raise EnvironmentLost(
                f"{self.suite.name}: {error}" + ("" if code is None else f" (exit code {code})")
            ) from error
        if "error" in reply[0]:
            self.close()
            raise EnvironmentLost(f"{self.suite.name}: {request} failed: {reply[0]['error']}")
        try:
            return understand(*reply)
        except (LookupError, TypeError, ValueError) as error:
            self.close()
            raise EnvironmentLost(f"{self.suite.name}: what it answers {request!r} is no answer: {error!r}") from error

    def _start(self) -> subprocess.Popen[bytes]:
        """Without our own packages on its path, and gone with us, even where it hangs and sees no end of its input."""
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=own_environment(),
            preexec_fn=partial(die_with_parent, signal.SIGKILL),
        )


def _instruction(header: dict[str, Any], arrays: list[np.ndarray]) -> str:
    return str(header["instruction"])


def _numbers(arrays: list[np.ndarray], count: int) -> FloatArray:
    """The only array of an answer, shape [count]; ValueError unless it is that, and finite."""
    (numbers,) = arrays
    if numbers.shape != (count,):
        raise ValueError(f"shape {list(numbers.shape)} where [{count}] fits")
    if not np.isfinite(numbers).all():
        raise ValueError(f"not finite at index {np.flatnonzero(~np.isfinite(numbers)).tolist()}")
    return numbers


class _Reader:
    """Reads exactly so many bytes of a process's output; TimeoutError at the deadline [s, monotonic]."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        assert process.stdout is not None
        self._file, self._deadline = process.stdout.fileno(), deadline

    def __call__(self, count: int) -> bytes:
        parts, missing = [], count
        with selectors.DefaultSelector() as selector:
            selector.register(self._file, selectors.EVENT_READ)
            while missing:
                if not selector.select(max(0.0, self._deadline - time.monotonic())):
                    raise TimeoutError
                if not (part := os.read(self._file, missing)):
                    break
                parts.append(part)
                missing -= len(part)
        return b"".join(parts)
