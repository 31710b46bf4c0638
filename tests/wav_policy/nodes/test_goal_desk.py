"""What the actions make of goals and of what becomes of them, without control_msgs; with it, on the real types, see
test_follow_joint_trajectory and test_home_and_grippers."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from builtin_interfaces.msg import Duration, Time  # noqa: E402
from rclpy.action import CancelResponse, GoalResponse  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint, MultiDOFJointTrajectory  # noqa: E402

from tests.wav_policy.control.loop_bench import START  # noqa: E402
from wav_policy.control.gripper_motion import GripperGoal  # noqa: E402
from wav_policy.control.joint_trajectory import GoalCode, GoalError, Progress, TrajectoryGoal  # noqa: E402
from wav_policy.nodes.goal_desk import offer_goals  # noqa: E402
from wav_policy.nodes.messages.follow_joint_trajectory import goal_from_message  # noqa: E402
from wav_policy.nodes.messages.gateway_words import (  # noqa: E402
    MAX_PACKET,
    Cancel,
    Ended,
    Goal,
    GoalPart,
    HomeGoal,
    Note,
    Overtaken,
    UnderWay,
    goal_of,
    goal_parts,
    pack,
    pack_order,
    unpack,
    unpack_order,
)
from wav_policy.robot.joints import JOINT_NAMES  # noqa: E402


def point(time: float, positions: list[float], **more: Any) -> JointTrajectoryPoint:
    return JointTrajectoryPoint(
        positions=positions, time_from_start=Duration(sec=int(time), nanosec=round(time % 1 * 1e9)), **more
    )


def request(names: list[str], *points: JointTrajectoryPoint, **more: Any) -> SimpleNamespace:
    """The fields of a FollowJointTrajectory.Goal."""
    fields: dict[str, Any] = {
        "trajectory": JointTrajectory(joint_names=names, points=points),
        "multi_dof_trajectory": MultiDOFJointTrajectory(),
        "path_tolerance": [],
        "component_path_tolerance": [],
        "goal_tolerance": [],
        "component_goal_tolerance": [],
        "goal_time_tolerance": Duration(),
    }
    return SimpleNamespace(**{**fields, **more})


def test_a_goal_is_read() -> None:
    goal = goal_from_message(
        request(
            ["right_joint1", "left_gripper"],
            point(0.5, [0.1, 0.02], velocities=[0.2, 0.0], accelerations=[0.3, 0.0]),
            point(2.0, [0.2, 0.03], velocities=[0.0, 0.0], accelerations=[0.0, 0.0]),
            path_tolerance=[SimpleNamespace(name="right_joint1", position=0.1, velocity=-1.0)],
            goal_time_tolerance=Duration(sec=1, nanosec=500_000_000),
        )
    )
    assert np.isnan(goal.start), "at once"
    assert goal.joints.tolist() == [7, 6]
    assert goal.times.tolist() == [0.5, 2.0]
    assert goal.positions.tolist() == [[0.1, 0.02], [0.2, 0.03]]
    assert goal.velocities is not None
    assert goal.velocities.tolist() == [[0.2, 0.0], [0.0, 0.0]]
    assert goal.accelerations is not None
    assert goal.accelerations[0, 0] == 0.3
    assert goal.path_tolerance.position[7] == 0.1
    assert goal.goal_time == 1.5
    stamped = request(["left_joint1"], point(1.0, [0.0]))
    stamped.trajectory.header.stamp = Time(sec=7, nanosec=500_000_000)
    assert goal_from_message(stamped).start == 7.5


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (request(["left_joint1"]), "has no points"),
        (request(["left_joint1"], point(1.0, [])), "points have no positions"),
        (request(["left_joint1"], point(1.0, [0.0]), point(2.0, [])), "point 1 has 0 positions for 1 joints"),
        (request(["left_joint1"], point(1.0, [0.0]), point(2.0, [0.0], velocities=[0.0])), "point 0 has 0 velocities"),
        (request(["left_joint1"], point(1.0, [0.0], effort=[1.0])), "points with effort"),
        (request(["left_joint1"], *[point(1.0, [0.0])] * 1001), "has 1001 points; at most 1000 fit"),
        (
            request(
                ["left_joint1"], point(1.0, [0.0]), multi_dof_trajectory=MultiDOFJointTrajectory(joint_names=["a"])
            ),
            "multi_dof_trajectory",
        ),
        (request(["left_joint1"], point(1.0, [0.0]), component_goal_tolerance=["a"]), "tolerances of components"),
    ],
)
def test_a_goal_that_cannot_be_read_is_refused(message: Any, words: str) -> None:
    with pytest.raises(GoalError, match=words):
        goal_from_message(message)


def large_goal() -> TrajectoryGoal:
    times = np.linspace(0.1, 100.0, 1000)
    rows = START + 0.01 * np.sin(times)[:, None]
    points = [
        point(float(time), row.tolist(), velocities=[0.0] * 14, accelerations=[0.0] * 14)
        for time, row in zip(times, rows, strict=True)
    ]
    return goal_from_message(request(list(JOINT_NAMES), *points))


@pytest.mark.parametrize("is_large", [False, True])
def test_a_goal_goes_through_the_socket_in_packets(is_large: bool) -> None:
    goal = large_goal() if is_large else goal_from_message(request(["left_joint3"], point(1.0, [-0.5])))
    packets = [pack(part) for part in goal_parts(7, goal)]
    assert (len(packets) > 10) is is_large
    assert max(map(len, packets)) <= MAX_PACKET
    parts = [unpack(packet) for packet in packets]
    assert all(isinstance(part, GoalPart) and part.number == 7 for part in parts)
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]  # type: ignore[union-attr]
    back = goal_of(b"".join(part.data for part in parts))  # type: ignore[union-attr]
    for name in ("joints", "times", "positions", "velocities", "accelerations", "start", "goal_time"):
        np.testing.assert_array_equal(getattr(back, name), getattr(goal, name))
    for which in ("path_tolerance", "goal_tolerance"):
        for name in ("position", "velocity"):
            np.testing.assert_array_equal(getattr(getattr(back, which), name), getattr(getattr(goal, which), name))


def test_words_about_trajectories_are_told_as_they_are() -> None:
    for word in (Cancel(3, "no more"), Note("a text")):
        assert unpack(pack(word)) == word
    for order in (Ended(9, -4, True, "left_joint1"), Overtaken("piper/hold")):
        assert unpack_order(pack_order(order)) == order
    there = UnderWay(5, Progress(1.5, np.arange(28.0).reshape(2, 14), -np.arange(28.0).reshape(2, 14)))
    back = unpack_order(pack_order(there))
    assert isinstance(back, UnderWay)
    assert (back.number, back.progress.time) == (5, 1.5)
    np.testing.assert_array_equal(back.progress.wanted, there.progress.wanted)
    np.testing.assert_array_equal(back.progress.measured, there.progress.measured)


class Handle:
    """Of a goal, as rclpy has it."""

    def __init__(self, request: Any, goal_id: str) -> None:
        self.request = request
        self.goal_id = goal_id
        self.is_cancel_requested = False
        self.told: list[Any] = []
        self.state = "accepted"

    def execute(self) -> None:
        self.state = "executing"

    def publish_feedback(self, feedback: Any) -> None:
        self.told.append(feedback)

    def succeed(self) -> None:
        self.state = "succeeded"

    def abort(self) -> None:
        self.state = "aborted"

    def canceled(self) -> None:
        assert self.is_cancel_requested
        self.state = "canceled"


class Action:
    """Fields of the action's messages."""

    @staticmethod
    def Feedback(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(header=SimpleNamespace(), **fields)

    @staticmethod
    def Result(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)


NOW = Time(sec=5)
TRAJECTORY = "piper/follow_joint_trajectory"
GRIPPER = "piper/right_gripper/gripper_cmd"


def install(monkeypatch: pytest.MonkeyPatch, **types: Any) -> None:
    """A control_msgs with these actions."""
    module = SimpleNamespace(**types)
    monkeypatch.setitem(__import__("sys").modules, "control_msgs", SimpleNamespace(action=module))
    monkeypatch.setitem(__import__("sys").modules, "control_msgs.action", module)


class Desk:
    """A desk and its servers, which are none of ROS."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[Any] = []
        self.results: list[tuple[Handle, Any]] = []
        clock = SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: NOW))
        node: Any = SimpleNamespace(get_clock=lambda: clock)
        self.callbacks: dict[str, dict[str, Any]] = {}
        install(monkeypatch, FollowJointTrajectory=Action, ParallelGripperCommand=GripperAction)
        self.desk = offer_goals(node, self.said.append, self._make)

    def _make(self, node: Any, action: Any, name: str, execute: Any, **callbacks: Any) -> Any:
        self.callbacks[name] = callbacks
        return SimpleNamespace(conclude=lambda handle, tell: self.results.append((handle, tell(handle))))

    def send(self, message: Any, goal_id: str = "a", action: str = TRAJECTORY) -> Handle | None:
        if self.callbacks[action]["goal_callback"](message) is GoalResponse.REJECT:
            return None
        handle = Handle(message, goal_id)
        self.callbacks[action]["handle_accepted_callback"](handle)
        return handle

    def cancel(self, handle: Handle, action: str = TRAJECTORY) -> bool:
        accepted = self.callbacks[action]["cancel_callback"](handle) is CancelResponse.ACCEPT
        handle.is_cancel_requested = accepted
        return accepted


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


GOOD = request(["right_joint2", "left_joint1"], point(1.0, [1.2, 0.1]))


def test_a_goal_is_handed_on_and_its_progress_and_end_are_told(desk: Desk) -> None:
    handle = desk.send(GOOD)
    assert handle is not None
    (part,) = desk.said
    assert handle.state == "executing"
    wanted, measured = np.arange(28.0).reshape(2, 14), np.ones((2, 14))
    desk.desk.hear(UnderWay(part.number ^ 1, Progress(0.5, wanted, measured)))
    desk.desk.hear(Ended(part.number ^ 1, 0, False, ""))
    assert handle.told == desk.results == []
    desk.desk.hear(UnderWay(part.number, Progress(0.5, wanted, measured)))
    (told,) = handle.told
    assert told.joint_names == ["right_joint2", "left_joint1"]
    assert told.header.stamp == NOW
    assert list(told.desired.positions) == [8.0, 0.0]
    assert list(told.desired.velocities) == [22.0, 14.0]
    assert list(told.error.positions) == [7.0, -1.0]
    assert told.actual.time_from_start == Duration(nanosec=500_000_000)
    desk.desk.hear(Ended(part.number, 0, False, ""))
    assert handle.state == "succeeded"
    assert (desk.results[0][1].error_code, desk.results[0][1].error_string) == (0, "")
    assert not desk.cancel(handle)


@pytest.mark.parametrize(
    ("asked", "ended", "state"),
    [
        (False, Ended(0, -4, False, "off"), "aborted"),
        (True, Ended(0, 0, True, "canceled"), "canceled"),
        (True, Ended(0, 0, False, ""), "succeeded"),
        (True, Ended(0, -1, False, "piper/stop"), "aborted"),
    ],
)
def test_how_it_ends(desk: Desk, asked: bool, ended: Ended, state: str) -> None:
    handle = desk.send(GOOD)
    assert handle is not None
    number = desk.said[0].number
    if asked:
        assert desk.cancel(handle)
        assert desk.said[1] == Cancel(number, "canceled: the arms hold")
    desk.desk.hear(Ended(number, ended.code, ended.is_cancelled, ended.text))
    assert handle.state == state
    assert desk.results[0][1].error_string == ended.text


def test_a_bad_goal_ends_at_once_and_too_many_are_refused(desk: Desk) -> None:
    handle = desk.send(request(["elbow"], point(1.0, [0.0])))
    assert handle is not None
    assert handle.state == "aborted"
    assert desk.results[0][1].error_code == GoalCode.INVALID_JOINTS
    assert isinstance(desk.said.pop(), Note)
    strange = desk.send(SimpleNamespace())
    assert strange is not None
    assert strange.state == "aborted", "whatever is wrong with it, whoever sent it does not wait for ever"
    assert desk.results[1][1].error_code == GoalCode.INVALID_GOAL
    assert isinstance(desk.said.pop(), Note)
    assert [desk.send(GOOD, str(number)) is not None for number in range(9)] == [True] * 8 + [False]
    assert len({part.number for part in desk.said}) == 8


def test_where_control_msgs_is_missing_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "control_msgs.action", None)
    said: list[Any] = []
    node: Any = None
    offer_goals(node, said.append)
    assert [note.text for note in said] == [
        "not offered: piper/follow_joint_trajectory and piper/home: the ROS package control_msgs is not installed, or "
        "without FollowJointTrajectory",
        "not offered: piper/left_gripper/gripper_cmd and piper/right_gripper/gripper_cmd: the ROS package control_msgs "
        "is not installed, or without ParallelGripperCommand",
    ]


def test_of_an_older_control_msgs_what_there_is_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FollowJointTrajectory=Action)
    said: list[Any] = []
    made: list[str] = []
    node: Any = None
    offer_goals(node, said.append, lambda node, action, name, *_, **__: made.append(name))
    assert made == ["piper/follow_joint_trajectory", "piper/home"]
    assert len(said) == 1


def test_what_ros_does_not_let_us_offer_costs_no_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FollowJointTrajectory=Action, ParallelGripperCommand=Action)
    said: list[Any] = []
    node = SimpleNamespace()
    offer_goals(node, said.append)  # type: ignore[arg-type]
    assert len(said) == 2
    assert re.match("not offered: piper/follow_joint_trajectory and piper/home: [A-Za-z]+: ", said[0].text)


@pytest.mark.parametrize("goal", [HomeGoal(), GripperGoal(13, 0.05, 0.2, 1.5), GripperGoal(6, 0.0)])
def test_goals_that_are_no_trajectories_go_through_the_socket(goal: Goal) -> None:
    (part,) = goal_parts(3, goal)
    back = unpack(pack(part))
    assert isinstance(back, GoalPart)
    assert goal_of(back.data) == goal


class GripperAction:
    """Fields of the messages of ParallelGripperCommand."""

    @staticmethod
    def Feedback(state: JointState) -> SimpleNamespace:
        return SimpleNamespace(state=state)

    @staticmethod
    def Result(**flags: bool) -> SimpleNamespace:
        return SimpleNamespace(state=JointState(), **flags)


@pytest.mark.parametrize(
    ("code", "is_cancelled", "state", "flags"),
    [
        (GoalCode.SUCCESSFUL, False, "succeeded", (True, False)),
        (GoalCode.GOAL_TOLERANCE_VIOLATED, False, "succeeded", (False, True)),
        (GoalCode.PATH_TOLERANCE_VIOLATED, False, "aborted", (False, False)),
        (GoalCode.SUCCESSFUL, True, "canceled", (False, False)),
    ],
)
def test_what_a_gripper_command_ends_with(
    desk: Desk, code: int, is_cancelled: bool, state: str, flags: tuple[bool, bool]
) -> None:
    handle = desk.send(SimpleNamespace(command=JointState(position=[0.03])), action=GRIPPER)
    assert handle is not None
    (part,) = desk.said
    assert goal_of(part.data) == GripperGoal(13, 0.03)
    desk.desk.hear(UnderWay(part.number, Progress(0.5, np.zeros((2, 14)), np.arange(28.0).reshape(2, 14))))
    assert (list(handle.told[0].state.position), list(handle.told[0].state.velocity)) == ([13.0], [27.0])
    if is_cancelled:
        assert desk.cancel(handle, GRIPPER)
    desk.desk.hear(Ended(part.number, code, is_cancelled, ""))
    assert handle.state == state
    result = desk.results[0][1]
    assert (result.reached_goal, result.stalled) == flags
    assert list(result.state.name) == ["right_gripper"]


def test_what_waited_when_the_arms_were_held_does_not_begin(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sent it may have pressed hold because nothing happened."""
    now = [100.0]
    monkeypatch.setattr("wav_policy.nodes.goal_desk.time.monotonic", lambda: now[0])
    desk.desk.is_up_to_date()
    now[0] += 0.05
    overtaken = Overtaken("not done: piper/hold was called while this waited")
    desk.desk.refresh = lambda: desk.desk.hear(overtaken)
    handle = desk.send(GOOD)
    assert handle is not None
    assert handle.state == "executing", "sent after it: nothing can have waited"
    now[0] += 0.1
    handle = desk.send(GOOD)
    desk.desk.refresh = lambda: None
    assert handle is not None
    assert handle.state == "aborted"
    assert desk.results[0][1].error_string == "not done: piper/hold was called while this waited"
    now[0] += 0.3
    handle = desk.send(GOOD)
    assert handle is not None
    assert handle.state == "executing"
