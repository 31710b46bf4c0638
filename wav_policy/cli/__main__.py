"""`wav`, and `python -m wav_policy.cli`. What is told to end while it starts has nothing to end, and says nothing."""

from __future__ import annotations

import atexit
import os
import sys

from wav_models.endings import INTERRUPTED
from wav_models.signals import ignore_ends, on_end


def main() -> int:
    """Exit code of the command; `INTERRUPTED` where it ends before it is known which one it is."""
    on_end(lambda: os._exit(INTERRUPTED))
    atexit.register(ignore_ends)  # what it has ended with stands, whatever comes while Python tidies up
    from wav_policy.cli.main import main

    try:
        return main()
    except KeyboardInterrupt:  # just before or after what `ended` watches over
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
