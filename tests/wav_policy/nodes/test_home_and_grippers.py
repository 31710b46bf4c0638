"""`piper/home` and `gripper_cmd` as a real client of the real types has them, and all goals beside each other."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
control_msgs = pytest.importorskip("control_msgs")

from action_msgs.msg import GoalStatus  # noqa: E402
from control_msgs.action import FollowJointTrajectory, ParallelGripperCommand  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402
from tests.wav_policy.nodes.test_follow_joint_trajectory import HOME, Mover, System  # noqa: E402
from wav_policy.nodes.messages.gateway_words import Overtaken  # noqa: E402
from wav_policy.robot.joints import JOINT_NAMES  # noqa: E402

pytestmark = pytest.mark.ros

LEFT, RIGHT = 6, 13


class Client:
    """Of one action."""

    def __init__(self, probe: Probe, kind: Any, name: str) -> None:
        self.probe = probe
        self.client = ActionClient(probe.node, kind, name)
        probe.wait_until(self.client.server_is_ready, 30.0)
        self.feedback: list[Any] = []

    def send(self, goal: Any) -> Any:
        """The handle of a goal that was accepted."""
        sent = self.client.send_goal_async(goal, lambda message: self.feedback.append(message.feedback))
        self.probe.wait_until(sent.done)
        assert sent.result().accepted
        return sent.result()

    def result(self, handle: Any) -> tuple[int, Any]:
        """Status and result."""
        told = handle.get_result_async()
        self.probe.wait_until(told.done, 30.0)
        return told.result().status, told.result().result

    def cancel(self, handle: Any) -> None:
        cancelled = handle.cancel_goal_async()
        self.probe.wait_until(cancelled.done)
        assert len(cancelled.result().goals_canceling) == 1


def home_client(probe: Probe, namespace: str = "/robot1/") -> Client:
    return Client(probe, FollowJointTrajectory, f"{namespace}piper/home")


def gripper_client(probe: Probe, side: str, namespace: str = "/robot1/") -> Client:
    return Client(probe, ParallelGripperCommand, f"{namespace}piper/{side}_gripper/gripper_cmd")


def grip(position: float, **more: Any) -> Any:
    return ParallelGripperCommand.Goal(command=JointState(position=[position], **more))


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    system = System()
    yield system
    system.close()


@pytest.fixture
def system(shared: System) -> System:
    shared.loop.hold("by the test")
    shared.loop.engage()
    return shared


def test_home_tells_where_it_is_and_arrives(system: System, probe: Probe) -> None:
    home = home_client(probe)
    status, result = home.result(home.send(FollowJointTrajectory.Goal()))
    assert (status, result.error_code, result.error_string) == (GoalStatus.STATUS_SUCCEEDED, 0, "")
    np.testing.assert_allclose(system.position, HOME, atol=1e-4)
    assert home.feedback
    assert list(home.feedback[-1].joint_names) == list(JOINT_NAMES)
    np.testing.assert_allclose(home.feedback[-1].actual.positions, HOME, atol=0.02)


def test_a_home_with_a_trajectory_is_no_home(system: System, probe: Probe) -> None:
    home = home_client(probe)
    goal = FollowJointTrajectory.Goal()
    goal.trajectory.joint_names = ["left_joint1"]
    status, result = home.result(home.send(goal))
    assert (status, result.error_code) == (GoalStatus.STATUS_ABORTED, FollowJointTrajectory.Result.INVALID_GOAL)
    assert "its goal is left empty" in result.error_string


def move_away(system: System, probe: Probe) -> None:
    """The home pose is some seconds away."""
    mover = Mover(probe, "/robot1/piper/follow_joint_trajectory")
    assert mover.result(mover.send(["left_joint1"], [2.0], [[1.5]]))[0] == GoalStatus.STATUS_SUCCEEDED
    mover.client.destroy()


def test_a_home_that_is_cancelled_holds_and_goals_during_it_are_refused(system: System, probe: Probe) -> None:
    move_away(system, probe)
    home = home_client(probe)
    handle = home.send(FollowJointTrajectory.Goal())
    probe.wait_until(lambda: system.position[0] < 1.45)
    mover = Mover(probe, "/robot1/piper/follow_joint_trajectory")
    status, code, text = mover.result(mover.send(["left_joint1"], [2.0], [[1.0]]))
    assert (status, code, text) == (GoalStatus.STATUS_ABORTED, -1, "piper/home has the arms")
    gripper = gripper_client(probe, "left")
    status, result = gripper.result(gripper.send(grip(0.01)))
    assert (status, result.reached_goal, result.stalled) == (GoalStatus.STATUS_ABORTED, False, False)
    again = home_client(probe)
    status, result = again.result(again.send(FollowJointTrajectory.Goal()))
    assert (status, result.error_string) == (GoalStatus.STATUS_ABORTED, "piper/home has the arms")
    assert system.loop.state().commander == "piper/home"
    home.cancel(handle)
    status, result = home.result(handle)
    assert (status, result.error_string) == (GoalStatus.STATUS_CANCELED, "canceled: the arms hold")
    probe.spin(0.5)
    where = system.position[0]
    assert 0.1 < where < 1.45
    probe.spin(0.3)
    assert system.position[0] == where


def test_home_ends_a_trajectory_and_two_goals_at_once_are_one_after_the_other(system: System, probe: Probe) -> None:
    mover = Mover(probe, "/robot1/piper/follow_joint_trajectory")
    start = system.position[0]
    first, second = (mover.send(["left_joint1"], [8.0], [[start + change]]) for change in (0.5, -0.5))
    assert mover.result(first) == (GoalStatus.STATUS_ABORTED, -1, "replaced by a newer goal")
    home = home_client(probe)
    handle = home.send(FollowJointTrajectory.Goal())
    assert mover.result(second) == (GoalStatus.STATUS_ABORTED, -1, "replaced by a newer goal")
    assert home.result(handle)[0] == GoalStatus.STATUS_SUCCEEDED
    np.testing.assert_allclose(system.position, HOME, atol=1e-4)


@pytest.mark.parametrize(("side", "joint"), [("left", LEFT), ("right", RIGHT)])
def test_a_gripper_opens_and_closes_and_nothing_else(system: System, probe: Probe, side: str, joint: int) -> None:
    before = system.position
    gripper = gripper_client(probe, side)
    status, result = gripper.result(gripper.send(grip(0.06, name=[f"{side}_gripper"], velocity=[0.05], effort=[2.0])))
    assert (status, result.reached_goal, result.stalled) == (GoalStatus.STATUS_SUCCEEDED, True, False)
    assert list(result.state.name) == [f"{side}_gripper"]
    assert result.state.position[0] == pytest.approx(0.06, abs=2e-3)
    moved = system.position - before
    assert system.position[joint] == pytest.approx(0.06, abs=1e-3)
    assert np.delete(moved, joint).tolist() == [0.0] * 13
    assert gripper.feedback[0].state.name == [f"{side}_gripper"]
    assert gripper.result(gripper.send(grip(0.0)))[0] == GoalStatus.STATUS_SUCCEEDED
    assert system.position[joint] == pytest.approx(0.0, abs=1e-3)


def test_a_gripper_that_holds_something_succeeds_stalled(
    system: System, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    gripper = gripper_client(probe, "left")
    assert gripper.result(gripper.send(grip(0.06)))[0] == GoalStatus.STATUS_SUCCEEDED
    write = system.arms.write

    def obstructed(target: Any, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        answer = write(target, mute)
        system.arms.position = np.where(np.arange(14) == LEFT, np.maximum(target, 0.03), system.arms.position)
        return answer

    monkeypatch.setattr(system.arms, "write", obstructed)
    status, result = gripper.result(gripper.send(grip(0.0)))
    assert (status, result.reached_goal, result.stalled) == (GoalStatus.STATUS_SUCCEEDED, False, True)
    assert result.state.position[0] == pytest.approx(0.03, abs=1e-3)


def test_a_cancelled_gripper_holds_where_it_is(system: System, probe: Probe) -> None:
    gripper = gripper_client(probe, "right")
    handle = gripper.send(grip(0.07, velocity=[0.01]))
    start = system.position[RIGHT]
    probe.wait_until(lambda: system.position[RIGHT] > start + 0.003)
    gripper.cancel(handle)
    status, result = gripper.result(handle)
    assert (status, result.reached_goal, result.stalled) == (GoalStatus.STATUS_CANCELED, False, False)
    probe.spin(0.3)
    where = system.position[RIGHT]
    assert where < 0.06
    probe.spin(0.3)
    assert system.position[RIGHT] == where


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ({"name": ["right_gripper"], "position": [0.02]}, "the command is for right_gripper; here left_gripper is"),
        ({"name": ["left_gripper"]}, "one position of left_gripper"),
        ({"position": [0.02, 0.03]}, "one position of left_gripper"),
        ({"position": [0.5]}, "left_gripper: 0.5000 is outside its limits"),
        ({"position": [float("nan")]}, "left_gripper: position nan"),
        ({"position": [0.02], "velocity": [0.0]}, "left_gripper: speed 0"),
        ({"position": [0.02], "effort": [0.5]}, "effort 0.5 N m: grippers are told 1 N m"),
    ],
)
def test_a_bad_command_is_aborted_and_the_log_says_why(
    system: System, probe: Probe, command: dict[str, Any], words: str
) -> None:
    gripper = gripper_client(probe, "left")
    goal = ParallelGripperCommand.Goal(command=JointState(**command))
    status, result = gripper.result(gripper.send(goal))
    assert (status, result.reached_goal, result.stalled) == (GoalStatus.STATUS_ABORTED, False, False)
    probe.wait_until(lambda: words in system.notes[-1])


def test_a_goal_that_waits_in_a_busy_gateway_while_the_arms_are_held_does_not_begin(
    system: System, probe: Probe
) -> None:
    gripper = gripper_client(probe, "left")
    assert gripper.result(gripper.send(grip(0.02)))[0] == GoalStatus.STATUS_SUCCEEDED
    probe.spin(0.3)
    system.gateway().send_signal(signal.SIGSTOP)
    sent = gripper.client.send_goal_async(grip(0.06))
    probe.spin(0.5)
    system.listener.tell(Overtaken("piper/hold was called while this waited"))
    system.gateway().send_signal(signal.SIGCONT)
    probe.wait_until(sent.done)
    status, result = gripper.result(sent.result())
    assert (status, result.reached_goal) == (GoalStatus.STATUS_ABORTED, False)
    assert system.position[LEFT] == pytest.approx(0.02, abs=1e-3)
    probe.wait_until(lambda: "piper/hold was called" in system.notes[-1])
    probe.spin(0.3)
    assert gripper.result(gripper.send(grip(0.06)))[0] == GoalStatus.STATUS_SUCCEEDED


def test_goals_of_piper_node(tmp_path: Path, repository: Path, probe: Probe) -> None:
    """Hold ends the action home, and so does the service, which goes home itself; deactivation parks instead of it."""
    robot = Robot(tmp_path, repository, ["-p", "control_rate:=100.0", "-p", "park_speed:=0.5"])
    for arm in robot.arms:
        arm.start()
    try:
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            assert probe.change_state(transition)
        home = home_client(probe, "")
        gripper = gripper_client(probe, "left", "")
        assert gripper.result(gripper.send(grip(0.05)))[0] == GoalStatus.STATUS_SUCCEEDED
        assert robot.position[LEFT] == pytest.approx(0.05, abs=2e-3)
        handle = home.send(FollowJointTrajectory.Goal())
        probe.wait_until(lambda: probe.value(LOOP, "commander") == "piper/home")
        assert probe.trigger("piper/hold").success
        status, result = home.result(handle)
        assert (status, result.error_string) == (GoalStatus.STATUS_ABORTED, "held by request")
        handle = home.send(FollowJointTrajectory.Goal())
        probe.spin(0.3)
        assert probe.trigger("piper/home").success
        status, result = home.result(handle)
        assert (status, result.error_string) == (GoalStatus.STATUS_ABORTED, "piper/home has the arms now")
        assert home.result(home.send(FollowJointTrajectory.Goal()))[0] == GoalStatus.STATUS_SUCCEEDED
        home.client.destroy()
        gripper.client.destroy()
    finally:
        robot.close()
