"""The actions that `chunk_gateway` offers for piper_node: MoveIt and scripts move arms and grippers by them.

A goal that cannot be followed is accepted and aborted at once: an answer that refuses one has no room for a reason.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any, Final

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from wav_policy.control.joint_trajectory import GoalCode, GoalError, Progress, TrajectoryGoal
from wav_policy.nodes.messages import follow_joint_trajectory, parallel_gripper_command
from wav_policy.nodes.messages.gateway_words import (
    Cancel,
    Ended,
    Goal,
    Note,
    Overtaken,
    UnderWay,
    Word,
    goal_parts,
)
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, JOINT_NAMES

_MOST: Final = 8
"""Goals that wait for their end, one of which is followed; more are refused."""
_AWAY: Final = 0.1
"""Longer than that goals wait only where this process is not attended to [s]."""
_WAITED: Final = 0.2
"""Goals taken so soon after `Overtaken` may have been sent before it, where the process was away [s]."""
_RESULT_TIMEOUT: Final = 60
"""How long whoever sent a goal may take to ask for its result [s]."""


class LateServer(ActionServer):
    """Executes a goal, for rclpy, once it has ended: what executes it until then is another process."""

    def notify_execute(self, goal_handle: Any, execute_callback: Any) -> None:
        """Nothing yet."""

    def conclude(self, goal_handle: Any, conclusion: Callable[[Any], Any]) -> None:
        """Have `conclusion` tell the state that the goal ends in, and return its result."""
        super().notify_execute(goal_handle, conclusion)


class Offer:
    """An action: what its messages mean.

    Args:
        action: its type.
        name: it is called.
    """

    def __init__(self, action: Any, name: str) -> None:
        self.action = action
        self.name = name

    def read(self, request: Any) -> Goal:
        """The goal that somebody sends; GoalError where it cannot be pursued, whatever the arms do."""
        raise NotImplementedError

    def feedback(self, goal: Goal, progress: Progress, stamp: Any) -> Any:
        """Its message; stamped with a builtin_interfaces/Time."""
        raise NotImplementedError

    def result(self, ended: Ended, progress: Progress | None, stamp: Any) -> Any:
        """Its message; `progress` is the newest."""
        raise NotImplementedError

    def is_success(self, code: int) -> bool:
        """Whether it ended as it should."""
        return code == GoalCode.SUCCESSFUL


class _Trajectory(Offer):
    """control_msgs/action/FollowJointTrajectory of a part of the joints."""

    def read(self, request: Any) -> Goal:
        return follow_joint_trajectory.goal_from_message(request)

    def feedback(self, goal: Goal, progress: Progress, stamp: Any) -> Any:
        joints = goal.joints.tolist() if isinstance(goal, TrajectoryGoal) else range(JOINT_DIM)
        return follow_joint_trajectory.feedback_message(self.action, joints, progress, stamp)

    def result(self, ended: Ended, progress: Progress | None, stamp: Any) -> Any:
        return follow_joint_trajectory.result_message(self.action, ended.code, ended.text)


class _Home(_Trajectory):
    """The same type without a trajectory: all joints, to the configured pose."""

    def read(self, request: Any) -> Goal:
        return follow_joint_trajectory.home_from_message(request)


class _Gripper(Offer):
    """control_msgs/action/ParallelGripperCommand of one of them."""

    def __init__(self, action: Any, joint: int) -> None:
        super().__init__(action, f"piper/{JOINT_NAMES[joint]}/gripper_cmd")
        self._joint = joint

    def read(self, request: Any) -> Goal:
        return parallel_gripper_command.goal_from_message(self._joint, request)

    def feedback(self, goal: Goal, progress: Progress, stamp: Any) -> Any:
        return parallel_gripper_command.feedback_message(self.action, self._joint, progress, stamp)

    def result(self, ended: Ended, progress: Progress | None, stamp: Any) -> Any:
        return parallel_gripper_command.result_message(self.action, self._joint, progress, stamp, ended)

    def is_success(self, code: int) -> bool:
        """A gripper that holds something gets no farther."""
        return code in (GoalCode.SUCCESSFUL, GoalCode.GOAL_TOLERANCE_VIOLATED)


KINDS: Final[dict[str, Callable[[Any], tuple[Offer, ...]]]] = {
    "FollowJointTrajectory": lambda action: (
        _Trajectory(action, "piper/follow_joint_trajectory"),
        _Home(action, "piper/home"),
    ),
    "ParallelGripperCommand": lambda action: tuple(_Gripper(action, joint) for joint in GRIPPERS),
}
"""Of control_msgs, and what is offered with it."""


@dataclass
class _Taken:
    handle: Any
    offer: Offer
    goal: Goal
    progress: Progress | None = None


class GoalDesk:
    """Goals to numbers, and back to whoever sent them.

    Args:
        node: has the actions.
        say: tells piper_node.
        make_server: makes what has an action's interface to ROS.

    Attributes:
        refresh: hears what piper_node has said, before a goal is taken.
    """

    def __init__(self, node: Node, say: Callable[[Word], None], make_server: Callable[..., Any] = LateServer) -> None:
        self._node = node
        self._make_server = make_server
        self._servers: dict[str, Any] = {}
        self._overtaken = "", float("-inf")
        self._heard = time.monotonic()
        self.refresh: Callable[[], None] = lambda: None
        self._say = say
        self._number = secrets.randbits(31)  # an answer to a goal of the desk before this one must not fit
        self._taken: dict[int, _Taken] = {}

    def add(self, offer: Offer) -> None:
        """Offer it from now on."""
        self._servers[offer.name] = self._make_server(
            self._node,
            offer.action,
            offer.name,
            lambda handle: None,
            goal_callback=self._may_come,
            handle_accepted_callback=partial(self._take, offer),
            cancel_callback=self._cancel,
            result_timeout=_RESULT_TIMEOUT,
        )

    def hear(self, order: UnderWay | Ended | Overtaken) -> None:
        """Where a goal is, or how it ended, those of another desk being nobody's; or that what waits is overtaken."""
        if isinstance(order, Overtaken):
            now = time.monotonic()
            if now - self._heard > _AWAY:
                self._overtaken = order.reason, now + _WAITED
            return
        taken = self._taken.get(order.number)
        if taken is None:
            return
        if isinstance(order, UnderWay):
            taken.progress = order.progress
            taken.handle.publish_feedback(taken.offer.feedback(taken.goal, order.progress, self._stamp()))
            return
        del self._taken[order.number]
        self._conclude(taken.offer, taken.handle, order, taken.progress)

    def is_up_to_date(self) -> None:
        """All that piper_node has said has been heard."""
        self._heard = time.monotonic()

    def _may_come(self, message: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if len(self._taken) < _MOST else GoalResponse.REJECT

    def _take(self, offer: Offer, handle: Any) -> None:
        handle.execute()
        number = self._number = self._number % (2**32 - 1) + 1
        self.refresh()
        reason, until = self._overtaken
        try:
            if time.monotonic() < until:
                raise GoalError(GoalCode.INVALID_GOAL, reason)
            goal = offer.read(handle.request)
        except Exception as error:  # whatever it is, whoever sent the goal is told
            code = error.code if isinstance(error, GoalError) else GoalCode.INVALID_GOAL
            self._say(Note(f"goal of {offer.name} refused: {error}"))
            self._conclude(offer, handle, Ended(number, code, False, str(error)), None)
            return
        self._taken[number] = _Taken(handle, offer, goal)
        for part in goal_parts(number, goal):
            self._say(part)

    def _cancel(self, handle: Any) -> CancelResponse:
        for number, taken in self._taken.items():
            if taken.handle.goal_id == handle.goal_id:
                self._say(Cancel(number, "canceled: the arms hold"))
                return CancelResponse.ACCEPT
        return CancelResponse.REJECT

    def _conclude(self, offer: Offer, handle: Any, ended: Ended, progress: Progress | None) -> None:
        def tell(handle: Any) -> Any:
            if ended.is_cancelled and handle.is_cancel_requested:
                handle.canceled()
            elif offer.is_success(ended.code) and not ended.is_cancelled:
                handle.succeed()
            else:
                handle.abort()
            return offer.result(ended, progress, self._stamp())

        self._servers[offer.name].conclude(handle, tell)

    def _stamp(self) -> Any:
        return self._node.get_clock().now().to_msg()


def offer_goals(node: Node, say: Callable[[Word], None], make_server: Callable[..., Any] = LateServer) -> GoalDesk:
    """The desk with the actions whose types are installed; why there are no others, for piper_node's log."""
    desk = GoalDesk(node, say, make_server)
    for kind, offers in KINDS.items():
        action = _find_type(kind)
        offered = offers(action)
        names = " and ".join(offer.name for offer in offered)
        if action is None:
            say(Note(f"not offered: {names}: the ROS package control_msgs is not installed, or without {kind}"))
            continue
        try:
            for offer in offered:
                desk.add(offer)
        except Exception as error:  # whatever it is (a broken package, SROS 2 does not allow it), chunks must be heard
            say(Note(f"not offered: {names}: {type(error).__name__}: {error}"))
    return desk


def _find_type(kind: str) -> Any:
    """None where it is not installed."""
    try:
        return getattr(import_module("control_msgs.action"), kind, None)
    except ImportError:
        return None
