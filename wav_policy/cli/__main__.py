"""`wav`, and `python -m wav_policy.cli`. What is told to end while it starts has nothing to end, and says nothing."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys

from wav_models.endings import INTERRUPTED
from wav_models.signals import ignore_ends, on_end


def main() -> int:
    """Exit code of the command; `INTERRUPTED` where it ends before it is known which one it is."""
    on_end(lambda: os._exit(INTERRUPTED))
    known: list[int] = []
    atexit.register(_leave, known)  # the first that is registered is the last that is called
    atexit.register(ignore_ends)  # what it has ended with stands, whatever comes while Python tidies up
    from wav_policy.cli.main import main

    try:
        known.append(main())
    except KeyboardInterrupt:  # just before or after what `ended` watches over
        known.append(INTERRUPTED)
    return known[0]


def _leave(known: list[int]) -> None:
    """`python -m` kills itself by SIGINT in the end, whatever its exit code is, where an interrupt came in an `exec` of
    a text, though it was caught: as happens while a module that makes dataclasses is imported."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        if known:
            os._exit(known[0])


if __name__ == "__main__":
    sys.exit(main())
