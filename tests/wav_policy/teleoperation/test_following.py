from __future__ import annotations

import numpy as np
import pytest

from wav_models.types import ActionChunk, FloatArray
from wav_policy.chunking import ChunkExecutor
from wav_policy.teleoperation.following import Following, FollowingConfig, State

STEP = 0.02


class Robot:
    """Followers that execute chunks as the control loop does, without a safety filter."""

    def __init__(self, position: FloatArray) -> None:
        self.position = position
        self.time = 100.0
        self.following = Following()
        self.following.engage()
        self.executor = ChunkExecutor()

    def step(self, leader: FloatArray | None, fault: str = "", moves: bool = True) -> ActionChunk | None:
        self.time += STEP
        chunk = self.following.step(self.time, leader, fault, self.position, self.time)
        if chunk is not None:
            self.executor.accept(chunk, self.time + 0.004, self.position)
        target = self.executor.sample(self.time + 0.01)
        if target is not None and moves:
            self.position = target
        return chunk

    def run(self, seconds: float, leader: FloatArray, **options: bool) -> None:
        for _ in range(round(seconds / STEP)):
            self.step(leader, **options)  # type: ignore[arg-type]


@pytest.fixture
def robot() -> Robot:
    robot = Robot(np.full(14, 0.01))
    robot.run(0.5, np.full(14, 0.01))
    assert robot.following.state == State.FOLLOWING
    return robot


def test_far_followers_come_slowly_and_then_follow() -> None:
    robot, leader = Robot(np.zeros(14)), np.full(14, 0.02)
    leader[1] = 0.8
    path = [robot.position]
    while robot.following.state != State.FOLLOWING:
        assert robot.time < 104.0
        robot.step(leader)
        path.append(robot.position)
    speeds = np.abs(np.diff(path, axis=0))[:, 1] / STEP
    assert robot.time - 100.0 > 0.95 * 0.8 / FollowingConfig().approach_speed
    assert speeds.max() < 2.0 * FollowingConfig().approach_speed
    robot.run(0.5, leader)
    np.testing.assert_allclose(robot.position, leader, atol=1e-3)


def test_followers_repeat_the_leaders_motion_after_the_delay(robot: Robot) -> None:
    times, positions = [], []
    begin = robot.time
    for _ in range(150):
        leader = np.full(14, 0.01)
        leader[2] += 0.5 * np.sin(robot.time + STEP - begin) ** 2
        robot.step(leader)
        times.append(robot.time + 0.01)
        positions.append(robot.position[2])
    delayed = np.maximum(np.array(times) - FollowingConfig().delay - begin, 0.0)
    np.testing.assert_allclose(positions, 0.01 + 0.5 * np.sin(delayed) ** 2, atol=4e-3)
    velocity = np.diff(positions) / STEP
    assert np.abs(np.diff(velocity)).max() < 0.1


def test_followers_that_are_not_powered_are_not_pulled() -> None:
    robot, leader = Robot(np.zeros(14)), np.full(14, 1.0)
    leader[[6, 13]] = 0.05
    robot.run(5.0, leader, moves=False)
    chunk = robot.step(leader, moves=False)
    assert chunk is not None
    assert np.abs(chunk.positions[:, :6]).max() <= 0.11
    assert robot.following.state == State.APPROACHING


@pytest.mark.parametrize(
    ("joint", "value", "reason"),
    [(3, 1.5, "the leader jumped"), (6, 0.30, "left_gripper reads 0.300"), (8, 5.0, "right_joint2 reads 5.000")],
)
def test_a_leader_that_jumps_or_reads_nonsense_stops_the_followers(
    robot: Robot, joint: int, value: float, reason: str
) -> None:
    before = robot.position.copy()
    leader = np.full(14, 0.01)
    leader[joint] = value
    assert robot.step(leader) is None
    assert robot.following.state == State.HOLDING
    assert reason in robot.following.reason
    robot.run(0.4, np.full(14, 0.01))
    np.testing.assert_allclose(robot.position, before, atol=1e-6)
    robot.run(1.5, np.full(14, 0.01))
    assert robot.following.state == State.FOLLOWING


def test_a_vanished_leader_stops_the_followers_until_it_is_near_again(robot: Robot) -> None:
    before = robot.position.copy()
    for _ in range(50):
        assert robot.step(None, "left leader arm: bus lost") is None
    assert robot.following.reason == "left leader arm: bus lost"
    np.testing.assert_allclose(robot.position, before, atol=1e-6)
    moved = np.full(14, 0.01)
    moved[0] = 0.25
    robot.step(moved)
    assert robot.following.state == State.APPROACHING


def test_a_follower_held_up_is_approached_again_slowly(robot: Robot) -> None:
    for joint in np.linspace(0.01, 0.9, 40):
        leader = np.full(14, 0.01)
        leader[1] = joint
        robot.step(leader, moves=False)
    assert robot.following.state == State.APPROACHING


def test_old_or_missing_feedback_stops(robot: Robot) -> None:
    leader = np.full(14, 0.01)
    assert robot.following.step(robot.time + 1.0, leader, "", robot.position, robot.time) is None
    assert "joint_states: newest message is 1.00 s old" in robot.following.reason
    assert robot.following.step(robot.time, leader, "", None, -np.inf) is None
    robot.following.release()
    assert robot.step(leader) is None
    assert robot.following.state == State.RELEASED


def test_configuration_is_checked() -> None:
    with pytest.raises(ValueError, match="delay"):
        FollowingConfig(delay=0.5)
    with pytest.raises(ValueError, match="approach_speed must be positive"):
        FollowingConfig(approach_speed=0.0)
