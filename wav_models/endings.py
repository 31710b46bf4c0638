"""How commands end: an exit code, and one line on standard error unless all went well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

OK: Final = 0
FAILED: Final = 1
"""Something went wrong while it ran, or it found what it was to look for."""
WRONG_USE: Final = 2
"""What was given does not fit: an option, a configuration, a file or directory; nothing was done."""
INTERRUPTED: Final = 130
"""A signal has ended it."""

_PROJECT: Final = __name__.partition(".")[0], "wav_policy"


def ended(program: str, run: Callable[[], int | None], *, until_stopped: bool = False, interrupted: str = "") -> int:
    """Exit code of a command. An exception that is a fault of the program goes on, with its traceback.

    Args:
        program: name for the line.
        run: the command; its own exit code, or None.
        until_stopped: it runs until a signal ends it: that is success.
        interrupted: what there is to know when a signal has ended it.
    """
    try:
        return run() or OK
    except KeyboardInterrupt:
        message = "stopped" if until_stopped else "interrupted"
        _say(program, f"{message}; {interrupted}" if interrupted else message)
        return OK if until_stopped else INTERRUPTED
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        _say(program, str(error))
        return WRONG_USE
    except Exception as error:
        is_typed = type(error).__module__.partition(".")[0] in _PROJECT
        if not (is_typed or isinstance(error, (OSError, FloatingPointError))):
            raise
        _say(program, str(error))
        return FAILED


def _say(program: str, text: str) -> None:
    print(f"{program}: {' '.join(text.split())}", file=sys.stderr, flush=True)
