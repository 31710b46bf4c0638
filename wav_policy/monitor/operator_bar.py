"""The bar above the page: emergency stop, the commands that move arms or free them, and what the arms say.

A document and a websocket of its own: it shares nothing with the view below it but the port. Every status is made by
the node's executor, so a browser that hears none knows that nothing works: network, this process, or the node.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from wav_policy.monitor import commands
from wav_policy.monitor.browser import OUTDATED, serve
from wav_policy.monitor.commands import Commander, CommandError
from wav_policy.monitor.snapshot import ARMS, CONTROL, LEVELS, Heard, arms_text, next_step, why_not_stopped
from wav_policy.piper.absent_arm import ABSENT

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

OPERATOR_PATH: Final = "/operator"
"""Where the bar's document expects its websocket."""

_COMMANDS: Final = (commands.STOP, commands.START, commands.HOLD, commands.HOME, commands.RESET)
_NEVER_LATE: Final = (commands.STOP, commands.HOLD)
_SIDES: Final = dict(zip(("left", "right"), ARMS, strict=True))
_MAX_REQUEST: Final = 1000
"""Characters."""
_LOOK_PERIOD: Final = 0.05
"""Between looks for something new to tell [s]."""
_WATCH: Final = 10.0
"""How long the arms may take to confirm a stop [s]."""
_NUM_THREADS: Final = 8
"""For emergency stops, and as many for all other commands: a stop waits for none of them."""


@dataclass(frozen=True)
class BarStatus:
    """What the bar says of the arms.

    Attributes:
        level: "ok", "warn", "error" or "unknown".
        text: state of the arms.
        next: what to do for them to follow; "" where nothing has to be done.
        available: commands that somebody would obey now.
    """

    level: str
    text: str
    next: str
    available: tuple[str, ...]

    @classmethod
    def of(cls, heard: Heard | None, is_silent: bool, available: frozenset[str]) -> BarStatus:
        """From the newest report of the control loop."""
        offered = tuple(name for name in _COMMANDS if name in available)
        if heard is None:
            return cls("unknown", "nothing heard", "", offered)
        if is_silent:
            return cls("error", f"silent (last: {arms_text(heard.report)})", "", offered)
        level = LEVELS.get(heard.report.level, "unknown")
        return cls(level, arms_text(heard.report), next_step(heard.report), offered)


def unconfirmed(hear: Callable[[str], Heard | None], since: float) -> dict[str, str]:
    """Per arm, what speaks against its being stopped; "" for one that has said so itself.

    Args:
        hear: newest report of a name on /diagnostics.
        since: only what was heard later counts, time.monotonic() [s].

    Returns:
        One entry for each arm that has ever been heard of, but for one that is not there; both where none has.
    """
    known = {side: heard for side, name in _SIDES.items() if (heard := hear(name)) is not None}
    arms = {side: heard for side, heard in known.items() if heard.report.message != ABSENT}
    return {side: _speaks_against(heard, since) for side, heard in arms.items()} or dict.fromkeys(_SIDES, "not heard")


def _speaks_against(heard: Heard, since: float) -> str:
    return "not heard since" if heard.at <= since else why_not_stopped(heard.report.message, heard.report.values)


@dataclass(frozen=True)
class _Request:
    """A command of a browser.

    Attributes:
        id: the browser's number for it.
        command: one of `_COMMANDS`.
        seen: time of the newest status it had [ms].
        supported: whether the operator says that both arms are supported.
    """

    id: int
    command: str
    seen: int
    supported: bool

    @classmethod
    def parse(cls, text: str | bytes) -> _Request:
        """ValueError for what the bar's own document does not send."""
        if len(text) > _MAX_REQUEST:
            raise ValueError("too long")
        fields = json.loads(text)
        if not isinstance(fields, Mapping):
            raise ValueError("no object")
        number, command, seen = fields.get("id"), fields.get("command"), fields.get("seen")
        if type(number) is not int or type(seen) is not int or command not in _COMMANDS:
            raise ValueError("not a command")
        return cls(number, command, seen, fields.get("supported") is True)


class OperatorBar:
    """Serves any number of browsers from the event loop of the web server.

    Args:
        commander: carries out the commands, in threads of the bar's own.
        hear: newest report of a name on /diagnostics; called from several threads.
    """

    def __init__(self, commander: Commander, hear: Callable[[str], Heard | None]) -> None:
        self._commander = commander
        self._hear = hear
        self._stops = ThreadPoolExecutor(_NUM_THREADS, "operator-bar stop")
        self._others = ThreadPoolExecutor(_NUM_THREADS, "operator-bar")
        self._status = (0, "")
        self._num_browsers = 0

    @property
    def watched(self) -> bool:
        """Whether a browser is connected."""
        return self._num_browsers > 0

    def show(self, is_silent: bool, available: frozenset[str]) -> None:
        """Send a status to all browsers; the browsers take its absence for a fault.

        Args:
            is_silent: the control loop's reports do not come any more.
            available: commands that somebody would obey now.
        """
        now = max(_milliseconds(), self._status[0] + 1)
        status = BarStatus.of(self._hear(CONTROL), is_silent, available)
        self._status = now, json.dumps({"kind": "status", "time": now, **asdict(status)})

    def close(self) -> None:
        """Begin no command any more."""
        for threads in (self._stops, self._others):
            threads.shutdown(wait=False, cancel_futures=True)

    async def attend(self, connection: ServerConnection) -> None:
        """See `browser.serve`."""
        self._num_browsers += 1
        try:
            await serve(connection, self._tell_status(connection), partial(self._carry_out, connection))
        finally:
            self._num_browsers -= 1

    async def _tell_status(self, connection: ServerConnection) -> None:
        told = 0
        while True:
            made, text = self._status
            if made != told and _milliseconds() - made < 1e3 * OUTDATED:
                await connection.send(text)
                told = made
            await asyncio.sleep(_LOOK_PERIOD)

    async def _carry_out(self, connection: ServerConnection, text: str | bytes) -> None:
        try:
            request = _Request.parse(text)
        except (ValueError, RecursionError):
            await connection.close(1008, "not a command")
            return
        if request.command == commands.STOP:
            await self._stop(connection, request.id)
            return
        loop = asyncio.get_running_loop()
        try:
            done, answer = True, await loop.run_in_executor(self._others, self._obey_in_time, request)
        except Exception as error:  # whatever it is, who has pressed the button is told
            done, answer = False, str(error)
        await _send(connection, kind="answer", id=request.id, done=done, text=commands.in_words(answer))

    async def _stop(self, connection: ServerConnection, number: int) -> None:
        """Stop, and tell what the arms say of it until all have confirmed it. The service's answer confirms nothing."""
        began = time.monotonic()
        loop = asyncio.get_running_loop()
        call = asyncio.ensure_future(loop.run_in_executor(self._stops, self._commander.obey, commands.STOP))
        told: dict[str, Any] = {}
        while time.monotonic() - began < _WATCH:
            failure = call.exception() if call.done() else None
            arms = unconfirmed(self._hear, began)
            answer = {"confirmed": not any(arms.values()), "arms": arms, "error": str(failure or "")}
            if answer != told:
                await _send(connection, kind="stop", id=number, **answer)
                told = answer
            if answer["confirmed"]:
                break
            await asyncio.sleep(_LOOK_PERIOD)
        await asyncio.wait([call])

    def _obey_in_time(self, request: _Request) -> str:
        """Checked in the thread: it may have waited for one."""
        _check(request)
        return self._commander.obey(request.command)


def _check(request: _Request) -> None:
    """What was pressed on a page that is not up to date must not move arms later."""
    outdated = not 0 <= _milliseconds() - request.seen <= 1e3 * OUTDATED
    if outdated and request.command not in _NEVER_LATE:
        raise CommandError("not done, the page was out of date; press again")
    if request.command == commands.RESET and not request.supported:
        raise CommandError("not done: a reset takes the arms' power; support both arms and tick it first")


async def _send(connection: ServerConnection, **message: Any) -> None:
    await connection.send(json.dumps(message))


def _milliseconds() -> int:
    return int(1e3 * time.monotonic())
