"""The action as MoveIt and scripts use it: a real action client, piper_node and simulated arms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
control_msgs = pytest.importorskip("control_msgs")

from action_msgs.msg import GoalStatus  # noqa: E402
from builtin_interfaces.msg import Duration  # noqa: E402
from control_msgs.action import FollowJointTrajectory  # noqa: E402
from control_msgs.msg import JointTolerance  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402

pytestmark = pytest.mark.ros

RESULT = FollowJointTrajectory.Result


class Mover:
    """Sends goals; everything waits in the probe's executor."""

    def __init__(self, probe: Probe, name: str) -> None:
        self.probe = probe
        self.client = ActionClient(probe.node, FollowJointTrajectory, name)
        probe.wait_until(self.client.server_is_ready, 30.0)
        self.feedback: list[Any] = []

    def send(self, names: Sequence[str], times: Sequence[float], rows: Any, **fields: Any) -> Any:
        """The handle of a goal that was accepted."""
        points = [
            JointTrajectoryPoint(
                positions=[float(value) for value in row],
                time_from_start=Duration(sec=int(time), nanosec=round(time % 1 * 1e9)),
            )
            for time, row in zip(times, rows, strict=True)
        ]
        goal = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(names), points=points), **fields)
        self.feedback.clear()
        sent = self.client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback))
        self.probe.wait_until(sent.done)
        assert sent.result().accepted
        return sent.result()

    def result(self, handle: Any) -> tuple[int, int, str]:
        """Status, code and words."""
        told = handle.get_result_async()
        self.probe.wait_until(told.done, 30.0)
        return told.result().status, told.result().result.error_code, told.result().result.error_string


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, repository: Path, probe: Probe) -> Iterator[Robot]:
    """Active; holds."""
    robot = Robot(tmp_path_factory.mktemp("arms"), repository, ["-p", "control_rate:=100.0"])
    for arm in robot.arms:
        arm.start()
    assert probe.change_state(Transition.TRANSITION_CONFIGURE)
    assert probe.change_state(Transition.TRANSITION_ACTIVATE)
    yield robot
    robot.close()


@pytest.fixture
def mover(probe: Probe, robot: Robot) -> Iterator[Mover]:
    assert probe.enable().success
    mover = Mover(probe, "piper/follow_joint_trajectory")
    yield mover
    mover.client.destroy()


def test_a_part_of_the_joints_is_moved_with_feedback_and_the_others_stay(robot: Robot, mover: Mover) -> None:
    before = robot.position
    names = ["right_joint1", "left_gripper"]
    handle = mover.send(names, [1.0, 2.0], [[before[7] + 0.1, 0.02], [before[7] + 0.3, 0.05]])
    assert mover.result(handle) == (GoalStatus.STATUS_SUCCEEDED, RESULT.SUCCESSFUL, "")
    moved = robot.position - before
    assert moved[7] == pytest.approx(0.3, abs=0.01)
    assert robot.position[6] == pytest.approx(0.05, abs=0.003)
    assert np.abs(np.delete(moved, [6, 7])).max() < 0.005
    assert len(mover.feedback) >= 10
    last = mover.feedback[-1]
    assert last.joint_names == names
    assert last.desired.positions[0] == pytest.approx(before[7] + 0.3, abs=0.02)
    assert last.error.positions[0] == pytest.approx(last.desired.positions[0] - last.actual.positions[0], abs=1e-9)


def test_cancelled_the_arms_hold(robot: Robot, probe: Probe, mover: Mover) -> None:
    start = robot.position[0]
    handle = mover.send(["left_joint1"], [5.0], [[start + 1.0]])
    probe.wait_until(lambda: robot.position[0] > start + 0.1)
    probe.wait_until(lambda: probe.value(LOOP, "commander") == "follow_joint_trajectory")
    assert probe.messages()[LOOP].startswith("following follow_joint_trajectory")
    assert handle.status == GoalStatus.STATUS_EXECUTING
    cancelled = handle.cancel_goal_async()
    probe.wait_until(cancelled.done)
    assert len(cancelled.result().goals_canceling) == 1
    assert mover.result(handle) == (GoalStatus.STATUS_CANCELED, RESULT.SUCCESSFUL, "canceled: the arms hold")
    probe.spin(0.7)
    where = robot.position[0]
    assert where < start + 0.9
    probe.spin(0.5)
    assert robot.position[0] == pytest.approx(where, abs=1e-3)


@pytest.mark.parametrize(
    ("names", "row", "code", "words"),
    [
        (["joint1"], [0.0], RESULT.INVALID_JOINTS, "there is no joint 'joint1'; there are left_joint1,"),
        (["left_joint2"], [9.0], RESULT.INVALID_GOAL, "left_joint2: 9.0000 is outside its limits"),
        (["left_joint1"], [float("nan")], RESULT.INVALID_GOAL, "point 0, left_joint1: positions has nan"),
        (["left_joint1", "left_joint2"], [0.0], RESULT.INVALID_GOAL, "point 0 has 1 positions for 2 joints"),
    ],
)
def test_a_bad_goal_is_aborted_with_its_reason(
    mover: Mover, names: list[str], row: list[float], code: int, words: str
) -> None:
    status, told, text = mover.result(mover.send(names, [1.0], [row]))
    assert (status, told) == (GoalStatus.STATUS_ABORTED, code)
    assert words in text


def test_a_goal_too_large_is_refused_and_one_of_the_largest_is_followed(robot: Robot, mover: Mover) -> None:
    at = robot.position[0]
    status, _, text = mover.result(mover.send(["left_joint1"], np.arange(1, 1002) / 500.0, [[at]] * 1001))
    assert status == GoalStatus.STATUS_ABORTED
    assert "has 1001 points; at most 1000" in text
    rows = at + 0.1 * (1.0 - np.cos(np.linspace(0.0, np.pi, 1000)))
    assert mover.result(mover.send(["left_joint1"], np.arange(1, 1001) / 500.0, rows[:, None]))[0] == 4
    assert robot.position[0] == pytest.approx(at + 0.2, abs=0.01)


def test_a_newer_goal_replaces_the_older(robot: Robot, probe: Probe, mover: Mover) -> None:
    start = robot.position[0]
    older = mover.send(["left_joint1"], [5.0], [[start + 1.0]])
    probe.spin(0.5)
    newer = mover.send(["left_joint1"], [1.5], [[start]])
    assert mover.result(older) == (GoalStatus.STATUS_ABORTED, RESULT.INVALID_GOAL, "replaced by a newer goal")
    assert mover.result(newer)[0] == GoalStatus.STATUS_SUCCEEDED
    assert robot.position[0] == pytest.approx(start, abs=0.01)


def test_a_path_tolerance_is_kept_or_told(robot: Robot, mover: Mover) -> None:
    start = robot.position[0]
    tight = [JointTolerance(name="left_joint1", position=1e-6)]
    status, code, text = mover.result(mover.send(["left_joint1"], [2.0], [[start + 0.5]], path_tolerance=tight))
    assert (status, code) == (GoalStatus.STATUS_ABORTED, RESULT.PATH_TOLERANCE_VIOLATED)
    assert text.startswith("path_tolerance: left_joint1 is ")


def test_chunks_are_refused_meanwhile(robot: Robot, probe: Probe, mover: Mover) -> None:
    start = robot.position
    handle = mover.send(["left_joint1"], [2.0], [[start[0] + 0.2]])
    probe.wait_until(lambda: probe.chunks.get_subscription_count() >= 1)
    probe.repeat(
        lambda: probe.send_chunk(start, -0.5),
        lambda: probe.value(LOOP, "rejected_chunk") == "follow_joint_trajectory has the arms",
        0.2,
    )
    assert mover.result(handle)[0] == GoalStatus.STATUS_SUCCEEDED
    assert robot.position[0] == pytest.approx(start[0] + 0.2, abs=0.01)


@pytest.mark.parametrize("end", ["piper/hold", "piper/stop", "gateway"])
def test_hold_stop_and_a_dead_gateway_end_it(robot: Robot, probe: Probe, mover: Mover, end: str) -> None:
    start = robot.position[0]
    handle = mover.send(["left_joint1"], [6.0], [[start + (1.0 if start < 0.5 else -1.0)]])
    probe.wait_until(lambda: abs(robot.position[0] - start) > 0.05)
    if end == "gateway":
        from tests.wav_policy.nodes.test_chunk_gateway import gateway

        gateway(robot).kill()
    else:
        assert probe.trigger(end).success
        status, _, text = mover.result(handle)
        assert status == GoalStatus.STATUS_ABORTED
        assert ("held by request" if end == "piper/hold" else "piper/stop") in text
    probe.spin(1.0)
    where = robot.position[0]
    probe.spin(0.5)
    assert robot.position[0] == pytest.approx(where, abs=1e-3)
    assert abs(where - start) < 0.9
    if end == "piper/stop":
        status, _, text = mover.result(mover.send(["left_joint1"], [2.0], [[where]]))
        assert status == GoalStatus.STATUS_ABORTED
        assert "not to be moved: piper/stop" in text
        assert probe.trigger("piper/reset").success
    if end == "gateway":
        assert "trajectory ended: the process that would hear a cancel is gone" in robot.log.read_text()
