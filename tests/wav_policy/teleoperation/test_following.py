from __future__ import annotations

import numpy as np
import pytest

from wav_models.configuration import ConfigurationError, from_flat
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkExecutor
from wav_policy.control.safety import SafetyFilter
from wav_policy.policy.stream_buffer import Capture
from wav_policy.teleoperation.following import Following, FollowingConfig, State

STEP = 0.02


class Robot:
    """Followers that execute chunks as the control loop does; behind a safety filter if they are given one.

    While they are not `commanded`, as before piper/enable, nothing tells them anything.
    """

    def __init__(self, position: FloatArray, safety: SafetyFilter | None = None) -> None:
        self.position = self.target = position
        self.target_time = self.time = 100.0
        self.commanded = True
        self.offset = 0.0
        self.safety = safety
        self.following = Following()
        self.following.engage()
        self.executor = ChunkExecutor()

    def step(self, leader: FloatArray | None, fault: str = "", moves: bool = True) -> ActionChunk | None:
        self.time += STEP
        measured, target = Capture(self.time, self.position), Capture(self.target_time, self.target)
        chunk = self.following.step(self.time, leader, fault, measured, target)
        if not self.commanded:
            self.executor = ChunkExecutor()
            return chunk
        if chunk is not None:
            self.executor.accept(chunk, self.time + 0.004, self.target)
        for fraction in (0.25, 0.5, 0.75, 1.0) if self.safety else (0.5,):
            self._obey(self.time + fraction * STEP)
        self.target_time = self.time
        if moves:
            self.position = self.target + self.offset
        return chunk

    def _obey(self, now: float) -> None:
        command = self.executor.sample(now)
        if self.safety is not None:
            decision = self.safety.step(now, command, self.position, now)
            assert decision.target is not None
            self.target = decision.target
        elif command is not None:
            self.target = command

    def speeds_until_following(self, leader: FloatArray) -> FloatArray:
        """Of the followers on their way to a leader at rest, of every step the fastest joint [rad/s]."""
        path = [self.position]
        while not (self.following.state == State.FOLLOWING and np.allclose(path[-1], leader, atol=1e-3)):
            assert len(path) < 500, self.following.reason
            self.step(leader)
            path.append(self.position)
        return np.abs(np.diff(path, axis=0)).max(axis=1) / STEP

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


def test_a_leader_that_comes_to_the_follower_does_not_pull_the_command_along(robot: Robot) -> None:
    """On its way to a leader the command is ahead of a follower that does not move."""
    away = np.where(np.arange(14) == 0, 1.0, 0.0)
    robot.run(2.0, away, moves=False)
    commands = []
    for share in (0.75, 0.5, 0.25, 0.0, 0.0, 0.0):
        chunk = robot.step(share * away, moves=False)
        assert chunk is not None
        commands.append(chunk.positions[-1, 0])
    assert commands[2] > 0.09
    assert np.abs(np.diff(commands)).max() < 0.01
    assert robot.following.state == State.APPROACHING


@pytest.mark.parametrize(
    ("joint", "value", "reason"),
    [
        (3, 1.5, "the leader jumped"),
        (13, 0.06, "the leader jumped"),
        (6, 0.30, "left_gripper reads 0.300"),
        (8, 5.0, "right_joint2 reads 5.000"),
        (8, -5.0, "right_joint2 reads -5.000"),
        (2, np.nan, "left_joint3 reads nan"),
    ],
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


def test_followers_that_were_not_commanded_do_not_rush_to_the_leader(robot: Robot) -> None:
    """piper/stop and reset, a leader that moves meanwhile, piper/enable."""
    robot.commanded = False
    moved = np.full(14, 0.01)
    for joint in np.linspace(0.01, 0.56, 50):
        moved[0] = joint
        chunk = robot.step(moved.copy())
    assert chunk is None
    assert robot.following.state == State.HOLDING
    assert "piper_node does not command the followers" in robot.following.reason
    robot.commanded = True
    assert robot.speeds_until_following(moved).max() < 2.0 * FollowingConfig().approach_speed


def test_followers_that_were_led_away_do_not_rush_back(robot: Robot) -> None:
    """piper/home: chunks are ignored meanwhile, and followed again from its end on."""
    leader = np.full(14, 0.01)
    for joint in np.linspace(0.01, 0.5, 50):
        robot.following.step(
            robot.time, leader, "", Capture(robot.time, robot.position), Capture(robot.time, robot.target)
        )
        robot.time += STEP
        robot.target = robot.position = leader.copy()
        robot.position[1] = joint
    assert robot.following.state == State.APPROACHING
    robot.executor = ChunkExecutor()
    assert robot.speeds_until_following(leader).max() < 2.0 * FollowingConfig().approach_speed


def test_followers_that_a_collision_stopped_do_not_rush_after_the_leader() -> None:
    robot = Robot(np.full(14, 0.01))
    leader = np.full(14, 0.01)
    robot.run(0.5, leader)
    stop = robot.position
    for joint in np.linspace(0.01, 0.41, 50):
        leader[1] = joint
        robot.step(leader.copy())
        robot.target = robot.position = np.minimum(robot.target, stop + 0.02)
    assert robot.following.state == State.APPROACHING
    robot.executor = ChunkExecutor()
    assert robot.speeds_until_following(leader).max() < 2.0 * FollowingConfig().approach_speed


def test_a_follower_that_leans_on_something_goes_on_following(robot: Robot) -> None:
    robot.offset = 0.3
    robot.run(3.0, np.full(14, 0.01))
    assert robot.following.state == State.FOLLOWING


@pytest.mark.parametrize(("top_speed", "seconds"), [(1.5, 0.02), (2.0, 0.2), (2.5, 0.2)])
def test_a_leader_that_stops_faster_than_the_followers_can_is_followed(top_speed: float, seconds: float) -> None:
    """At the safety filter's 5 rad/s^2 they overshoot: they move away from it for 0.46 s, but are not held up."""
    rest = np.tile([0.0, 1.17, -0.62, 0.0, 1.1, 0.0, 0.05], 2)
    robot = Robot(rest, SafetyFilter())
    robot.run(0.5, rest)
    leader, speed, farthest = rest.copy(), 0.0, 0.0
    for step in range(200):
        wanted, change = top_speed if step * STEP < 0.7 else 0.0, top_speed * STEP / seconds
        speed += float(np.clip(wanted - speed, -change, change))
        leader[0] += speed * STEP
        robot.step(leader.copy())
        assert robot.following.state == State.FOLLOWING
        farthest = max(farthest, abs(robot.position[0] - leader[0]))
    assert farthest > 0.3
    np.testing.assert_allclose(robot.position, leader, atol=1e-3)


def test_old_or_missing_feedback_stops(robot: Robot) -> None:
    leader, now = np.full(14, 0.01), robot.time
    measured = target = Capture(now, robot.position)
    late = Capture(now + 1.0, robot.position)
    assert robot.following.step(now + 1.0, leader, "", measured, late) is None
    assert "joint_states: newest message is 1.00 s old" in robot.following.reason
    assert robot.following.step(now, leader, "", None, target) is None
    assert "joint_states: nothing received" in robot.following.reason
    assert robot.following.step(now, leader, "", measured, None) is None
    assert "piper_node does not command" in robot.following.reason
    robot.following.release()
    assert robot.step(leader) is None
    assert robot.following.state == State.RELEASED


def test_configuration_is_checked() -> None:
    with pytest.raises(ValueError, match="delay"):
        FollowingConfig(delay=0.5)
    with pytest.raises(ConfigurationError, match=r"approach_speed is 0\.0; a number above 0 fits"):
        from_flat(FollowingConfig, {"approach_speed": 0.0})


def test_a_gripper_that_holds_something_is_not_opened_when_the_leader_takes_over() -> None:
    robot = Robot(np.full(14, 0.01))
    robot.position[6], leader = 0.03, np.full(14, 0.01)  # what it holds is 3 cm wide; it is told to close to 1 cm
    robot.target = np.full(14, 0.01)
    for _ in range(50):
        chunk = robot.step(leader, moves=False)
        assert chunk is not None
        assert chunk.positions[:, 6].max() <= 0.01 + 1e-9
