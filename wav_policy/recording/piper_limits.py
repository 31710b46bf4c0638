"""The limits that datasets are compared with: those of a Piper with the widest gripper."""

from __future__ import annotations

from typing import Final

import numpy as np

from wav_models.data.conventions import JointLimits
from wav_policy.robot.joints import both_arms
from wav_policy.robot.kinematics import JOINT_LIMITS, LARGEST_STROKE

PIPER_LIMITS: Final = JointLimits(
    both_arms(np.append(JOINT_LIMITS[:, 0], 0.0)), both_arms(np.append(JOINT_LIMITS[:, 1], LARGEST_STROKE))
)
