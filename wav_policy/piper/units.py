"""The one place where radians and metres meet the CAN frames' integers.

Rounded to nearest: a value that came from the bus goes back unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from wav_models.types import FloatArray

_RADIANS_PER_COUNT = math.pi / 180_000  # 0.001 deg
_COUNTS_PER_METRE = 1_000_000  # 0.001 mm
_COUNTS_PER_RADIAN_PER_SECOND = 1_000
_COUNTS_PER_NEWTON_METRE = 1_000
_COUNTS_PER_RATE_LIMIT = 100


def millidegrees_from_radians(angles: FloatArray | Sequence[float]) -> list[int]:
    """Joint angles [rad] to counts of 0.001 deg."""
    return [round(angle / _RADIANS_PER_COUNT) for angle in angles]


def radians_from_millidegrees(counts: Sequence[int]) -> FloatArray:
    """Counts of 0.001 deg to joint angles [rad]."""
    return np.array(counts, dtype=np.float64) * _RADIANS_PER_COUNT


def micrometres_from_metres(length: float) -> int:
    """Gripper stroke [m] to counts of 0.001 mm."""
    return round(length * _COUNTS_PER_METRE)


def metres_from_micrometres(count: int) -> float:
    """Counts of 0.001 mm to gripper stroke [m]."""
    return count / _COUNTS_PER_METRE


def effort_counts_from_newton_metres(torque: float) -> int:
    """Gripper effort [N m] to counts of 0.001 N m."""
    return round(torque * _COUNTS_PER_NEWTON_METRE)


def newton_metres_from_effort_counts(count: int) -> float:
    """Counts of 0.001 N m to gripper effort [N m]."""
    return count / _COUNTS_PER_NEWTON_METRE


def speed_counts_from_radians_per_second(speed: float) -> int:
    """Joint speed [rad/s] to counts of 0.001 rad/s."""
    return round(speed * _COUNTS_PER_RADIAN_PER_SECOND)


def decidegrees_from_radians(angle: float) -> int:
    """Joint limit [rad] to counts of 0.1 deg (0x473, 0x474)."""
    return round(math.degrees(angle) * 10)


def radians_from_decidegrees(count: int) -> float:
    """Counts of 0.1 deg to a joint limit [rad]."""
    return math.radians(count / 10)


def counts_from_rate_limit(limit: float) -> int:
    """Limit of a joint's speed [rad/s] (0x473, 0x474) or acceleration [rad/s^2] (0x47C, 0x475) to counts of 0.01.

    piper_sdk's comments say 0.001; the vendor's protocol, its later library pyAgxArm and the arms say 0.01
    (piper_sdk#122).
    """
    return round(limit * _COUNTS_PER_RATE_LIMIT)


def rate_limit_from_counts(count: int) -> float:
    """Counts of 0.01 to a limit of a joint's speed [rad/s] or acceleration [rad/s^2]."""
    return count / _COUNTS_PER_RATE_LIMIT
