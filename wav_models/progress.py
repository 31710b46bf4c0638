"""How far a long command is: a bar on a terminal; elsewhere, where no bar can be drawn, a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

_SILENCE: Final = 5.0
"""Longest time without a word [s]."""


class Tell(Protocol):
    """Take in how far it is, or a line that stays."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...


@contextmanager
def progress(doing: str) -> Iterator[Tell]:
    """Say on standard error how much is done and how long the rest takes, until the block ends.

    Args:
        doing: what is done, as in "labelling".
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        lines = _Lines(doing)
        try:
            yield lines
        finally:
            lines.close()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    note = TextColumn("{task.fields[note]}", markup=False)
    with Progress(
        TextColumn(doing, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        note,
        console=console,
        transient=True,
        refresh_per_second=2,  # what is timed meanwhile is not disturbed much
        redirect_stdout=sys.stdout.isatty(),  # what goes to a file goes there
    ) as bar:
        yield _Bar(bar)


def told(doing: str, things: Iterable[T], total: int) -> Iterator[T]:
    """The things, one after the other, and how many of them are done meanwhile."""
    with progress(doing) as tell:
        for done, thing in enumerate(things):
            tell(done, total)
            yield thing


def time_left(seconds: float) -> str:
    """In words."""
    return f"{seconds / 60:.0f} min left" if seconds > 90.0 else f"{seconds:.0f} s left"


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._line = bar.add_task("", total=None, note="")

    def __call__(self, done: int, total: int, note: str = "") -> None:
        self._bar.update(self._line, completed=done, total=total, note=note)

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


class WorkDone:
    """How much of something is done.

    Args:
        doing: what is done.
        clock: seconds, going up.
    """

    def __init__(self, doing: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing = doing
        self._clock = clock
        self._began = clock()
        self._first: tuple[float, int] | None = None
        self._now = 0, 0, ""

    def __call__(self, done: int, total: int, note: str = "") -> None:
        if self._first is None:  # not counted: what an earlier run has done
            self._first = self._clock(), done
        self._now = done, total, note

    def line(self) -> str:
        """In words, with the time left once something is done."""
        done, total, note = self._now
        if self._first is None:
            return f"{self._doing} ... {self._clock() - self._began:.0f} s"
        said = f"{self._doing}: {done} of {total}"
        began, before = self._first
        if before < done < total:
            said += f", {time_left((self._clock() - began) * (total - done) / (done - before))}"
        return f"{said}; {note}" if note else said


class _Lines(WorkDone):
    """Its line whenever nothing was said for `_SILENCE`."""

    def __init__(self, doing: str) -> None:
        super().__init__(doing)
        self._has_ended = False
        self._woken = threading.Event()
        self._speaker = threading.Thread(target=self._speak, daemon=True)
        self._speaker.start()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self._woken.set()

    def close(self) -> None:
        self._has_ended = True
        self._woken.set()
        self._speaker.join()

    def _speak(self) -> None:
        while not self._has_ended:
            if self._woken.wait(_SILENCE):
                self._woken.clear()
            else:
                print(self.line(), file=sys.stderr, flush=True)
