"""Motion helpers of the scripted operators: from where the finger tips should go to joint targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES, arm_slice
from wav_policy.robot.kinematics import MAX_STROKE, UnreachableError, inverse
from wav_policy.robot.model import BASE_POSITIONS, HOME_ROLL, HOME_TIP, home_positions

ACTION_PERIOD: Final = 0.1
"""Time between two actions [s]."""

MAX_JOINT_STEP: Final = 0.20
"""Largest distance of a joint target from the measured joint [rad]."""

GAIN: Final = 0.8
"""Share of the remaining way that one action asks for."""

MAX_STEP: Final = 0.022
"""Largest move asked for by one action [m]; the arm's lag makes about two thirds of it."""

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


def descend(tip: FloatArray, goal: FloatArray, hover: float, narrow: float = 0.006, wide: float = 0.022) -> FloatArray:
    """Where the finger tips go next to reach `goal` from above: over it at height `hover`, then down a funnel.

    Args:
        tip: finger tips now [3], m.
        goal: where they shall come to [3], m.
        hover: height at which they may move freely [m].
        narrow, wide: horizontal distances from the goal at which the funnel ends and begins [m].
    """
    error = goal - tip
    distance = float(np.linalg.norm(error[:2]))
    wanted_height = goal[2] + (hover - goal[2]) * ramp(distance, narrow, wide)
    free = ramp(tip[2], hover - 0.020, hover - 0.006)
    beside = ramp(distance, wide - 0.004, wide + 0.006)
    level = GAIN * limited(error[:2], MAX_STEP) * (1.0 - beside * (1.0 - free))
    climb = GAIN * np.clip(wanted_height - tip[2], -MAX_STEP, MAX_STEP)
    return tip + np.append(level, climb)


def outward(side: str) -> float:
    """Sign of y over an arm's own half of the table: 1 left, -1 right."""
    return 1.0 if side == "left" else -1.0


def raised(point: FloatArray, height: float) -> FloatArray:
    """The place `height` above a point; both [3], m."""
    return point + np.array([0.0, 0.0, height])


def home_tip(side: str) -> FloatArray:
    """Finger tips at home, in the world [3], m."""
    return BASE_POSITIONS[side] + HOME_TIP


def go_home(side: str, tip: FloatArray, clear: float) -> Intent:
    """Leave for home, open: from finger tips [3] up to height `clear` [m] first, then there."""
    home = home_tip(side)
    free = ramp(tip[2], clear - 0.015, clear)
    level = GAIN * limited((home - tip)[:2], MAX_STEP) * free
    climb = GAIN * np.clip(max(home[2], clear + 0.005) - tip[2], -MAX_STEP, MAX_STEP)
    return Intent(tip + np.append(level, climb), MAX_STROKE)


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


def targets_of_both(measured: FloatArray, intents: Mapping[str, Intent]) -> FloatArray:
    """Joint targets of both arms [14] from the measured state [14]; an arm without an intent goes home."""
    targets = []
    for side in SIDES:
        arm = arm_part(measured, side)
        if side in intents:
            targets.append(joint_targets(side, intents[side], HOME_ROLL[side], arm))
        else:
            targets.append(towards(arm, arm_part(home_positions(), side)))
    return np.concatenate(targets)


def towards(measured: FloatArray, wanted: FloatArray) -> FloatArray:
    """Joint targets [7] on the way from `measured` to `wanted`, within one action's reach."""
    joints = measured[:-1] + limited(wanted[:-1] - measured[:-1], MAX_JOINT_STEP)
    stroke = np.clip(wanted[-1], measured[-1] - MAX_STROKE_STEP, measured[-1] + MAX_STROKE_STEP)
    return np.append(joints, np.clip(stroke, 0.0, MAX_STROKE))


def arm_part(values: FloatArray, side: str) -> FloatArray:
    """The seven values of one arm out of a 14-vector."""
    return values[arm_slice(side)]
