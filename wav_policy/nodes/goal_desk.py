"""The action `piper/follow_joint_trajectory`, which `chunk_gateway` offers for piper_node: MoveIt and scripts move the
arms by it.

A goal that cannot be followed is accepted and aborted at once: an answer that refuses one has no room for a reason.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.node import Node

from wav_policy.control.joint_trajectory import GoalCode, GoalError
from wav_policy.nodes.messages.follow_joint_trajectory import feedback_message, goal_from_message, result_message
from wav_policy.nodes.messages.gateway_words import Cancel, Ended, Following, Note, Word, goal_parts

ACTION: Final = "piper/follow_joint_trajectory"

_MOST: Final = 8
"""Goals that wait for their end, one of which is followed; more are refused."""
_RESULT_TIMEOUT: Final = 60
"""How long whoever sent a goal may take to ask for its result [s]."""


class LateServer(ActionServer):
    """Executes a goal, for rclpy, once it has ended: what executes it until then is another process."""

    def notify_execute(self, goal_handle: Any, execute_callback: Any) -> None:
        """Nothing yet."""

    def conclude(self, goal_handle: Any, conclusion: Callable[[Any], Any]) -> None:
        """Have `conclusion` tell the state that the goal ends in, and return its result."""
        super().notify_execute(goal_handle, conclusion)


@dataclass(frozen=True)
class _Taken:
    handle: Any
    joints: tuple[int, ...]


class GoalDesk:
    """Goals to numbers, and back to whoever sent them.

    Args:
        node: has the action.
        action: its type.
        say: tells piper_node.
        make_server: makes what has its interface to ROS.
    """

    def __init__(
        self, node: Node, action: Any, say: Callable[[Word], None], make_server: Callable[..., Any] = LateServer
    ) -> None:
        self._node = node
        self._action = action
        self._say = say
        self._number = secrets.randbits(31)  # an answer to a goal of the desk before this one must not fit
        self._taken: dict[int, _Taken] = {}
        self._server = make_server(
            node,
            action,
            ACTION,
            lambda handle: None,
            goal_callback=self._may_come,
            handle_accepted_callback=self._take,
            cancel_callback=self._cancel,
            result_timeout=_RESULT_TIMEOUT,
        )

    def hear(self, order: Following | Ended) -> None:
        """Where a goal is, or how it ended; those of another desk are nobody's."""
        taken = self._taken.get(order.number)
        if taken is None:
            return
        if isinstance(order, Following):
            stamp = self._node.get_clock().now().to_msg()
            taken.handle.publish_feedback(feedback_message(self._action, taken.joints, order.progress, stamp))
            return
        del self._taken[order.number]
        self._server.conclude(taken.handle, partial(self._conclude, order))

    def _may_come(self, message: Any) -> GoalResponse:
        return GoalResponse.ACCEPT if len(self._taken) < _MOST else GoalResponse.REJECT

    def _take(self, handle: Any) -> None:
        handle.execute()
        number = self._number = self._number % (2**32 - 1) + 1
        try:
            goal = goal_from_message(handle.request)
        except GoalError as error:
            self._say(Note(f"goal of {ACTION} refused: {error}"))
            self._server.conclude(handle, partial(self._conclude, Ended(number, error.code, False, str(error))))
            return
        self._taken[number] = _Taken(handle, tuple(goal.joints.tolist()))
        for part in goal_parts(number, goal):
            self._say(part)

    def _cancel(self, handle: Any) -> CancelResponse:
        for number, taken in self._taken.items():
            if taken.handle.goal_id == handle.goal_id:
                self._say(Cancel(number, "canceled: the arms hold"))
                return CancelResponse.ACCEPT
        return CancelResponse.REJECT

    def _conclude(self, ended: Ended, handle: Any) -> Any:
        if ended.code == GoalCode.SUCCESSFUL and not ended.is_cancelled:
            handle.succeed()
        elif ended.is_cancelled and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result_message(self._action, ended.code, ended.text)


def offer(node: Node, say: Callable[[Word], None]) -> GoalDesk | None:
    """The desk, where control_msgs is installed; why not, for piper_node's log, where it is not."""
    try:
        from control_msgs.action import FollowJointTrajectory
    except ImportError:
        say(Note(f"{ACTION} is not offered: the ROS package control_msgs is not installed"))
        return None
    try:
        return GoalDesk(node, FollowJointTrajectory, say)
    except Exception as error:  # whatever it is (a broken package, SROS 2 does not allow it), chunks must be heard
        say(Note(f"{ACTION} is not offered: {type(error).__name__}: {error}"))
        return None
