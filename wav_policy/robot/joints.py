"""The joints of both arms: which are grippers, which turn, and vectors made of one arm's values."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.types import FloatArray

ROBOT: Final = BIMANUAL_PIPER
"""The robot that this package drives; a checkpoint of another one is refused."""

SIDES: Final = ("left", "right")

JOINT_NAMES: Final = ROBOT.state_names
"""Left arm first: six joints [rad], then the gripper's stroke [m]; the same of the right arm."""

JOINT_DIM: Final = ROBOT.state_dim
"""14: both arms."""

ARM_DOF: Final = JOINT_DIM // len(SIDES)
"""Values of one arm: six joints [rad], then the gripper's stroke [m]."""

REVOLUTE: Final = ROBOT.arm_columns
"""Indices of the joints that turn [rad]: all but the grippers."""

GRIPPERS: Final = [joint for joint in range(JOINT_DIM) if joint not in REVOLUTE]
"""Index of either gripper [m] in a vector of joints."""


def first_not_finite(values: FloatArray) -> int | None:
    """Index of the first of 14 numbers that is none in single precision, as datasets and networks have them."""
    with np.errstate(over="ignore"):
        bad = np.flatnonzero(~np.isfinite(values.astype(np.float32)))
    return int(bad[0]) if len(bad) else None


def arm_slice(side: str) -> slice:
    """Where the seven values of one arm lie in a 14-vector."""
    first = SIDES.index(side) * ARM_DOF
    return slice(first, first + ARM_DOF)


def both_arms(values: ArrayLike) -> FloatArray:
    """One arm's values for both, shape [14]."""
    return np.tile(np.asarray(values, dtype=np.float64), len(SIDES))
