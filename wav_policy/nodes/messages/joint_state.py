"""sensor_msgs/JointState <-> vectors in the order of `JOINT_NAMES`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState

from wav_models.types import FloatArray
from wav_models.words import counted
from wav_policy.nodes.messages.limits import MAX_NAMES, MAX_STATES, MessageError, cut
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

_PLACES: Final = {name: place for place, name in enumerate(JOINT_NAMES)}
_MAX_SHOWN: Final = 200
"""Characters of somebody's names."""


class JointNamesError(MessageError):
    """A message whose joint names are not those of the robot, in any order."""


class OtherJointsError(JointNamesError):
    """A message about joints of something else alone: on a robot with several drivers others share the topic."""


class PartialStateError(OtherJointsError):
    """A message about a part of the joints, while the other part is not of the same moment: nothing to go on alone."""


def permutation(names: Sequence[str]) -> list[int]:
    """Index into a command's arrays for each of `JOINT_NAMES`; joints of something else may not be among them.

    Raises:
        JointNamesError: names are missing, unknown or doubled; says which.
    """
    if tuple(names) == JOINT_NAMES:
        return list(range(len(JOINT_NAMES)))
    if len(names) > MAX_NAMES:
        raise JointNamesError(f"{len(names)} joint names; {len(JOINT_NAMES)} were expected")
    missing = [name for name in JOINT_NAMES if name not in names]
    unknown = [name for name in names if name not in JOINT_NAMES]
    doubled = sorted({name for name in names if list(names).count(name) > 1})
    if missing or unknown or doubled:
        faults = (("missing", missing), ("unknown", unknown), ("doubled", doubled))
        detail = "; ".join(f"{fault}: {', '.join(found)}" for fault, found in faults if found)
        raise JointNamesError(f"joint names: {detail}. Expected, in any order: {', '.join(JOINT_NAMES)}")
    return [list(names).index(name) for name in JOINT_NAMES]


def _find(message: JointState) -> dict[int, int]:
    """Our joints in a state, as indices into `JOINT_NAMES`: where in its arrays they are.

    Raises:
        JointNamesError: too many names, one of ours twice, or not one position per name.
        OtherJointsError: none of ours.
    """
    names = message.name
    if len(names) > MAX_STATES:
        raise JointNamesError(f"{len(names)} joint names; {len(JOINT_NAMES)} were expected")
    ours = [(_PLACES[name], row) for row, name in enumerate(names) if name in _PLACES]
    if not ours:
        came = cut(", ".join(names) or "no names at all", _MAX_SHOWN)
        raise OtherJointsError(f"only other joints: {came}. Expected, in any order: {', '.join(JOINT_NAMES)}")
    rows = dict(ours)
    if len(rows) < len(ours):
        doubled = [JOINT_NAMES[joint] for joint in rows if list(names).count(JOINT_NAMES[joint]) > 1]
        raise JointNamesError(f"joint names: doubled: {', '.join(doubled)}")
    if len(message.position) != len(names):
        raise JointNamesError(
            f"joint state: {counted(len(names), 'name')} but {counted(len(message.position), 'position')}"
        )
    return rows


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
    """Positions of a message about all joints, shape [14], rad and m, picked out by name.

    Raises:
        JointNamesError: names are missing or doubled, or there is not one position per name.
        OtherJointsError: the message is about other joints.
    """
    rows = _find(message)
    if missing := [name for place, name in enumerate(JOINT_NAMES) if place not in rows]:
        raise JointNamesError(f"joint names: missing: {', '.join(missing)}")
    return np.asarray(message.position, dtype=np.float64)[[rows[place] for place in range(JOINT_DIM)]]


class PickedState(NamedTuple):
    """Of all joints, in the order of `JOINT_NAMES`.

    Attributes:
        positions: shape [14], rad and m.
        efforts: shape [14], N m; None unless there is one per joint.
        stamp: of its oldest part [s].
    """

    positions: FloatArray
    efforts: FloatArray | None
    stamp: float


class JointPicker:
    """States of all joints out of the messages of one topic, each about all of them or a part, as where every arm has a
    publisher of its own. A state is as old as its oldest part, and new once every part is.

    Args:
        max_apart: parts whose stamps are farther apart are not of one moment: a publisher has ended, or its clock is
            another one [s].
    """

    def __init__(self, max_apart: float = 0.1) -> None:
        self._max_apart = max_apart
        self._stamps: FloatArray = np.full(JOINT_DIM, -np.inf)
        self._positions: FloatArray = np.zeros(JOINT_DIM)
        self._efforts: FloatArray = np.full(JOINT_DIM, np.nan)
        self._told = -np.inf

    def take(self, message: JointState) -> PickedState:
        """The state that a message completes.

        Raises:
            JointNamesError: it has too many or doubled names, or not one position per name.
            OtherJointsError: it is about other joints.
            PartialStateError: it completes none; says what is missing.
        """
        is_whole = self._keep(message)
        oldest, newest = int(self._stamps.argmin()), int(self._stamps.argmax())
        if (stamp := float(self._stamps[oldest])) == -np.inf:
            missing = [name for name, known in zip(JOINT_NAMES, self._stamps, strict=True) if known == -np.inf]
            raise PartialStateError(f"joint names: missing: {', '.join(missing)}; nobody else says them")
        if not (apart := float(self._stamps[newest]) - stamp) <= self._max_apart:
            raise PartialStateError(f"{JOINT_NAMES[oldest]} is {apart:.2f} s older than {JOINT_NAMES[newest]}")
        if stamp == self._told and not is_whole:
            raise PartialStateError(f"nothing new of {JOINT_NAMES[oldest]}")
        self._told = stamp
        efforts = None if np.isnan(self._efforts).any() else self._efforts.copy()
        return PickedState(self._positions.copy(), efforts, stamp)

    def _keep(self, message: JointState) -> bool:
        """Remember what a message says; returns whether it is about all joints."""
        rows = _find(message)
        joints, of = list(rows), list(rows.values())
        has_efforts = len(message.effort) == len(message.name)
        self._positions[joints] = np.asarray(message.position, dtype=np.float64)[of]
        self._efforts[joints] = np.asarray(message.effort, dtype=np.float64)[of] if has_efforts else np.nan
        self._stamps[joints] = stamp_to_seconds(message.header.stamp)
        return len(rows) == JOINT_DIM


def stamp_to_seconds(stamp: Time) -> float:
    """builtin_interfaces/Time to seconds."""
    return float(stamp.sec) + stamp.nanosec * 1e-9


def seconds_to_stamp(seconds: float) -> Time:
    """Seconds to builtin_interfaces/Time, to the nanosecond."""
    whole, nanoseconds = divmod(round(seconds * 1e9), 1_000_000_000)
    return Time(sec=whole, nanosec=nanoseconds)
