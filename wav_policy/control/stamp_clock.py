"""Stamps of a clock that can be set, told in monotonic time.

Durations (ticks, ages, timeouts) are differences of the monotonic clock. Stamps of messages stem from ROS time, which
follows the wall clock or `/clock`: it may be set, slewed, stopped, or run at any rate. A stamp is translated once, when
its message arrives; a step of ROS time is noticed and named.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from wav_policy.control.interventions import Cause, Intervention, Tally
from wav_policy.piper.inhibits import Inhibit, Reaction

TOLERANCE: Final = 0.05
"""Changes of ROS time against the monotonic clock up to this are no step [s]: ages of chunks err by no more, and
`/clock` may come in ticks of so much."""

_SLEW: Final = 0.1
"""Clocks that are disciplined (NTP, PTP) run at up to so much more or less than real time; they do not step [s/s]."""

_JITTER: Final = 1e-3
"""Differences up to this come from reading two clocks one after the other [s]: equal stamps get equal times."""

_EVEN: Final = 1.0
"""After a step the arms hold until ROS time has run evenly for so long [s]."""

_STEP_TEXT: Final = (
    "ROS time stepped by {:+.3f} s against the monotonic clock: it was set, or /clock does not run at real time. The "
    "arms hold until it runs evenly; the next chunk planned after that is followed"
)


class StampClock:
    """The offset between ROS time and the monotonic clock. `translate` and `stamp` are for any thread, `step` for one.

    Args:
        ros_time: ROS time [s].
        monotonic: the clock that durations come from [s].
    """

    def __init__(self, ros_time: Callable[[], float], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._ros_time = ros_time
        self._monotonic = monotonic
        self._looked = monotonic()
        self._offset = ros_time() - self._looked

    def step(self) -> float:
        """By how much ROS time has stepped since the last call [s]; 0.0 if it has not. It counts as stepped when it has
        moved by more than `TOLERANCE` against the monotonic clock, faster than clocks are disciplined."""
        now = self._monotonic()
        change = self._ros_time() - now - self._offset
        allowed = _SLEW * (now - self._looked)
        self._looked = now
        if abs(change) > TOLERANCE + allowed:
            self._offset += change
            return change
        if abs(change) > _JITTER:
            self._offset += min(max(change, -allowed), allowed)
        return 0.0

    def translate(self, stamp: float) -> float:
        """When what is stamped `stamp` [s, ROS time] was, in monotonic time [s]: its age is taken now."""
        return stamp - self._present_offset()

    def stamp(self, moment: float) -> float:
        """ROS time [s] of a recent moment in monotonic time [s], for the header of a message."""
        return moment + self._present_offset()

    def _present_offset(self) -> float:
        offset, present = self._offset, self._ros_time() - self._monotonic()
        return offset if abs(present - offset) <= _JITTER else present


class ClockWatch:
    """Holds the arms while ROS time steps: what was planned and what is planned now have stamps of two clocks.

    Args:
        stamps: looked at once per tick.
        tally: has every step.
    """

    def __init__(self, stamps: StampClock, tally: Tally) -> None:
        self._stamps = stamps
        self._tally = tally
        self._stepped = -math.inf
        self._inhibit: Inhibit | None = None

    def look(self, now: float) -> Inhibit | None:
        """Why the arms must hold; the same object for a whole series of steps. None when ROS time has run evenly for a
        second.

        Args:
            now: monotonic time [s].
        """
        step = self._stamps.step()
        if step:
            self._tally.count([Intervention(Cause.CLOCK_STEP, requested=step)])
            self._stepped = now
            self._inhibit = self._inhibit or Inhibit(Reaction.PAUSE, "clock_step", _STEP_TEXT.format(step))
        elif now - self._stepped > _EVEN:
            self._inhibit = None
        return self._inhibit
