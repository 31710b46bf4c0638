"""Which joint is what: the order that every vector of the robot has."""

from __future__ import annotations

import numpy as np

from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_DIM, JOINT_NAMES, REVOLUTE, both_arms


def test_the_last_joint_of_either_arm_is_its_gripper_and_all_others_turn() -> None:
    assert [JOINT_NAMES[i] for i in GRIPPERS] == ["left_gripper", "right_gripper"]
    assert sorted([*GRIPPERS, *REVOLUTE]) == list(range(JOINT_DIM))
    assert GRIPPERS == [ARM_DOF - 1, 2 * ARM_DOF - 1]


def test_values_of_one_arm_are_those_of_both_left_first() -> None:
    np.testing.assert_array_equal(both_arms(range(7)), [*range(7), *range(7)])
