"""What the buttons can ask for."""

from __future__ import annotations

import re
from typing import Final, Protocol

START, HOLD, STOP, RESET, HOME = "start", "hold", "stop", "reset", "home"
RECORD_START, RECORD_STOP, RECORD_DISCARD = "record_start", "record_stop", "record_discard"
RECORD_SUCCESS, RECORD_FAILURE = "record_success", "record_failure"
"""Both end an episode, and keep it with this mark."""
RESET_TASK, INSTRUCT = "reset_task", "instruct"
PLAY, SPEED, SEEK = "play", "speed", "seek"
"""Of a recording: "yes" or "no", times real time, seconds from its beginning."""
EPISODE = "episode"
"""Show another one of the same dataset: its number."""

_BUTTONS: Final = {
    "piper/enable": "Start",
    "piper/home": "Home",
    "piper/hold": "Hold",
    "piper/reset": "Reset",
    "piper/stop": "EMERGENCY STOP",
    "recorder/start": "Record",
    "recorder/stop": "Save",
    "recorder/stop_success": "Success",
    "recorder/stop_failure": "Failure",
    "recorder/discard": "Discard",
    "sim/reset": "New layout",
}
_SERVICE: Final = re.compile(rf"(?<![\w/])(?:(call|Call) )?({'|'.join(_BUTTONS)})\b(?! false)")


class CommandError(RuntimeError):
    """A command was not obeyed; the message says by whom and why."""


class Commander(Protocol):
    """Whoever carries out commands. Called from several threads; an emergency stop never waits for another command."""

    def obey(self, command: str, text: str = "") -> str:
        """Carry out a command; `text` is the instruction for `INSTRUCT`, and what those of a recording ask for.

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
