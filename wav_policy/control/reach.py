"""How far each arm can go by what it says itself: the limits and the gripper's stroke in its flash."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_DIM, SIDES

_LONGEST_STROKE: Final = 0.15
"""More than any gripper opens [m]."""


@dataclass(frozen=True)
class Reach:
    """Of both arms; not a number where an arm does not tell, or tells what cannot be.

    Attributes:
        lower: shape [14], rad and m.
        upper: shape [14], rad and m.
    """

    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, flash: Mapping[str, FlashLimits]) -> Reach:
        """From what the arms hold in flash, by side; nothing is known of a side that is not there."""
        lower, upper = zip(*(_one_arm(flash.get(side)) for side in SIDES), strict=True)
        return cls(np.concatenate(lower), np.concatenate(upper))

    @classmethod
    def unknown(cls) -> Reach:
        """Nothing was asked: the configuration alone counts."""
        return cls(np.full(JOINT_DIM, np.nan), np.full(JOINT_DIM, np.nan))

    def narrow(self, limits: SafetyLimits) -> tuple[FloatArray, FloatArray]:
        """Where targets may lie, shape [14] each: within the configured limits and within the arm's own."""
        margin = np.full(JOINT_DIM, limits.position_margin)
        margin[GRIPPERS] = 0.0
        lower, upper = np.fmax(limits.lower, self.lower + margin), np.fmin(limits.upper, self.upper - margin)
        fits = lower < upper
        return np.where(fits, lower, limits.lower), np.where(fits, upper, limits.upper)

    def widen(self, limits: SafetyLimits) -> tuple[FloatArray, FloatArray]:
        """Where measurements are believed, but for a tolerance, shape [14] each: within either."""
        return np.fmin(limits.lower, self.lower), np.fmax(limits.upper, self.upper)


def _one_arm(flash: FlashLimits | None) -> tuple[FloatArray, FloatArray]:
    if flash is None:
        return np.full(ARM_DOF, np.nan), np.full(ARM_DOF, np.nan)
    stroke = flash.max_stroke if flash.max_stroke is None or flash.max_stroke <= _LONGEST_STROKE else None
    pairs = [*zip(flash.lower, flash.upper, strict=True), (0.0, stroke)]
    told = [pair if _can_be(*pair) else (math.nan, math.nan) for pair in pairs]
    lower, upper = np.array(told, dtype=np.float64).T
    return lower, upper


def _can_be(lower: float | None, upper: float | None) -> bool:
    return lower is not None and upper is not None and -2.0 * math.pi <= lower < upper <= 2.0 * math.pi
