"""The action as MoveIt and scripts use it, on its real type: an action client, the gateway's process and a control
loop; then piper_node and simulated arms around them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
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

from tests.wav_policy.control.loop_bench import RATE, START, PerfectArms  # noqa: E402
from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402
from tests.wav_policy.nodes.test_chunk_gateway import INTRODUCTION  # noqa: E402
from wav_policy.control.control_loop import ControlLoop  # noqa: E402
from wav_policy.control.safety import SafetyLimits  # noqa: E402
from wav_policy.nodes.messages.joint_state import seconds_to_stamp  # noqa: E402
from wav_policy.nodes.runtime.chunk_listener import ChunkListener  # noqa: E402
from wav_policy.nodes.runtime.goal_runner import Configured, GoalRunner  # noqa: E402

pytestmark = pytest.mark.ros

RESULT = FollowJointTrajectory.Result
HOME = START + 0.01


class Mover:
    """Sends goals; everything waits in the probe's executor."""

    def __init__(self, probe: Probe, name: str) -> None:
        self.probe = probe
        self.client = ActionClient(probe.node, FollowJointTrajectory, name)
        probe.wait_until(self.client.server_is_ready, 30.0)
        self.feedback: list[Any] = []

    def send(self, names: Sequence[str], times: Sequence[float], rows: Any, stamp: float = 0.0, **fields: Any) -> Any:
        """The handle of a goal that was accepted."""
        points = [
            JointTrajectoryPoint(
                positions=[float(value) for value in row],
                time_from_start=Duration(sec=int(time), nanosec=round(time % 1 * 1e9)),
            )
            for time, row in zip(times, rows, strict=True)
        ]
        goal = FollowJointTrajectory.Goal(trajectory=JointTrajectory(joint_names=list(names), points=points), **fields)
        goal.trajectory.header.stamp = seconds_to_stamp(stamp)
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


class System:
    """What piper_node has of it, over arms that obey, in a namespace."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.arms = PerfectArms(time.monotonic)
        self.loop = ControlLoop(self.arms, RATE, SafetyLimits(max_tick=1.0, max_measurement_age=5.0))
        self.loop.start()
        offset = time.time() - time.monotonic()
        self.runner = GoalRunner(
            lambda: self.loop,
            Configured(HOME, 1.0, 1.0),
            lambda stamp: stamp - offset,
            lambda order: self.listener.tell(order),
            self.notes.append,
        )
        self.listener = ChunkListener(
            "/robot1/action_chunk",
            "/robot1",
            self.loop.accept,
            lambda reason: None,
            self.notes.append,
            lambda: INTRODUCTION,
            lambda wanted: None,
            self.runner.hear,
            self.notes.append,
        )
        self.listener.wait()

    @property
    def position(self) -> Any:
        return self.arms.position

    def gateway(self) -> psutil.Process:
        (found,) = [
            child for child in psutil.Process().children() if "wav_policy.nodes.chunk_gateway" in child.cmdline()
        ]
        return found

    def close(self) -> None:
        self.listener.close()
        self.runner.close()
        self.loop.close()


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    system = System()
    yield system
    system.close()


@pytest.fixture
def mover(probe: Probe, system: System) -> Iterator[Mover]:
    system.loop.engage()
    began = len(system.arms.writes)
    probe.wait_until(lambda: len(system.arms.writes) > began)
    mover = Mover(probe, "/robot1/piper/follow_joint_trajectory")
    yield mover
    mover.client.destroy()


def test_a_part_of_the_joints_is_moved_with_feedback_and_the_others_stay(system: System, mover: Mover) -> None:
    before = system.position
    names = ["right_joint1", "left_gripper"]
    handle = mover.send(names, [1.0, 2.0], [[before[7] + 0.1, 0.02], [before[7] + 0.3, 0.05]])
    assert mover.result(handle) == (GoalStatus.STATUS_SUCCEEDED, RESULT.SUCCESSFUL, "")
    moved = system.position - before
    assert moved[7] == pytest.approx(0.3, abs=1e-3)
    assert system.position[6] == pytest.approx(0.05, abs=1e-3)
    assert np.delete(moved, [6, 7]).tolist() == [0.0] * 12
    assert len(mover.feedback) >= 5
    last = mover.feedback[-1]
    assert last.joint_names == names
    assert last.desired.positions[0] == pytest.approx(before[7] + 0.3, abs=0.1)
    assert last.error.positions[0] == pytest.approx(last.desired.positions[0] - last.actual.positions[0], abs=1e-9)
    assert last.header.stamp.sec > 0


def test_cancelled_the_arms_hold(system: System, probe: Probe, mover: Mover) -> None:
    start = system.position[0]
    handle = mover.send(["left_joint1"], [10.0], [[start + 1.0]])
    probe.wait_until(lambda: system.position[0] > start + 0.05)
    assert system.loop.state().commander == "follow_joint_trajectory"
    assert handle.status == GoalStatus.STATUS_EXECUTING
    cancelled = handle.cancel_goal_async()
    probe.wait_until(cancelled.done)
    assert len(cancelled.result().goals_canceling) == 1
    assert mover.result(handle) == (GoalStatus.STATUS_CANCELED, RESULT.SUCCESSFUL, "canceled: the arms hold")
    probe.spin(0.7)
    where = system.position[0]
    assert where < start + 0.95
    probe.spin(0.5)
    assert system.position[0] == where


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


def test_a_goal_too_large_is_refused_and_one_of_the_largest_is_followed(system: System, mover: Mover) -> None:
    at = system.position[0]
    status, _, text = mover.result(mover.send(["left_joint1"], np.arange(1, 1002) / 500.0, [[at]] * 1001))
    assert status == GoalStatus.STATUS_ABORTED
    assert "has 1001 points; at most 1000" in text
    rows = at - 0.1 * (1.0 - np.cos(np.linspace(0.0, np.pi, 1000)))
    handle = mover.send(["left_joint1"], np.arange(1, 1001) / 500.0, rows[:, None])
    assert mover.result(handle)[0] == GoalStatus.STATUS_SUCCEEDED
    assert system.position[0] == pytest.approx(at - 0.2, abs=1e-3)


def test_a_newer_goal_replaces_the_older(system: System, probe: Probe, mover: Mover) -> None:
    start = system.position[0]
    older = mover.send(["left_joint1"], [10.0], [[start - 1.0]])
    probe.spin(0.5)
    newer = mover.send(["left_joint1"], [1.5], [[start]])
    assert mover.result(older) == (GoalStatus.STATUS_ABORTED, RESULT.INVALID_GOAL, "replaced by a newer goal")
    assert mover.result(newer)[0] == GoalStatus.STATUS_SUCCEEDED
    assert system.position[0] == pytest.approx(start, abs=1e-3)


def test_stamps_and_tolerances_are_those_of_the_message(system: System, mover: Mover) -> None:
    """These arms tell no velocity."""
    start = system.position[0]
    tight = [JointTolerance(name="left_joint1", velocity=1e-6)]
    status, code, text = mover.result(mover.send(["left_joint1"], [2.0], [[start + 0.3]], path_tolerance=tight))
    assert (status, code) == (GoalStatus.STATUS_ABORTED, RESULT.PATH_TOLERANCE_VIOLATED)
    assert text.startswith("path_tolerance: left_joint1 is ")
    status, code, text = mover.result(mover.send(["left_joint1"], [1.0], [[start]], stamp=time.time() - 5.0))
    assert (status, code) == (GoalStatus.STATUS_ABORTED, RESULT.OLD_HEADER_TIMESTAMP)
    assert "the last point was due " in text


def test_a_frozen_gateway_changes_nothing_and_a_dead_one_ends_it(system: System, probe: Probe, mover: Mover) -> None:
    start = system.position[0]
    handle = mover.send(["left_joint1"], [3.0], [[start - 0.3]])
    system.gateway().send_signal(signal.SIGSTOP)
    probe.spin(1.0)
    system.gateway().send_signal(signal.SIGCONT)
    assert mover.result(handle)[0] == GoalStatus.STATUS_SUCCEEDED
    mover.send(["left_joint1"], [10.0], [[start + 0.7]])
    probe.wait_until(lambda: system.position[0] > start - 0.25)
    os.kill(system.gateway().pid, signal.SIGKILL)
    ended = "follow_joint_trajectory ended: the process that would hear a cancel is gone"
    probe.wait_until(lambda: ended in system.notes)
    probe.spin(1.0)
    where = system.position[0]
    assert where < start + 0.6
    probe.spin(0.3)
    assert system.position[0] == where


@pytest.mark.parametrize("end", ["piper/hold", "piper/stop"])
def test_hold_and_stop_of_piper_node_end_it(tmp_path: Path, repository: Path, probe: Probe, end: str) -> None:
    robot = Robot(tmp_path, repository, ["-p", "control_rate:=100.0"])
    for arm in robot.arms:
        arm.start()
    try:
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        mover = Mover(probe, "piper/follow_joint_trajectory")
        status, _, text = mover.result(mover.send(["left_joint1"], [2.0], [[0.1]]))
        assert status == GoalStatus.STATUS_ABORTED
        assert "not to be moved" in text
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)
        start = robot.position[0]
        handle = mover.send(["left_joint1"], [6.0], [[start + 1.0]])
        probe.wait_until(lambda: robot.position[0] > start + 0.05)
        probe.wait_until(lambda: probe.value(LOOP, "commander") == "follow_joint_trajectory")
        assert probe.trigger(end).success
        status, code, text = mover.result(handle)
        assert (status, code) == (GoalStatus.STATUS_ABORTED, RESULT.INVALID_GOAL)
        assert ("held by request" if end == "piper/hold" else "piper/stop") in text
        probe.spin(1.0)
        where = robot.position[0]
        assert where < start + 0.9
        probe.spin(0.5)
        assert robot.position[0] == pytest.approx(where, abs=1e-3)
        mover.client.destroy()
    finally:
        robot.close()
