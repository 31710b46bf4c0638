"""A calm motion that somebody waits for."""

from __future__ import annotations

import threading

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.minimum_jerk import MinimumJerkMotion

PATIENCE = 1.5
"""What a calm motion may take of its duration: late ticks are not made up for."""
_ARRIVED = 1e-4  # rad, m


class CalmMotion(MinimumJerkMotion):
    """Moved by the control loop's thread; any other may `wait`.

    Attributes:
        has_arrived: it ended at its goal.
    """

    def __init__(self, start: FloatArray, goal: FloatArray, speed: float) -> None:
        super().__init__(start, goal, speed)
        self.has_arrived = False
        self._goal = goal
        self._ended = threading.Event()

    def is_goal(self, target: FloatArray | None) -> bool:
        """Whether a target, shape [14], is the goal."""
        return target is not None and bool(np.abs(target - self._goal).max() < _ARRIVED)

    def end(self, has_arrived: bool) -> None:
        """It is over; the first word stands."""
        if not self._ended.is_set():
            self.has_arrived = has_arrived
            self._ended.set()

    def wait(self, settling: float) -> bool:
        """Whether it was over within `PATIENCE` times its duration and `settling` [s]."""
        return self._ended.wait(PATIENCE * self.duration + settling)
