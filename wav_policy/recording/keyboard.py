"""Single keys from a terminal, without waiting for Enter."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType


class Keyboard:
    """Keys as they are pressed; the terminal is as before once the `with` block is left.

    Raises:
        OSError: standard input is no terminal.
    """

    def __init__(self) -> None:
        self._descriptor = sys.stdin.fileno()
        if not os.isatty(self._descriptor):
            raise OSError("standard input is no terminal, so no keys can be read")

    def __enter__(self) -> Keyboard:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def read(self) -> str:
        """The next key pressed; "" when there is none."""
        ready, _, _ = select.select([self._descriptor], [], [], 0.0)
        return os.read(self._descriptor, 1).decode("ascii", errors="replace") if ready else ""
