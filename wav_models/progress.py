"""How far a long command is: a bar on a terminal; elsewhere, where no bar can be drawn, a line every few seconds."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

_SILENCE: Final = 5.0
"""Longest time without a word [s]."""


class Tell(Protocol):
    """Take in how far it is."""

    def __call__(self, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def progress(doing: str) -> Iterator[Tell]:
    """Say on standard error how much is done and how long the rest takes, until the block ends.

    Args:
        doing: what is done, as in "labelling".
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        with _lines(doing) as tell:
            yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    note = TextColumn("{task.fields[note]}")
    with Progress(
        TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note, console=console
    ) as bar:
        line = bar.add_task("", total=None, note="")
        yield lambda done, total, note="": bar.update(line, completed=done, total=total, note=note)


@contextmanager
def _lines(doing: str) -> Iterator[Tell]:
    count = Tally(doing)
    ended = threading.Event()

    def say() -> None:
        while not ended.wait(_SILENCE):
            print(count.line(), file=sys.stderr, flush=True)

    speaker = threading.Thread(target=say, daemon=True)
    speaker.start()
    try:
        yield count
    finally:
        ended.set()
        speaker.join()


class Tally:
    """How much of something is done.

    Args:
        doing: what is done.
        clock: seconds, going up.
    """

    def __init__(self, doing: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._doing = doing
        self._clock = clock
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
            return f"{self._doing} ..."
        said = f"{self._doing}: {done} of {total}"
        began, before = self._first
        if before < done < total:
            left = (self._clock() - began) * (total - done) / (done - before)
            said += f", {left / 60:.0f} min left" if left > 90.0 else f", {left:.0f} s left"
        return f"{said}; {note}" if note else said
