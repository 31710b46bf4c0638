"""Recent captures of one live stream, by their stamps, and what was wrong with those that are not among them.

Stamps are what drivers make of them: zero, late, ahead, from another clock. One of them is never believed about a
stream. A stamp must lie within `StampLimits` of the present. Where those before it lie in the future now (without a
clock: where it is half a second or more from them), it is dropped, until `NUM_AGREEING` such stamps in a row agree with
each other: then the stream's clock has changed, and the buffer begins anew. What was dropped never touches the buffer;
it is counted, and the reason of the newest is kept until a good capture comes.

A source may also send the same again and again under fresh stamps: a frozen camera. Where the buffer is told what the
same is, every capture knows since when its value has been there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from wav_models.alignment import TIME_TOLERANCE, newest_at

T = TypeVar("T")

NUM_AGREEING: Final = 3
"""Captures in a row that must agree before another clock is believed."""
_MAX_STEP: Final = 0.5
"""Successive stamps farther apart do not agree where no clock is known [s]."""

_SAME_CLOCK: Final = 1e8
"""No two wall clocks differ by three years; one of them counts from the start of a simulation [s]."""


@dataclass(frozen=True)
class StampLimits:
    """Where the stamp of a capture may lie when it comes.

    Attributes:
        max_age: before the present [s].
        max_ahead: after the present: a clock that disagrees with ours [s].
    """

    max_age: float
    max_ahead: float


class Capture(NamedTuple, Generic[T]):
    """One row of a stream.

    Attributes:
        stamp: when it was captured [s].
        value: what.
        since: stamp of the first of the captures up to this one that show the very same [s]; None: not compared.
    """

    stamp: float
    value: T
    since: float | None = None

    @property
    def first_seen(self) -> float:
        """When what it shows was captured first [s]."""
        return self.stamp if self.since is None else self.since


class StreamBuffer(Generic[T]):
    """One stream. Not locked: its owner does that.

    Args:
        topic: to name it by.
        keep: captures older than the newest by more are forgotten [s].
        limits: where stamps may lie.
        min_interval: captures that follow sooner are thinned out [s].
        is_same: whether two captures show the very same; None: not compared, nothing is ever frozen.

    Attributes:
        fault: why the last message was not taken; "" if it was.
        unusable: what the last message held could not be used, whatever its stamp.
        num_dropped: messages whose stamp was not believed.
    """

    def __init__(
        self,
        topic: str,
        keep: float,
        limits: StampLimits,
        min_interval: float = TIME_TOLERANCE,
        is_same: Callable[[T, T], bool] | None = None,
    ) -> None:
        self.topic = topic
        self.fault = ""
        self.unusable = False
        self.num_dropped = 0
        self._keep, self._limits, self._min_interval = keep, limits, max(min_interval, TIME_TOLERANCE)
        self._stamps: list[float] = []
        self._values: list[T] = []
        self._is_same = is_same
        self._since: list[float | None] = []
        self.clear()

    def clear(self) -> None:
        """Forget all captures: an episode begins, whose first capture stands in for all before it."""
        self._empty()
        self._begins = True

    def _empty(self) -> None:
        self._stamps.clear()
        self._values.clear()
        self._since.clear()
        self._first: float | None = None
        self._begins = False
        self._contradictions: list[float] = []
        self.fault = ""
        self.unusable = False

    @property
    def newest(self) -> float:
        """Stamp of the newest capture [s]; -inf without one."""
        return self._stamps[-1] if self._stamps else -np.inf

    @property
    def latest(self) -> Capture[T] | None:
        """The newest capture; None without one."""
        return self._capture(-1) if self._stamps else None

    def _capture(self, row: int) -> Capture[T]:
        return Capture(self._stamps[row], self._values[row], self._since[row])

    def admits(self, stamp: float, now: float | None) -> bool:
        """Whether a capture of this stamp belongs into the buffer; `append` it then, in the same breath.

        Args:
            stamp: of the capture [s].
            now: the present on the clock of the stamps [s]; None: no clock is known, as in a recorded stream.
        """
        self.unusable = False
        self.fault = self._disbelief(stamp, now)
        if self.fault:
            self.num_dropped += 1
            return False
        since = stamp - self.newest
        if now is None and self._stamps and since > _MAX_STEP:
            return self._agrees(stamp, f"stamped {since:.2f} s after the one before")
        if since >= -TIME_TOLERANCE:
            self._contradictions.clear()
            return since >= self._min_interval
        if -since <= _MAX_STEP if now is None else self.newest <= now + self._limits.max_ahead:
            self.num_dropped += 1  # it came late: nothing speaks against those before it
            return False
        if not self._agrees(stamp, f"stamped {-since:.2f} s before the one before"):
            return False
        self._empty()
        return True

    def _disbelief(self, stamp: float, now: float | None) -> str:
        """Why the stamp cannot be right, whatever came before; "" when it can."""
        if not np.isfinite(stamp):
            return f"stamp is {stamp}"
        if now is None:
            return ""
        if now == 0.0:
            return "ROS time is 0: use_sim_time is set, and no /clock comes"
        if stamp == 0.0:
            return "its stamp is 0"
        if abs(stamp - now) > _SAME_CLOCK:
            return f"stamped {stamp:.0f} s while it is {now:.0f} s: set use_sim_time for both sides, or for neither"
        if stamp - now > self._limits.max_ahead:
            return f"stamped {stamp - now:.2f} s in the future: synchronise the clocks"
        if now - stamp > self._limits.max_age:
            return f"stamped {now - stamp:.2f} s ago when it came"
        return ""

    def _agrees(self, stamp: float, contradiction: str) -> bool:
        """Whether enough stamps contradict the buffer in the same way."""
        if self._contradictions and not TIME_TOLERANCE < stamp - self._contradictions[-1] <= _MAX_STEP:
            self._contradictions.clear()
        self._contradictions.append(stamp)
        if len(self._contradictions) >= NUM_AGREEING:
            self._contradictions.clear()
            return True
        self.num_dropped += 1
        self.fault = contradiction
        return False

    def append(self, stamp: float, value: T) -> None:
        """Keep a capture that `admits` has let in."""
        if not self._stamps and self._begins:
            self._first = stamp
        self._since.append(self._since_when(stamp, value))
        self._stamps.append(stamp)
        self._values.append(value)
        old = bisect_left(self._stamps, stamp - self._keep)
        del self._stamps[:old], self._values[:old], self._since[:old]

    def _since_when(self, stamp: float, value: T) -> float | None:
        if self._is_same is None:
            return None
        return self._since[-1] if self._values and self._is_same(self._values[-1], value) else stamp

    def note(self, reason: str) -> None:
        """Note why a message was not taken that says nothing about those before it."""
        self.fault = reason

    def reject(self, reason: str) -> None:
        """Note why a message could not be used."""
        self.fault, self.unusable = reason, True

    def at(self, time: float) -> Capture[T] | None:
        """The newest capture that is not newer than `time` [s]; None where none is."""
        row = int(newest_at(self._stamps, time))
        return self._capture(row) if row >= 0 else None

    def memory(self, times: Iterable[float], max_gap: float) -> list[T] | str:
        """The captures at `times` [s], none older than its time by more than `max_gap` [s].

        Before the first capture of an episode, that one. Why there is none, where the stream has a gap.
        """
        found = []
        for time in times:
            capture = self.at(time)
            if capture is None and self._first is not None and self._first == self._stamps[0]:
                capture = Capture(time, self._values[0])
            if capture is None or time - capture.stamp > max_gap:
                ago = f"{self.newest - time:.2f} s"
                return f"nothing kept of {ago} ago: the memory is incomplete after a pause or a new clock"
            found.append(capture.value)
        return found

    def staleness(self, now: float, max_age: float) -> str:
        """Why the newest capture is not of the present; "" when it is."""
        text = staleness(now, self.newest, max_age)
        return f"{text} (last message: {self.fault})" if text and self.fault else text

    def frozenness(self, max_time: float) -> str:
        """Why the stream is frozen: it has shown the very same for longer than `max_time` [s]; "" when it is not."""
        latest = self.latest
        same = 0.0 if latest is None else latest.stamp - latest.first_seen
        return f"frozen: the very same picture for {same:.2f} s" if same > max_time else ""


def is_same_picture(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> bool:
    """Whether two images [H, W, 3] are equal to the last bit. The noise of a live sensor shows in the first row."""
    return np.array_equal(before[0], after[0]) and np.array_equal(before, after)


def staleness(now: float, stamp: float, max_age: float) -> str:
    """Why something of `stamp` [s] is not of the present, as far as `max_age` [s] goes; "" when it is."""
    age = now - stamp
    if age == np.inf:
        return "nothing received"
    if age > max_age:
        return f"newest message is {age:.2f} s old, allowed {max_age:g} s"
    if age < -max_age:
        return f"stamped {-age:.2f} s in the future: synchronise the clocks"
    return ""
