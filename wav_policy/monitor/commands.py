"""What the buttons can ask for."""

from __future__ import annotations

from typing import Final, Protocol

START, HOLD, STOP, RESET = "start", "hold", "stop", "reset"
RECORD_START, RECORD_STOP, RECORD_DISCARD = "record_start", "record_stop", "record_discard"
RESET_TASK, INSTRUCT = "reset_task", "instruct"

COMMANDS: Final = (START, HOLD, STOP, RESET, RECORD_START, RECORD_STOP, RECORD_DISCARD, RESET_TASK, INSTRUCT)


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
