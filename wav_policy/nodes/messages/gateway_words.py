"""What `chunk_gateway` and piper_node tell each other, as packets: one byte says which of the words it is."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.limits import MAX_ROWS, MAX_TEXT, MessageError, cut
from wav_policy.robot.joints import JOINT_DIM

NAME: Final = "chunk_gateway"
"""Of the gateway's node."""

_TIMES: Final = struct.Struct("<dd")
_WANTED: Final = struct.Struct("<IB")
_ANSWER: Final = struct.Struct("<I?B")
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
    """Nobody vouches for the chunk in force any more."""

    reason: str


@dataclass(frozen=True)
class Wanted:
    """Somebody asks for a transition that exists in the present state.

    Attributes:
        number: of the question, for the answer.
        transition: its id, as lifecycle_msgs/Transition has it.
    """

    number: int
    transition: int


Word = Beat | Refused | Lost | Wanted | ActionChunk


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
        case Wanted(number, transition):
            return b"T" + _WANTED.pack(number, transition)
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
        if kind == b"T":
            return Wanted(*_WANTED.unpack(data))
        if kind == b"C":
            stamp, step = _TIMES.unpack_from(data)
            rows = np.frombuffer(data, dtype="<f8", offset=_TIMES.size).reshape(-1, JOINT_DIM)
            return ActionChunk(positions=rows.astype(np.float64), stamp=stamp, step=step)
    except (struct.error, ValueError) as error:
        raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway: {error}") from error
    raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway")


def pack_order(order: Introduction | Answer) -> bytes:
    """What piper_node tells the gateway."""
    if isinstance(order, Answer):
        return b"A" + _ANSWER.pack(order.number, order.success, order.state)
    return b"I" + json.dumps(asdict(order)).encode()


def unpack_order(packet: bytes) -> Introduction | Answer:
    """The inverse.

    Raises:
        MessageError: neither of the two.
    """
    kind, data = packet[:1], packet[1:]
    try:
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
