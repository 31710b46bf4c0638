"""How commands end: an exit code, and one line on standard error unless all went well."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

from wav_models.signals import was_interrupted

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

    A signal that comes while a library of C is imported or called reaches us as that library's own exception, which
    names the interrupt as its cause: that is an interrupt, too. So is a library's exception after an interrupt that it
    has swallowed, as torch does while it is imported bit by bit. One of ours or of the system that came up while an
    interrupt was being handled (a file that could not be finished) is a fault of its own.

    Args:
        program: name for the line.
        run: the command; its own exit code, or None.
        until_stopped: it runs until a signal ends it: that is success.
        interrupted: what there is to know when a signal has ended it.
    """
    try:
        return run() or OK
    except (KeyboardInterrupt, Exception) as error:
        is_typed = type(error).__module__.partition(".")[0] in _PROJECT
        is_known = is_typed or isinstance(error, (ValueError, OSError, FloatingPointError))
        if is_interrupt(error) or (was_interrupted() and not is_known):
            message = "stopped" if until_stopped else "interrupted"
            _say(program, f"{message}; {interrupted}" if interrupted else message)
            return OK if until_stopped else INTERRUPTED
        if isinstance(error, (ValueError, FileNotFoundError, NotADirectoryError)):
            _say(program, str(error))
            return WRONG_USE
        if not is_known:
            raise
        _say(program, str(error))
        return FAILED


def is_interrupt(error: BaseException | None) -> bool:
    """Whether it is one, or a library's exception that has one as its cause; see `ended`."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__
    return False


def _say(program: str, text: str) -> None:
    print(f"{program}: {' '.join(text.split())}", file=sys.stderr, flush=True)
