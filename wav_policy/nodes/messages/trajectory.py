"""trajectory_msgs/JointTrajectory <-> `ActionChunk`."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.joint_state import JointNamesError, permutation, seconds_to_stamp, stamp_to_seconds
from wav_policy.nodes.messages.limits import MAX_ROWS, MessageError
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

_STEP_TOLERANCE = 1e-6  # s; times pass through integer nanoseconds


class TrajectoryError(MessageError):
    """A trajectory that is no action chunk."""


def chunk_to_message(chunk: ActionChunk) -> JointTrajectory:
    """Point i is due `(i + 1) * step` after the observation (header.stamp)."""
    points = [
        JointTrajectoryPoint(positions=row.tolist(), time_from_start=_duration(chunk.step * (i + 1)))
        for i, row in enumerate(chunk.positions)
    ]
    message = JointTrajectory(joint_names=list(JOINT_NAMES), points=points)
    message.header.stamp = seconds_to_stamp(chunk.stamp)
    return message


def chunk_from_message(message: JointTrajectory) -> ActionChunk:
    """Joints reordered by name; values are passed on unchecked (`ChunkExecutor` judges them).

    Raises:
        TrajectoryError: wrong joint names, no points or too many, one of the wrong length, unevenly spaced times, or no
            stamp: 0 does not mean "now" here, for then a plan of any age would be followed.
    """
    try:
        order = permutation(message.joint_names)
    except JointNamesError as error:
        raise TrajectoryError(str(error)) from None
    if not message.points:
        raise TrajectoryError("trajectory has no points")
    if len(message.points) > MAX_ROWS:
        raise TrajectoryError(f"trajectory has {len(message.points)} points; at most {MAX_ROWS} fit")
    lengths = {len(point.positions) for point in message.points}
    if lengths != {JOINT_DIM}:
        raise TrajectoryError(f"trajectory points have {sorted(lengths)} positions; every point needs {JOINT_DIM}")
    times = np.array([point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in message.points])
    step = float(times[0])
    if step == 0.0 and len(times) > 1:
        raise TrajectoryError("the first point is due at 0 s: leave it out; point i is due after (i + 1) steps")
    stamp = stamp_to_seconds(message.header.stamp)
    if stamp == 0.0:
        raise TrajectoryError("header.stamp is 0; it tells the time of the observation that was planned from")
    if step <= 0 or np.abs(times - step * np.arange(1, len(times) + 1)).max() > _STEP_TOLERANCE:
        raise TrajectoryError(
            f"trajectory times must be even: point i at (i + 1) * step after header.stamp; got {times[:4].tolist()} ..."
        )
    positions = np.array([point.positions for point in message.points], dtype=np.float64)[:, order]
    return ActionChunk(positions=positions, stamp=stamp, step=step)


def _duration(seconds: float) -> Duration:
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(sec=whole, nanosec=nanoseconds)
