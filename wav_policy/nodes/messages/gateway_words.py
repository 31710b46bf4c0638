"""What `chunk_gateway` tells piper_node, as packets: one byte says which of the words it is."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.limits import MAX_ROWS, MAX_TEXT, MessageError, cut
from wav_policy.robot.joints import JOINT_DIM

_TIMES: Final = struct.Struct("<dd")
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


Word = Beat | Refused | Lost | ActionChunk


def pack(word: Word) -> bytes:
    """At most `MAX_PACKET` bytes."""
    match word:
        case Beat():
            return b"B"
        case Refused(reason):
            return b"R" + cut(reason).encode("utf-8", "replace")
        case Lost(reason):
            return b"L" + cut(reason).encode("utf-8", "replace")
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
        if kind == b"C":
            stamp, step = _TIMES.unpack_from(data)
            rows = np.frombuffer(data, dtype="<f8", offset=_TIMES.size).reshape(-1, JOINT_DIM)
            return ActionChunk(positions=rows.astype(np.float64), stamp=stamp, step=step)
    except (struct.error, ValueError) as error:
        raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway: {error}") from error
    raise MessageError(f"{len(packet)} bytes are no word of the chunk gateway")
