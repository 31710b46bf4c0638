"""Motion helpers of the scripted operators: from where the finger tips should go to joint targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import ARM_DOF, FloatArray
from wav_policy.sim.kinematics import MAX_STROKE, UnreachableError, inverse
from wav_policy.sim.model import BASE_POSITIONS, SIDES

ACTION_PERIOD: Final = 0.1
"""Time between two actions [s]."""

MAX_JOINT_STEP: Final = 0.20
"""Largest distance of a joint target from the measured joint [rad]."""

MAX_STROKE_STEP: Final = 0.025
"""Largest distance of the stroke target from the measured stroke [m]."""


@dataclass(frozen=True)
class Intent:
    """What one arm should do next.

    Attributes:
        tip: where its finger tips should be after one action period [3], world, m.
        stroke: wanted opening of the gripper [m]; reached over several actions.
    """

    tip: FloatArray
    stroke: float


def limited(vector: FloatArray, length: float) -> FloatArray:
    """`vector` shortened to `length` where it is longer."""
    norm = float(np.linalg.norm(vector))
    return vector if norm <= length else vector * (length / norm)


def ramp(value: float, low: float, high: float) -> float:
    """0 below `low`, 1 above `high`, linear between."""
    return float(np.clip((value - low) / (high - low), 0.0, 1.0))


def joint_targets(side: str, intent: Intent, roll: float, measured: FloatArray) -> FloatArray:
    """Joint targets of one arm [7] for an intent, near the measured state [7]; stays put where the tip is unreachable.

    Args:
        side: "left" or "right".
        intent: where the finger tips should go.
        roll: joint 6 [rad].
        measured: the arm's present joints and stroke [7].
    """
    try:
        wanted = np.append(inverse(intent.tip - BASE_POSITIONS[side], roll), intent.stroke)
    except UnreachableError:
        wanted = np.append(measured[:-1], intent.stroke)
    return towards(measured, wanted)


def towards(measured: FloatArray, wanted: FloatArray) -> FloatArray:
    """Joint targets [7] on the way from `measured` to `wanted`, within one action's reach."""
    joints = measured[:-1] + limited(wanted[:-1] - measured[:-1], MAX_JOINT_STEP)
    stroke = np.clip(wanted[-1], measured[-1] - MAX_STROKE_STEP, measured[-1] + MAX_STROKE_STEP)
    return np.append(joints, np.clip(stroke, 0.0, MAX_STROKE))


def arm_part(values: FloatArray, side: str) -> FloatArray:
    """The seven values of one arm out of a 14-vector."""
    first = SIDES.index(side) * ARM_DOF
    return values[first : first + ARM_DOF]
