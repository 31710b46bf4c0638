"""What a plan would have the grippers do, in the world, and the colour of its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import ActionChunk, FloatArray
from wav_policy.robot.joints import SIDES, arm_slice
from wav_policy.robot.kinematics import tip_position
from wav_policy.robot.model import BASE_POSITIONS

LOW_COLOUR: Final = np.array([0.80, 0.15, 0.15])
HIGH_COLOUR: Final = np.array([0.10, 0.75, 0.25])
"""Red for the lowest value in sight, green for the highest."""


@dataclass(frozen=True)
class ImaginedMotion:
    """The motion one future asks for.

    Attributes:
        chunk: the joint targets.
        values: predicted value over the horizon, shape [T].
    """

    chunk: ActionChunk
    values: FloatArray

    @property
    def value(self) -> float:
        """The future's worth: mean over the horizon."""
        return float(self.values.mean())


def gripper_paths(positions: FloatArray) -> FloatArray:
    """Points between the finger tips of both arms in the world at joint positions [T, 14]; shape [2, T, 3], m."""
    return np.array(
        [[BASE_POSITIONS[side] + tip_position(row[:-1]) for row in positions[:, arm_slice(side)]] for side in SIDES]
    )


def value_colours(values: FloatArray, scale: tuple[float, float]) -> FloatArray:
    """Colours [T, 3], 0..1, of values [T] on a scale (lowest, highest)."""
    low, high = scale
    share = np.clip((values - low) / max(high - low, 1e-9), 0.0, 1.0)[:, None]
    return np.asarray((1.0 - share) * LOW_COLOUR + share * HIGH_COLOUR)


def values_along(motion: ImaginedMotion) -> FloatArray:
    """The value at every point of the chunk, shape [H]: the horizon of the values spans that of the actions."""
    steps = np.linspace(0.0, 1.0, len(motion.chunk.positions))
    return np.interp(steps, np.linspace(0.0, 1.0, len(motion.values)), motion.values)


def value_scale(motions: Sequence[ImaginedMotion]) -> tuple[float, float]:
    """Lowest and highest value of several motions."""
    values = np.concatenate([motion.values for motion in motions])
    return float(values.min()), float(values.max())
