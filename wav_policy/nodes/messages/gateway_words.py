"""What `chunk_gateway` and piper_node tell each other, as packets: one byte says which of the words it is."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from wav_models.types import ActionChunk
from wav_policy.control.gripper_motion import GripperGoal
from wav_policy.control.joint_trajectory import Progress, Tolerances, TrajectoryGoal
from wav_policy.nodes.messages.limits import MAX_ROWS, MAX_TEXT, MessageError, cut
from wav_policy.robot.joints import JOINT_DIM

NAME: Final = "chunk_gateway"
"""Of the gateway's node."""

_TIMES: Final = struct.Struct("<dd")
_WANTED: Final = struct.Struct("<IB?")
_ANSWER: Final = struct.Struct("<I?B")
_PART: Final = struct.Struct("<I?")
_CANCEL: Final = struct.Struct("<I")
_PROGRESS: Final = struct.Struct("<Id")
_ENDED: Final = struct.Struct("<Ib?")
_GRIP: Final = struct.Struct("<Bddd")
_PART_BYTES: Final = 24_000
"""Of a goal, in one packet."""
MAX_INTRODUCTION: Final = 100_000
"""What piper_node says about itself; all else is shorter [bytes]."""
MAX_PACKET: Final = 1 + max(_TIMES.size + 8 * JOINT_DIM * MAX_ROWS, 4 * (MAX_TEXT + 100))
"""Largest packet [bytes]."""


@dataclass(frozen=True)
class Beat:
    """Nothing but a sign of life."""


@dataclass(frozen=True)
class Refused:
    """Something came that is no chunk."""

    reason: str


@dataclass(frozen=True)
class Lost:
    """Whoever published the chunk in force is not alive any more."""

    reason: str


@dataclass(frozen=True)
class Wanted:
    """Somebody asks for a transition that exists in the present state.

    Attributes:
        number: of the question, for the answer.
        transition: its id, as lifecycle_msgs/Transition has it.
        is_overtaken: it was asked for before the gateway heard `Overtaken`: it powers and parks nothing.
    """

    number: int
    transition: int
    is_overtaken: bool = False


@dataclass(frozen=True)
class GoalPart:
    """A goal comes in parts.

    Attributes:
        number: of the goal.
        is_last: it is whole.
        data: of it.
    """

    number: int
    is_last: bool
    data: bytes


@dataclass(frozen=True)
class Cancel:
    """A goal is not wanted any more.

    Attributes:
        number: of the goal; 0: whichever is pursued.
        reason: why not.
    """

    number: int
    reason: str


@dataclass(frozen=True)
class Note:
    """For the log."""

    text: str


Word = Beat | Refused | Lost | Wanted | GoalPart | Cancel | Note | ActionChunk


@dataclass(frozen=True)
class UnderWay:
    """Where the motion to a goal is.

    Attributes:
        number: of the goal.
        progress: of it.
    """

    number: int
    progress: Progress


@dataclass(frozen=True)
class Ended:
    """How the motion to a goal ended.

    Attributes:
        number: of the goal.
        code: a `GoalCode`.
        is_cancelled: because it was not wanted any more.
        text: in words; "" where it arrived.
    """

    number: int
    code: int
    is_cancelled: bool
    text: str


@dataclass(frozen=True)
class Overtaken:
    """What has waited until now is not to move or power the arms any more.

    Attributes:
        reason: why not.
    """

    reason: str


@dataclass(frozen=True)
class Answer:
    """What became of a transition.

    Attributes:
        number: of the question.
        success: whether the transition was made.
        state: id of the state it led to.
    """

    number: int
    success: bool
    state: int


@dataclass(frozen=True)
class HomeGoal:
    """All joints where piper_node is configured to have them."""


Goal = TrajectoryGoal | GripperGoal | HomeGoal


@dataclass(frozen=True)
class Introduction:
    """What piper_node says about itself at first, so that others can be answered.

    Attributes:
        name: of the node.
        state: id of its state.
        states: (id, label) of all there are.
        graph: (id, label) of a transition, of the state it starts from and of the one it leads to.
        parameters: fields of `wav_policy.nodes.runtime.parameters.Described` each.
    """

    name: str
    state: int
    states: tuple[tuple[int, str], ...]
    graph: tuple[tuple[int, str, int, str, int, str], ...]
    parameters: tuple[dict[str, Any], ...]


def pack(word: Word) -> bytes:
    """At most `MAX_PACKET` bytes."""
    match word:
        case Beat():
            return b"B"
        case Refused(reason):
            return b"R" + cut(reason).encode("utf-8", "replace")
        case Lost(reason):
            return b"L" + cut(reason).encode("utf-8", "replace")
        case Wanted(number, transition, is_overtaken):
            return b"T" + _WANTED.pack(number, transition, is_overtaken)
        case GoalPart(number, is_last, data):
            return b"G" + _PART.pack(number, is_last) + data
        case Cancel(number, reason):
            return b"X" + _CANCEL.pack(number) + cut(reason).encode("utf-8", "replace")
        case Note(text):
            return b"N" + cut(text).encode("utf-8", "replace")
        case ActionChunk():
            rows = np.ascontiguousarray(word.positions, dtype="<f8")
            return b"C" + _TIMES.pack(word.stamp, word.step) + rows.tobytes()


def unpack(packet: bytes) -> Word:
    """The inverse.

    Raises:
        MessageError: not one of the words.
    """
    kind, data = packet[:1], packet[1:]
    try:
        if kind == b"B" and not data:
            return Beat()
        if kind == b"R":
            return Refused(data.decode())
        if kind == b"L":
            return Lost(data.decode())
        if kind == b"N":
            return Note(data.decode())
        if kind == b"G":
            number, is_last = _PART.unpack_from(data)
            return GoalPart(number, is_last, data[_PART.size :])
        if kind == b"X":
            (number,) = _CANCEL.unpack_from(data)
            return Cancel(number, data[_CANCEL.size :].decode())
        if kind == b"T":
            return Wanted(*_WANTED.unpack(data))
        if kind == b"C":
            stamp, step = _TIMES.unpack_from(data)
            rows = np.frombuffer(data, dtype="<f8", offset=_TIMES.size).reshape(-1, JOINT_DIM)
            return ActionChunk(positions=rows.astype(np.float64), stamp=stamp, step=step)
    except (struct.error, ValueError) as error:
        raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway: {error}") from error
    raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway")


def goal_parts(number: int, goal: Goal) -> Iterator[GoalPart]:
    """A goal as numbers, cut into packets."""
    match goal:
        case TrajectoryGoal():
            data = b"T" + _trajectory_data(goal)
        case GripperGoal():
            data = b"G" + _GRIP.pack(goal.joint, goal.position, goal.speed, goal.effort)
        case HomeGoal():
            data = b"H"
    for begin in range(0, len(data), _PART_BYTES):
        yield GoalPart(number, begin + _PART_BYTES >= len(data), data[begin : begin + _PART_BYTES])


def goal_of(data: bytes) -> Goal:
    """The inverse, of the data of all parts.

    Raises:
        GoalError: see `TrajectoryGoal` and `GripperGoal`.
    """
    kind, numbers = data[:1], data[1:]
    if kind == b"G":
        return GripperGoal(*_GRIP.unpack(numbers))
    return HomeGoal() if kind == b"H" else _trajectory_of(numbers)


def _trajectory_data(goal: TrajectoryGoal) -> bytes:
    rows = [each for each in (goal.positions, goal.velocities, goal.accelerations) if each is not None]
    allowed = goal.path_tolerance, goal.goal_tolerance
    values = np.concatenate(
        [
            [goal.start, goal.goal_time, len(goal.times), len(goal.joints), len(rows)],
            *(each for pair in allowed for each in (pair.position, pair.velocity)),
            goal.joints,
            goal.times,
            *(each.ravel() for each in rows),
        ]
    )
    return values.astype("<f8").tobytes()


def _trajectory_of(data: bytes) -> TrajectoryGoal:
    start, goal_time, *counts = np.frombuffer(data, dtype="<f8", count=5)
    n, k, orders = (int(count) for count in counts)
    allowed, joints, times, rows = np.split(
        np.frombuffer(data, dtype="<f8", offset=40).astype(np.float64), np.cumsum([4 * JOINT_DIM, k, n])
    )
    limits = allowed.reshape(4, JOINT_DIM)
    positions, velocities, accelerations = [*rows.reshape(orders, n, k), None, None][:3]
    return TrajectoryGoal(
        float(start),
        joints.astype(np.int64),
        times,
        positions,
        velocities,
        accelerations,
        Tolerances(*limits[:2]),
        Tolerances(*limits[2:]),
        float(goal_time),
    )


Order = Introduction | Answer | UnderWay | Ended | Overtaken


def pack_order(order: Order) -> bytes:
    """What piper_node tells the gateway."""
    if isinstance(order, UnderWay):
        numbers = np.stack([order.progress.wanted, order.progress.measured]).astype("<f8")
        return b"F" + _PROGRESS.pack(order.number, order.progress.time) + numbers.tobytes()
    if isinstance(order, Ended):
        text = cut(order.text).encode("utf-8", "replace")
        return b"E" + _ENDED.pack(order.number, order.code, order.is_cancelled) + text
    if isinstance(order, Overtaken):
        return b"O" + cut(order.reason).encode("utf-8", "replace")
    if isinstance(order, Answer):
        return b"A" + _ANSWER.pack(order.number, order.success, order.state)
    return b"I" + json.dumps(asdict(order)).encode()


def unpack_order(packet: bytes) -> Order:
    """The inverse.

    Raises:
        MessageError: none of these.
    """
    kind, data = packet[:1], packet[1:]
    try:
        if kind == b"F":
            number, moment = _PROGRESS.unpack_from(data)
            wanted, measured = np.frombuffer(data, dtype="<f8", offset=_PROGRESS.size).reshape(2, 2, JOINT_DIM)
            return UnderWay(number, Progress(moment, wanted, measured))
        if kind == b"E":
            number, code, is_cancelled = _ENDED.unpack_from(data)
            return Ended(number, code, is_cancelled, data[_ENDED.size :].decode())
        if kind == b"O":
            return Overtaken(data.decode())
        if kind == b"A":
            return Answer(*_ANSWER.unpack(data))
        if kind == b"I":
            said = json.loads(data)
            said["states"] = tuple(map(tuple, said["states"]))
            said["graph"] = tuple(map(tuple, said["graph"]))
            said["parameters"] = tuple(said["parameters"])
            return Introduction(**said)
    except (struct.error, ValueError, TypeError, KeyError) as error:
        raise MessageError(f"{len(packet)} bytes are no order for the chunk gateway: {error}") from error
    raise MessageError(f"{len(packet)} bytes are no order for the chunk gateway")
