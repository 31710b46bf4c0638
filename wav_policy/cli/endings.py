"""How commands that record end: exit code and last line."""

from __future__ import annotations

import sys
from collections.abc import Callable


def resumable(record: Callable[[], None]) -> int:
    """Exit code of a recording: 0, 130 after Ctrl-C, 1 with one line on what went wrong."""
    try:
        record()
    except KeyboardInterrupt:
        print("interrupted; every finished episode is kept, the same command resumes", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        print(f"wav record: {error}", file=sys.stderr)
        return 1
    return 0
