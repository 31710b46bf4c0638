"""What the operator types when a command asks."""

from __future__ import annotations

import sys


def is_asked_at_terminal() -> bool:
    """Whether standard input is a terminal; it may also be closed."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(question: str) -> str:
    """The line that is typed, without blanks at its ends; "" where there is none: closed, at its end, or no text."""
    print(question, end="", flush=True)
    try:
        return "" if sys.stdin is None else sys.stdin.readline().strip()
    except UnicodeDecodeError:
        return ""
