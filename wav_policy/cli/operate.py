"""`wav stop | hold | home | start | enable | reset`: as the page's buttons, and what both arms confirm."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from wav_models.command_line import Flag, parsed
from wav_models.configuration import ConfigurationError
from wav_models.endings import OK
from wav_policy.cli.main import COMMANDS, POWER_SWITCH
from wav_policy.cli.operator_answer import ask, is_asked_at_terminal

if TYPE_CHECKING:
    from wav_policy.nodes.clients.system_client import Report, SystemClient

ARMS: Final = ("left arm", "right arm")
LOOP: Final = "control loop"
_CONFIRMATION: Final = 3.0
"""Until /diagnostics must show what was asked for [s]."""
_STAY: Final = 2.0
"""For how long arms that hold have to go on holding: within that time a policy sends its next chunk [s]."""
_STRANGER: Final = "whoever publishes action_chunk leads the arms on: stop it too, or call wav stop"
_OTHERWISE: Final = "says otherwise"
_STOP_SECONDS, _HOME_SECONDS, _RESET_SECONDS = 5.0, 60.0, 30.0
"""For an answer [s]."""

_SERVICES: Final = re.compile(r"(?<=[a-z,] )piper/(stop|hold|home|enable|reset)\b(?! with data)")
"""A service in a sentence that says what to call, where a command calls it in the same way."""

Confirmed = Callable[["Report"], bool]


class UnconfirmedError(RuntimeError):
    """What was asked for was not done, as far as anybody knows: the service was not reached, refused, or has agreed and
    an arm or the control loop does not show it."""


@dataclass(frozen=True)
class Operation:
    """One command.

    Attributes:
        name: what follows `wav`.
        act: does it, and says what was answered.
        arm, loop: whether what an arm, or the control loop, says on /diagnostics shows that it is done.
        lasts: for how long they have to show it [s].
        undone_by: who would end it, in words.
    """

    name: str
    act: Callable[[SystemClient], str]
    arm: Confirmed = lambda report: True
    loop: Confirmed = lambda report: True
    lasts: float = 0.0
    undone_by: str = ""


def _is_stopped(report: Report) -> bool:
    from wav_policy.monitor.snapshot import why_not_stopped

    return not why_not_stopped(report.message, report.values)


def _is_enabled(report: Report) -> bool:
    return report.message.startswith("enabled")


def _holds(report: Report) -> bool:
    return report.message.startswith(("holding", "not commanding", "stopped"))


def _hold(client: SystemClient) -> str:
    return f"the arms hold{_ended(client.halt())}; wav start goes on"


def _home(client: SystemClient) -> str:
    from wav_models.progress import progress

    leaders = client.halt()  # lest the arms leave again as soon as they have arrived
    with progress("on the way home"):
        answer = client.trigger("piper/home", _HOME_SECONDS)
    return f"{answer}{_ended(leaders)}; wav start goes on"


def _start(client: SystemClient) -> str:
    return f"arms enabled, {' and '.join(client.start()) or 'nobody'} leads them"


def _enable(client: SystemClient) -> str:
    from wav_policy.nodes.clients.system_client import ENABLE_TIMEOUT

    return client.switch("piper/enable", True, ENABLE_TIMEOUT)


def _ended(leaders: list[str]) -> str:
    """Who does not lead the arms any more."""
    return f", {' and '.join(leaders)} stopped leading" if leaders else ""


STOP = Operation(
    "stop",
    lambda client: client.trigger("piper/stop", _STOP_SECONDS),
    arm=_is_stopped,
    loop=lambda report: report.message.startswith("stopped"),
)
HOLD = Operation("hold", _hold, loop=_holds, lasts=_STAY, undone_by=_STRANGER)
HOME = Operation("home", _home, arm=_is_enabled, loop=_holds, lasts=_STAY, undone_by=_STRANGER)
START = Operation("start", _start, arm=_is_enabled)
ENABLE = Operation("enable", _enable, arm=_is_enabled)
RESET = Operation(
    "reset",
    lambda client: client.trigger("piper/reset", _RESET_SECONDS),
    loop=lambda report: not report.message.startswith("stopped"),
)


@dataclass(frozen=True)
class OperateArguments:
    """Of any of the commands."""

    namespace: str = ""
    """Namespace of the system, such as robot1; empty: it has none."""


@dataclass(frozen=True)
class ResetArguments(OperateArguments):
    """Clears an emergency stop: the arms LOSE POWER AND FALL. Afterwards: wav start."""

    supported: Flag = False
    """Both arms are supported: do not ask."""


def _command(operation: Operation, argv: list[str]) -> int:
    description = f"{COMMANDS[operation.name].summary} Prints what both arms confirm; exit code 0 only where they do."
    return operate(operation, parsed(OperateArguments, f"wav {operation.name}", argv, description).namespace)


stop = partial(_command, STOP)
hold = partial(_command, HOLD)
home = partial(_command, HOME)
start = partial(_command, START)
enable = partial(_command, ENABLE)


def reset(argv: list[str]) -> int:
    """`wav reset`: clears an emergency stop, once somebody has said that the arms are supported."""
    arguments = parsed(ResetArguments, "wav reset", argv)
    if not arguments.supported and not _said_supported():
        raise ConfigurationError("nothing was done; support both arms, then answer `supported` or give --supported")
    return operate(RESET, arguments.namespace)


def _said_supported() -> bool:
    question = "The arms lose power and fall. Support both, then type `supported`: "
    return is_asked_at_terminal() and ask(question) == "supported"


def operate(operation: Operation, namespace: str = "") -> int:
    """Exit code 0 when the service has agreed and both arms show it."""
    from wav_policy.bringup.arguments import normalized_namespace

    try:
        from wav_policy.nodes.clients.system_client import SystemClient

        with closing(SystemClient(normalized_namespace(namespace), _tell)) as client:
            print(in_commands(operation.act(client)))
            doubts = confirm(client, operation)
            if (
                operation.undone_by and f"{LOOP} {_OTHERWISE}" in doubts
            ):  # a busy computer finds who leads the arms late
                print(in_commands(operation.act(client)))
                doubts = confirm(client, operation)
    except Exception as error:  # whatever it is, it must not hide that nothing is confirmed
        remedy = ": source the set-ups of ROS 2 first" if isinstance(error, ImportError) else ""
        kind = ConfigurationError if isinstance(error, ValueError) else UnconfirmedError
        raise kind(f"{in_commands(str(error)).rstrip('.')}{remedy}. {POWER_SWITCH}") from error
    if doubts:
        raise UnconfirmedError(f"{'; '.join(doubts)}. {POWER_SWITCH}")
    return OK


def _tell(text: str) -> None:
    print(f"{text}. {POWER_SWITCH}", file=sys.stderr, flush=True)


def in_commands(words: str) -> str:
    """What a node says of its services, with the commands that call them."""
    return _SERVICES.sub(r"wav \1", words)


def confirm(client: SystemClient, operation: Operation) -> list[str]:
    """Print what arms and loop say from now on; whoever does not show what was asked for, in words. Of an arm that
    piper_node was told to leave out nothing else is expected than that it says so.
    """
    from wav_policy.piper.absent_arm import ABSENT

    parts = {**dict.fromkeys(ARMS, operation.arm), LOOP: operation.loop}
    old = {part: client.reports.get(f"piper_node: {part}") for part in parts}

    def news(part: str) -> Report | None:
        report = client.reports.get(f"piper_node: {part}")
        return report if report is not old[part] else None

    def shows(part: str) -> bool:
        return (report := news(part)) is not None and (report.message == ABSENT or parts[part](report))

    if client.spin_until(lambda: all(map(shows, parts)), _CONFIRMATION):
        client.spin_until(lambda: not all(map(shows, parts)), operation.lasts)
    for part in parts:
        if (report := news(part)) is not None:
            print(f"  {part}: {in_commands(report.message)}")
    doubts = [f"{part} {_OTHERWISE if news(part) else 'is silent'}" for part in parts if not shows(part)]
    return [*doubts, operation.undone_by] if doubts and operation.undone_by else doubts
