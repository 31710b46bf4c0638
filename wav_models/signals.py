"""One way for every process to end: whatever the signal, orderly and once.

A closed terminal (SIGHUP), Ctrl-C (SIGINT), Ctrl-\\ (SIGQUIT) and whoever supervises (SIGTERM) all ask for the same.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""All that ask a process to end and can be caught."""

_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)
_interrupts: Final[list[bool]] = []


def die_with_parent(number: signal.Signals = signal.SIGTERM) -> None:
    """To be called in a child: `number` reaches it when the thread that started it ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, number)


def meant_signals() -> tuple[signal.Signals, ...]:
    """Those that mean this process.

    A shell starts background jobs with SIGINT and SIGQUIT ignored, and whoever sends them means it all the same. Who
    starts a job with `nohup` wants it to outlive the terminal: an ignored SIGHUP stays ignored.
    """
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return tuple(number for number in END_SIGNALS if number != signal.SIGHUP or not outlives_terminal)


def on_end(act: Callable[[], None]) -> None:
    """From now on call `act` for each of `meant_signals`, in the main thread, between two instructions of Python."""

    def handle(number: int, frame: FrameType | None) -> None:
        drop_dead_output()
        act()

    for number in meant_signals():
        signal.signal(number, handle)


def interrupt_on_end() -> None:
    """From now on each of them raises KeyboardInterrupt."""

    def interrupt() -> None:
        _interrupts.append(True)
        raise KeyboardInterrupt

    _interrupts.clear()
    on_end(interrupt)


def was_interrupted() -> bool:
    """Whether `interrupt_on_end` has raised one, even if a library has swallowed it."""
    return bool(_interrupts)


def ignore_ends() -> None:
    """From now on none of them does anything: what is being ended must not be cut short by a second signal, nor by a
    word to somebody who has gone."""
    for number in END_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    drop_dead_output()


def drop_dead_output() -> None:
    """Standard output and error that nobody can read any more go to /dev/null: a word there must not end the ending."""
    for descriptor in (1, 2):
        poll = select.poll()
        poll.register(descriptor, 0)
        try:
            if any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0)):
                with open(os.devnull, "wb") as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
        except OSError:
            continue
