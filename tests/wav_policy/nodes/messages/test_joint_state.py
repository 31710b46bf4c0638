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
    JointPicker,
    OtherJointsError,
    PartialStateError,
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


@given(st.permutations(range(14)))
def test_columns_of_a_command_are_reordered_by_name(order: list[int]) -> None:
    row = POSITIONS[order]
    np.testing.assert_array_equal(row[permutation([JOINT_NAMES[i] for i in order])], POSITIONS)


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
        positions_from_message(JointState(name=(*names, "left_joint1"), position=[0.0] * (1 + len(names))))
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
    message = JointState(name=list(JOINT_NAMES[::-1]), position=POSITIONS, effort=[float(n) for n in range(14)])
    efforts = JointPicker().take(message).efforts
    assert efforts is not None
    np.testing.assert_array_equal(efforts, np.arange(14)[::-1])
    for wrong in (0, 7, 15):
        message.effort = [0.0] * wrong
        assert JointPicker().take(message).efforts is None


def test_states_of_a_whole_robot_have_ours_picked_out() -> None:
    """A mobile base, a torso: the convention is that who reads joint_states takes what is his."""
    names = ["wheel_left", *JOINT_NAMES[::-1], "torso"]
    message = JointState(name=names, position=[9.0, *POSITIONS[::-1], 9.0], effort=[9.0, *range(14), 9.0])
    np.testing.assert_array_equal(positions_from_message(message), POSITIONS)
    picked = JointPicker().take(message)
    np.testing.assert_array_equal(picked.positions, POSITIONS)
    np.testing.assert_array_equal(picked.efforts, np.arange(14)[::-1])
    with pytest.raises(JointNamesError, match="missing: right_gripper"):
        positions_from_message(JointState(name=["torso", *JOINT_NAMES[:-1]], position=[0.0] * 14))
    with pytest.raises(JointNamesError, match="doubled: left_joint1"):
        positions_from_message(JointState(name=["torso", "left_joint1", *JOINT_NAMES], position=[0.0] * 16))


ARMS = slice(0, 7), slice(7, 14)


def part(which: slice, stamp: float, *, shift: float = 0.0) -> JointState:
    """What a publisher of some joints says."""
    values = (POSITIONS[which] + shift).tolist()
    message = JointState(name=list(JOINT_NAMES[which]), position=values, effort=POSITIONS[which].tolist())
    message.header.stamp = seconds_to_stamp(stamp)
    return message


def test_a_publisher_per_arm_is_combined_and_the_older_one_counts() -> None:
    picker = JointPicker()
    with pytest.raises(PartialStateError, match="missing: right_joint1, right_joint2.*right_gripper; nobody else"):
        picker.take(part(ARMS[0], 5.0))
    state = picker.take(part(ARMS[1], 5.02))
    np.testing.assert_array_equal(state.positions, POSITIONS)
    np.testing.assert_array_equal(state.efforts, POSITIONS)
    assert state.stamp == 5.0
    with pytest.raises(PartialStateError, match="nothing new of left_joint1"):
        picker.take(part(ARMS[1], 5.03, shift=1.0))
    state = picker.take(part(ARMS[0], 5.04, shift=0.5))
    assert state.stamp == pytest.approx(5.03)
    np.testing.assert_array_equal(state.positions[ARMS[0]], POSITIONS[ARMS[0]] + 0.5)
    np.testing.assert_array_equal(state.positions[ARMS[1]], POSITIONS[ARMS[1]] + 1.0)


@given(st.permutations([slice(0, 6), slice(6, 7), slice(7, 12), slice(12, 14)]), st.integers(0, 2))
def test_any_parts_in_any_order_among_other_joints(parts: list[slice], num_others: int) -> None:
    picker, others = JointPicker(), [f"wheel{n}" for n in range(num_others)]
    for number, which in enumerate(parts):
        message = part(which, 5.0 + 0.01 * number)
        message.name = [*others, *message.name]
        message.position = [9.0] * num_others + list(message.position)
        message.effort = []
        if number < 3:
            with pytest.raises(PartialStateError, match="missing"):
                picker.take(message)
    state = picker.take(message)
    np.testing.assert_array_equal(state.positions, POSITIONS)
    assert (state.efforts, state.stamp) == (None, 5.0)


@pytest.mark.parametrize("ahead", [0.3, 3600.0, -0.3])
def test_an_arm_that_fell_silent_is_not_believed_for_the_other_ones_stamps(ahead: float) -> None:
    """Nor where its own clock is ahead, so that what it said last seems to be of now for long."""
    picker = JointPicker()
    with pytest.raises(PartialStateError):
        picker.take(part(ARMS[0], 5.0 + ahead))
    for tick in range(20):
        late, early = ("right", "left") if ahead > 0.0 else ("left", "right")
        with pytest.raises(PartialStateError, match=f"{late}_joint1 is .* s older than {early}_joint1"):
            picker.take(part(ARMS[1], 5.0 + 0.005 * tick))
    if ahead == 0.3:
        assert picker.take(part(ARMS[1], 5.25)).stamp == 5.25


def test_a_part_with_a_fault_is_refused() -> None:
    picker = JointPicker()
    wrong = part(ARMS[0], 5.0)
    wrong.name[0] = wrong.name[1]
    with pytest.raises(JointNamesError, match="doubled: left_joint2") as caught:
        picker.take(wrong)
    assert not isinstance(caught.value, OtherJointsError)
    wrong = part(ARMS[0], 5.0)
    wrong.position = wrong.position[1:]
    with pytest.raises(JointNamesError, match="7 names but 6 positions"):
        picker.take(wrong)
    with pytest.raises(OtherJointsError, match="only other joints: wheel"):
        picker.take(JointState(name=["wheel"], position=[0.0]))


def test_whole_states_need_no_parts() -> None:
    picker = JointPicker()
    message = to_message(POSITIONS, seconds_to_stamp(5.0), efforts=POSITIONS)
    for _ in range(2):
        state = picker.take(message)
        np.testing.assert_array_equal(state.positions, POSITIONS)
        assert state.stamp == 5.0
    with pytest.raises(PartialStateError):
        picker.take(part(ARMS[1], 5.0))
