"""A calm motion to a pose: the minimum-jerk straight line in joint space."""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray

_PEAK = 1.875
"""Peak speed of the minimum-jerk profile over its mean speed (Flash and Hogan, 1985)."""


class MinimumJerkMotion:
    """From rest at `start` to rest at `goal`.

    Args:
        start: shape [14], rad and m.
        goal: shape [14].
        begin: when the motion starts [s].
        speed: largest speed of any joint [rad/s]; grippers [m] move as if a metre were 10 rad.

    Attributes:
        end: when the motion is over [s].
    """

    def __init__(self, start: FloatArray, goal: FloatArray, begin: float, speed: float) -> None:
        self._start = start
        self._difference = goal - start
        self._begin = begin
        distance = np.abs(self._difference)
        distance[[6, 13]] *= 10.0
        self._duration = max(_PEAK * float(distance.max()) / speed, 0.1)
        self.end = begin + self._duration

    def sample(self, now: float) -> FloatArray:
        """Where to be at `now`, shape [14]."""
        s = min(max((now - self._begin) / self._duration, 0.0), 1.0)
        return self._start + self._difference * (s**3 * (10.0 + s * (6.0 * s - 15.0)))
