"""control_msgs/action/ParallelGripperCommand <-> goals of one gripper, progress and ends.

As in `follow_joint_trajectory`, messages are made by the type of the action that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sensor_msgs.msg import JointState

from wav_policy.control.gripper_motion import GRIPPER_SPEED, GripperGoal
from wav_policy.control.joint_trajectory import GoalCode, GoalError, Progress
from wav_policy.nodes.messages.gateway_words import Ended
from wav_policy.robot.joints import JOINT_NAMES


def goal_from_message(joint: int, message: Any) -> GripperGoal:
    """What a ParallelGripperCommand.Goal asks of a gripper.

    Raises:
        GoalError: it asks for something else; says for what.
    """
    command, name = message.command, JOINT_NAMES[joint]
    if list(command.name) not in ([], [name]):
        names = ", ".join(command.name)
        raise GoalError(GoalCode.INVALID_JOINTS, f"the command is for {names}; here {name} is moved")
    if len(command.position) != 1 or len(command.velocity) > 1 or len(command.effort) > 1:
        raise GoalError(GoalCode.INVALID_GOAL, f"one position of {name}, and at most one velocity and effort")
    return GripperGoal(joint, command.position[0], *_or(command.velocity, GRIPPER_SPEED), *_or(command.effort, np.inf))


def feedback_message(action: Any, joint: int, progress: Progress, stamp: Any) -> Any:
    """A Feedback of the action.

    Args:
        action: its type.
        joint: the gripper.
        progress: of its motion.
        stamp: of the header, builtin_interfaces/Time.
    """
    return action.Feedback(state=_state(joint, progress, stamp))


def result_message(action: Any, joint: int, progress: Progress | None, stamp: Any, ended: Ended) -> Any:
    """A Result of the action; without a state where the gripper was never moved."""
    has_arrived = ended.code == GoalCode.SUCCESSFUL and not ended.is_cancelled
    result = action.Result(reached_goal=has_arrived, stalled=ended.code == GoalCode.GOAL_TOLERANCE_VIOLATED)
    if progress is not None:
        result.state = _state(joint, progress, stamp)
    return result


def _or(told: Sequence[float], default: float) -> Sequence[float]:
    return told if len(told) else (default,)


def _state(joint: int, progress: Progress, stamp: Any) -> JointState:
    position, velocity = progress.measured[:, joint].tolist()
    state = JointState(name=[JOINT_NAMES[joint]], position=[position], velocity=[velocity])
    state.header.stamp = stamp
    return state
