"""A calm motion to a pose: the minimum-jerk straight line in joint space."""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM

_PEAK = 1.875
"""Peak speed of the minimum-jerk profile over its mean speed (Flash and Hogan, 1985)."""

_SCALE = np.ones(JOINT_DIM)
_SCALE[GRIPPERS] = 10.0
"""Of every joint, in rad: a metre of a gripper's stroke counts as 10."""


def joint_speeds(speed: float) -> FloatArray:
    """Largest speed of every joint, shape [14], rad/s and m/s; `speed` [rad/s] of the arms'."""
    return speed / _SCALE


class MinimumJerkMotion:
    """From rest at `start` to rest at `goal`. It has a time of its own, which only `advance` moves.

    Args:
        start: shape [14], rad and m.
        goal: shape [14].
        speed: largest speed of any joint [rad/s]; grippers [m] move as if a metre were 10 rad.

    Attributes:
        duration: from start to goal [s].
        velocity: largest speed of every joint, shape [14], rad/s and m/s.
    """

    def __init__(self, start: FloatArray, goal: FloatArray, speed: float) -> None:
        self._start = start
        self._difference = goal - start
        self._elapsed = 0.0
        self.duration = max(_PEAK * float(np.abs(_SCALE * self._difference).max()) / speed, 0.1)
        self.velocity = joint_speeds(speed)

    def advance(self, elapsed: float) -> tuple[FloatArray, FloatArray]:
        """Where to be `elapsed` [s] later, and how fast; shape [14] each."""
        self._elapsed += elapsed
        s = min(self._elapsed / self.duration, 1.0)
        position = self._start + self._difference * (s**3 * (10.0 + s * (6.0 * s - 15.0)))
        return position, self._difference * (30.0 * (s * (1.0 - s)) ** 2 / self.duration)
