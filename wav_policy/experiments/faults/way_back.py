"""The way back from a hold to arms that follow chunks: an operator who does what the messages say, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from wav_policy.experiments.faults.motion import is_moving
from wav_policy.experiments.faults.observer import Observer
from wav_policy.experiments.faults.wall_time import wall_time
from wav_policy.monitor.snapshot import ARMS, CONTROL
from wav_policy.nodes.clients.system_client import ServiceError

MOVING: Final = 0.1
"""Arms faster than this move [rad/s]."""
_REMEDY: Final = re.compile(r"piper/(?:enable|reset|home)\b")
_REFUSED: Final = "refused: "
_CALL_TIMEOUT: Final = 60.0
_MAX_CALLS: Final = 6
_DETAILS: Final = ("detail", "fault", "inhibit", "newest_collision")


class WayBack(NamedTuple):
    """How it went.

    Attributes:
        calls: services that were called, in order.
        arrived: a chunk is followed again, and the arms move.
        left: when the first service was called [s]; inf if none was.
        words: what was said last.
    """

    calls: tuple[str, ...]
    arrived: bool
    left: float
    words: str


def is_following(observer: Observer) -> bool:
    """Whether a chunk is followed and the arms move."""
    return observer.says(CONTROL, "following") and is_moving(*observer.targets(wall_time() - 1.0), MOVING)


def walk_back(observer: Observer, patience: float, begin: Callable[[], None]) -> WayBack:
    """Wait until the arms move again; while they do not, call what the newest message asks for.

    Args:
        observer: of the system.
        patience: for what happens by itself, before every call [s].
        begin: makes whoever moves the arms begin again, at first and after every call.
    """
    calls: list[str] = []
    answer, left = "", float("inf")
    while True:
        begin()
        observer.forget(CONTROL)
        if observer.wait(lambda: is_following(observer), patience):
            return WayBack(tuple(calls), True, left, answer)
        words = " | ".join(_said(observer, answer))
        service = next_call(_said(observer, answer))
        if service is None or len(calls) == _MAX_CALLS:
            return WayBack(tuple(calls), False, left, words)
        calls.append(service)
        left = min(left, wall_time())
        answer = _call(observer, service)
        while (then := next_call([answer])) is not None and len(calls) < _MAX_CALLS:
            calls.append(then)
            answer = _call(observer, then)


def next_call(said: Iterator[str] | list[str]) -> str | None:
    """The service that is named first in what was said, the most important first; None if none is."""
    found = (_REMEDY.search(text) for text in said)
    return next((match.group() for match in found if match), None)


def _said(observer: Observer, answer: str) -> Iterator[str]:
    yield answer
    for entry in (CONTROL, *ARMS):
        report = observer.reports.get(entry)
        if report is not None:
            yield report.message
            yield from (report.values.get(key, "") for key in _DETAILS)


def _call(observer: Observer, service: str) -> str:
    """What a service answers, or why it refuses."""
    try:
        if service == "piper/enable":
            return observer.client.switch(service, True, _CALL_TIMEOUT)
        return observer.client.trigger(service, _CALL_TIMEOUT)
    except ServiceError as error:
        return str(error).partition(_REFUSED)[2]
