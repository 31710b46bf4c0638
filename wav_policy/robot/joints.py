"""The joints of both arms: which are grippers, which turn, and vectors made of one arm's values."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wav_models.types import ANGLES, ARM_DOF, JOINT_DIM, JOINT_NAMES, FloatArray

__all__ = ["ARM_DOF", "GRIPPERS", "JOINT_DIM", "JOINT_NAMES", "REVOLUTE", "SIDES", "both_arms", "is_gripper"]

SIDES: Final = ("left", "right")

REVOLUTE: Final = ANGLES
"""Indices of the joints that turn [rad]: all but the grippers."""

GRIPPERS: Final = [joint for joint in range(JOINT_DIM) if joint not in REVOLUTE]
"""Index of either gripper [m] in a vector of joints."""


def is_gripper(name: str) -> bool:
    """Whether the joint of that name is a gripper."""
    return name.endswith("gripper")


def both_arms(values: ArrayLike) -> FloatArray:
    """One arm's values for both, shape [14]."""
    return np.tile(np.asarray(values, dtype=np.float64), len(SIDES))
