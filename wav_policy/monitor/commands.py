"""What the buttons can ask for."""

from __future__ import annotations

import re
from typing import Final, Protocol

START, HOLD, STOP, RESET, HOME = "start", "hold", "stop", "reset", "home"
RECORD_START, RECORD_STOP, RECORD_DISCARD = "record_start", "record_stop", "record_discard"
RESET_TASK, INSTRUCT = "reset_task", "instruct"

COMMANDS: Final = (START, HOLD, STOP, RESET, HOME, RECORD_START, RECORD_STOP, RECORD_DISCARD, RESET_TASK, INSTRUCT)

_BUTTONS: Final = {
    "piper/enable": "Start",
    "piper/home": "Home",
    "piper/hold": "Hold",
    "piper/reset": "Reset",
    "piper/stop": "EMERGENCY STOP",
}
_SERVICE: Final = re.compile(r"(?<![\w/])(?:(call|Call) )?(piper/(?:enable|home|hold|reset|stop))\b(?! false)")


class CommandError(RuntimeError):
    """A command was not obeyed; the message says by whom and why."""


class Commander(Protocol):
    """Whoever carries out commands. Called from several threads; an emergency stop never waits for another command."""

    def obey(self, command: str, text: str = "") -> str:
        """Carry out one of `COMMANDS`; `text` is the instruction for `INSTRUCT`.

        Returns:
            What was done, in words.

        Raises:
            CommandError: see the class.
        """


def in_words(text: str) -> str:
    """What a node says, with the page's buttons in place of the services that they call."""

    def button(found: re.Match[str]) -> str:
        call = {"call": "press ", "Call": "Press ", None: ""}[found[1]]
        return call + _BUTTONS[found[2]]

    return _SERVICE.sub(button, text)
