"""control_msgs/action/FollowJointTrajectory <-> goals, progress and ends.

control_msgs is not among the wheels of the embedded default: nothing here imports it, and messages are made by the type
of the action that is handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectoryPoint

from wav_models.types import FloatArray
from wav_policy.control.joint_trajectory import (
    MAX_POINTS,
    GoalCode,
    GoalError,
    Progress,
    TrajectoryGoal,
    goal_time,
    goal_tolerances,
    joints_of,
    path_tolerances,
)
from wav_policy.nodes.messages.gateway_words import HomeGoal
from wav_policy.nodes.messages.joint_state import stamp_to_seconds
from wav_policy.nodes.messages.limits import cut
from wav_policy.robot.joints import JOINT_NAMES


def goal_from_message(message: Any) -> TrajectoryGoal:
    """What a FollowJointTrajectory.Goal asks for; header.stamp 0 means at once.

    Raises:
        GoalError: it cannot be followed, whatever the arms do; says which part of it is wrong.
    """
    trajectory = message.trajectory
    if message.multi_dof_trajectory.joint_names or message.multi_dof_trajectory.points:
        raise _invalid("multi_dof_trajectory: these arms have none but single joints")
    if message.component_path_tolerance or message.component_goal_tolerance:
        raise _invalid("tolerances of components: these arms have none but single joints")
    if len(trajectory.points) > MAX_POINTS:
        raise _invalid(f"the trajectory has {len(trajectory.points)} points; at most {MAX_POINTS} fit")
    joints, points = joints_of(trajectory.joint_names), trajectory.points
    if any(len(point.effort) for point in points):
        raise _invalid("points with effort: these arms are told positions")
    positions = _rows("positions", [point.positions for point in points], len(joints))
    if positions is None:
        raise _invalid("the trajectory has no points" if not points else "points have no positions")
    stamp = stamp_to_seconds(trajectory.header.stamp)
    return TrajectoryGoal(
        start=stamp if stamp != 0.0 else np.nan,
        joints=joints,
        times=np.array([_seconds(point.time_from_start) for point in points]),
        positions=positions,
        velocities=_rows("velocities", [point.velocities for point in points], len(joints)),
        accelerations=_rows("accelerations", [point.accelerations for point in points], len(joints)),
        path_tolerance=path_tolerances(_told(message.path_tolerance)),
        goal_tolerance=goal_tolerances(_told(message.goal_tolerance)),
        goal_time=goal_time(_seconds(message.goal_time_tolerance)),
    )


def home_from_message(message: Any) -> HomeGoal:
    """A FollowJointTrajectory.Goal that says nothing: the pose is configured.

    Raises:
        GoalError: it says something.
    """
    if message != type(message)():
        raise _invalid("piper/home moves all joints to the configured pose: its goal is left empty")
    return HomeGoal()


def feedback_message(action: Any, joints: Sequence[int], progress: Progress, stamp: Any) -> Any:
    """A Feedback of the action.

    Args:
        action: its type.
        joints: of the goal, in its order.
        progress: of the trajectory.
        stamp: of the header, builtin_interfaces/Time.
    """
    chosen = list(joints)
    message = action.Feedback(joint_names=[JOINT_NAMES[joint] for joint in chosen])
    message.header.stamp = stamp
    wanted, measured = progress.wanted[:, chosen], progress.measured[:, chosen]
    message.desired, message.actual = _point(progress.time, wanted), _point(progress.time, measured)
    message.error = _point(progress.time, wanted - measured)
    return message


def result_message(action: Any, code: int, text: str) -> Any:
    """A Result of the action."""
    return action.Result(error_code=int(code), error_string=cut(text))


def _invalid(text: str) -> GoalError:
    return GoalError(GoalCode.INVALID_GOAL, text)


def _seconds(duration: Duration) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)


def _told(found: Iterable[Any]) -> dict[str, tuple[float, float]]:
    return {each.name: (each.position, each.velocity) for each in found}


def _rows(what: str, rows: Sequence[Sequence[float]], width: int) -> FloatArray | None:
    """Shape [n, width]; None where no point has any."""
    if not any(len(row) for row in rows):
        return None
    for index, row in enumerate(rows):
        if len(row) != width:
            raise _invalid(f"point {index} has {len(row)} {what} for {width} joints")
    return np.array(rows, dtype=np.float64)


def _point(time: float, values: FloatArray) -> JointTrajectoryPoint:
    whole, rest = divmod(round(time * 1e9), 1_000_000_000)
    return JointTrajectoryPoint(
        positions=values[0].tolist(),
        velocities=values[1].tolist(),
        time_from_start=Duration(sec=whole, nanosec=rest),
    )
