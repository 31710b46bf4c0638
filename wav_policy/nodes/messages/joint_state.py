"""sensor_msgs/JointState <-> vectors in the order of `JOINT_NAMES`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState

from wav_models.types import FloatArray
from wav_policy.nodes.messages.limits import MAX_NAMES, MAX_STATES, MessageError, cut
from wav_policy.robot.joints import JOINT_NAMES

_MAX_SHOWN: Final = 200
"""Characters of somebody's names."""


class JointNamesError(MessageError):
    """A message whose joint names are not those of the robot, in any order."""


class OtherJointsError(JointNamesError):
    """A message about joints of something else alone: on a robot with several drivers others share the topic."""


def permutation(names: Sequence[str], *, others: bool = False) -> list[int]:
    """Index into a message's arrays for each of `JOINT_NAMES`.

    Args:
        names: of the message.
        others: joints of something else may be among them, as in states of a whole robot; in a command they may not.

    Raises:
        JointNamesError: names are missing, unknown or doubled; says which.
        OtherJointsError: others may be there, and nothing else is.
    """
    if tuple(names) == JOINT_NAMES:
        return list(range(len(JOINT_NAMES)))
    if len(names) > (MAX_STATES if others else MAX_NAMES):
        raise JointNamesError(f"{len(names)} joint names; {len(JOINT_NAMES)} were expected")
    ours = [name for name in names if name in JOINT_NAMES] if others else list(names)
    if others and not ours:
        came = cut(", ".join(names) or "no names at all", _MAX_SHOWN)
        raise OtherJointsError(f"only other joints: {came}. Expected, in any order: {', '.join(JOINT_NAMES)}")
    missing = [name for name in JOINT_NAMES if name not in ours]
    unknown = [name for name in ours if name not in JOINT_NAMES]
    doubled = sorted({name for name in ours if ours.count(name) > 1})
    if missing or unknown or doubled:
        faults = (("missing", missing), ("unknown", unknown), ("doubled", doubled))
        detail = "; ".join(f"{fault}: {', '.join(found)}" for fault, found in faults if found)
        raise JointNamesError(f"joint names: {detail}. Expected, in any order: {', '.join(JOINT_NAMES)}")
    return [list(names).index(name) for name in JOINT_NAMES]


def to_message(
    positions: FloatArray,
    stamp: Time,
    *,
    velocities: FloatArray | None = None,
    efforts: FloatArray | None = None,
) -> JointState:
    """Vectors of shape [14] (rad, m; rad/s, m/s; N m, N) as a JointState."""
    message = JointState(name=list(JOINT_NAMES), position=positions.tolist())
    message.header.stamp = stamp
    if velocities is not None:
        message.velocity = velocities.tolist()
    if efforts is not None:
        message.effort = efforts.tolist()
    return message


def positions_from_message(message: JointState) -> FloatArray:
    """Positions, shape [14], rad and m, picked out by name.

    Raises:
        JointNamesError: names are missing or doubled, or there is not one position per name.
        OtherJointsError: the message is about other joints.
    """
    order = permutation(message.name, others=True)
    if len(message.position) != len(message.name):
        raise JointNamesError(f"joint state: {len(message.name)} names but {len(message.position)} positions")
    return np.asarray(message.position, dtype=np.float64)[order]


def efforts_from_message(message: JointState) -> FloatArray | None:
    """Efforts of a message with good names, shape [14], N m, picked out by name; None unless there is one per name."""
    if len(message.effort) != len(message.name):
        return None
    return np.asarray(message.effort, dtype=np.float64)[permutation(message.name, others=True)]


def stamp_to_seconds(stamp: Time) -> float:
    """builtin_interfaces/Time to seconds."""
    return float(stamp.sec) + stamp.nanosec * 1e-9


def seconds_to_stamp(seconds: float) -> Time:
    """Seconds to builtin_interfaces/Time, to the nanosecond."""
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return Time(sec=whole, nanosec=nanoseconds)
