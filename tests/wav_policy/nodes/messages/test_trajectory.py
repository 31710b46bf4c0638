"""A chunk means the same on both sides of the topic: which joint, where, and when."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.limits import MAX_ROWS
from wav_policy.nodes.messages.trajectory import TrajectoryError, chunk_from_message, chunk_to_message
from wav_policy.robot.joints import JOINT_NAMES

CHUNK = ActionChunk(np.arange(42).reshape(3, 14) / 10.0, stamp=12.5, step=0.1)


@given(st.permutations(range(14)))
@settings(deadline=None)
def test_a_chunk_is_the_same_on_both_sides_whatever_the_order_of_joints(order: list[int]) -> None:
    message = chunk_to_message(CHUNK)
    message.joint_names = [JOINT_NAMES[i] for i in order]
    for point, row in zip(message.points, CHUNK.positions, strict=True):
        point.positions = [float(row[i]) for i in order]
    received = chunk_from_message(message)
    np.testing.assert_array_equal(received.positions, CHUNK.positions)
    np.testing.assert_allclose(received.times, CHUNK.times, atol=1e-6)
    np.testing.assert_allclose(received.times, [12.6, 12.7, 12.8], atol=1e-6)


def test_the_first_row_is_due_one_step_after_the_observation() -> None:
    points = chunk_to_message(CHUNK).points
    assert [point.time_from_start.nanosec for point in points] == [100_000_000, 200_000_000, 300_000_000]


@pytest.mark.parametrize("times", [[0.1, 0.3, 0.4], [0.2, 0.1, 0.3], [0.1, 0.2, 0.2]])
def test_uneven_times_are_refused(times: list[float]) -> None:
    message = chunk_to_message(CHUNK)
    for point, time in zip(message.points, times, strict=True):
        point.time_from_start.nanosec = round(time * 1e9)
    with pytest.raises(TrajectoryError, match="times"):
        chunk_from_message(message)


def test_other_joints_no_points_too_many_and_short_ones_are_refused() -> None:
    message = chunk_to_message(CHUNK)
    message.points[1].positions = [0.0] * 13
    with pytest.raises(TrajectoryError, match="positions"):
        chunk_from_message(message)
    message.points = []
    with pytest.raises(TrajectoryError, match="no points"):
        chunk_from_message(message)
    message.points = chunk_to_message(CHUNK).points[:1] * (MAX_ROWS + 1)
    with pytest.raises(TrajectoryError, match=f"has {MAX_ROWS + 1} points; at most {MAX_ROWS} fit"):
        chunk_from_message(message)
    message = chunk_to_message(CHUNK)
    message.joint_names = [*JOINT_NAMES[:-1], "wheel"]
    with pytest.raises(TrajectoryError, match="wheel"):
        chunk_from_message(message)


def test_habits_of_trajectory_controllers_are_named() -> None:
    """Stamp 0 for "now", a first row at 0 s for where the arm is. A plan of unknown age is not followed."""
    message = chunk_to_message(CHUNK)
    message.header.stamp.sec = message.header.stamp.nanosec = 0
    with pytest.raises(TrajectoryError, match=r"header\.stamp is 0; it tells the time of the observation"):
        chunk_from_message(message)
    message = chunk_to_message(CHUNK)
    for number, point in enumerate(message.points):
        point.time_from_start.nanosec = number * 100_000_000
    with pytest.raises(TrajectoryError, match="first point is due at 0 s: leave it out"):
        chunk_from_message(message)
