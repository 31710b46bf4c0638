"""Joints are known by their names, in whatever order a message has them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from wav_policy.nodes.messages.joint_state import (
    JointNamesError,
    OtherJointsError,
    efforts_from_message,
    permutation,
    positions_from_message,
    seconds_to_stamp,
    stamp_to_seconds,
    to_message,
)
from wav_policy.robot.joints import JOINT_NAMES

POSITIONS = np.arange(14) / 10.0


@given(st.permutations(range(14)))
def test_positions_are_reordered_by_name(order: list[int]) -> None:
    message = JointState(name=[JOINT_NAMES[i] for i in order], position=[float(POSITIONS[i]) for i in order])
    np.testing.assert_array_equal(positions_from_message(message), POSITIONS)


def test_what_is_sent_is_read_back() -> None:
    message = to_message(POSITIONS, Time(sec=1), velocities=2 * POSITIONS, efforts=3 * POSITIONS)
    np.testing.assert_array_equal(positions_from_message(message), POSITIONS)
    assert list(message.velocity) == pytest.approx(2 * POSITIONS)
    assert list(message.effort) == pytest.approx(3 * POSITIONS)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (JOINT_NAMES[:-1], "missing: right_gripper"),
        ((*JOINT_NAMES, "wheel"), "unknown: wheel"),
        ((*JOINT_NAMES, "left_joint1"), "doubled: left_joint1"),
        ((*JOINT_NAMES[:-1], "left_joint1"), "missing: right_gripper; doubled: left_joint1"),
    ],
)
def test_other_names_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(JointNamesError, match=words):
        permutation(names)


@pytest.mark.parametrize("names", [(), ("wheel",), tuple(f"robot1/{name}" for name in JOINT_NAMES)])
def test_a_message_about_other_joints_alone_is_told_from_one_that_is_wrong(names: tuple[str, ...]) -> None:
    with pytest.raises(OtherJointsError, match=f"only other joints: {names[0] if names else 'no names at all'}"):
        positions_from_message(JointState(name=names, position=[0.0] * len(names)))
    with pytest.raises(JointNamesError, match="missing") as caught:
        permutation((*names, "left_joint1"), others=True)
    assert not isinstance(caught.value, OtherJointsError)


def test_one_position_per_name() -> None:
    with pytest.raises(JointNamesError, match="14 names but 13 positions"):
        positions_from_message(JointState(name=list(JOINT_NAMES), position=[0.0] * 13))


@given(st.integers(0, 2**31 - 2), st.integers(0, 999_999_999))
def test_stamps_survive_to_the_microsecond(seconds: int, nanoseconds: int) -> None:
    """Float seconds resolve 0.5 us at today's epoch."""
    there = stamp_to_seconds(Time(sec=seconds, nanosec=nanoseconds))
    assert stamp_to_seconds(seconds_to_stamp(there)) == pytest.approx(there, abs=1e-6)


def test_efforts_are_one_per_name_or_none() -> None:
    message = JointState(name=list(JOINT_NAMES[::-1]), effort=[float(n) for n in range(14)])
    efforts = efforts_from_message(message)
    assert efforts is not None
    np.testing.assert_array_equal(efforts, np.arange(14)[::-1])
    for wrong in (0, 7, 15):
        message.effort = [0.0] * wrong
        assert efforts_from_message(message) is None


def test_states_of_a_whole_robot_have_ours_picked_out() -> None:
    """A mobile base, a torso: the convention is that who reads joint_states takes what is his."""
    names = ["wheel_left", *JOINT_NAMES[::-1], "torso"]
    message = JointState(name=names, position=[9.0, *POSITIONS[::-1], 9.0], effort=[9.0, *range(14), 9.0])
    np.testing.assert_array_equal(positions_from_message(message), POSITIONS)
    np.testing.assert_array_equal(efforts_from_message(message), np.arange(14)[::-1])
    with pytest.raises(JointNamesError, match="missing: right_gripper"):
        positions_from_message(JointState(name=["torso", *JOINT_NAMES[:-1]], position=[0.0] * 14))
    with pytest.raises(JointNamesError, match="doubled: left_joint1"):
        positions_from_message(JointState(name=["torso", "left_joint1", *JOINT_NAMES], position=[0.0] * 16))
