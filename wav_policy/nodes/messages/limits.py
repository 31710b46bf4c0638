"""How large a message from the network may be, looked at before anything of it is built.

rclpy turns a message into Python objects in one step that nothing can interrupt, the control loop neither: a trajectory
of 100 000 rows takes it a second. So messages are taken as the bytes they came as, measured, and only then decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from wav_policy.nodes.messages.serialized import ImageView, Reader
from wav_policy.policy.instruction import MAX_TEXT
from wav_policy.robot.joints import JOINT_DIM

MAX_ROWS: Final = 256
"""Of a trajectory: 8 s at 30 Hz."""
MAX_NAMES: Final = 2 * JOINT_DIM
"""Of a command to joints; more are counted, not listed."""
MAX_STATES: Final = 128
"""Joints of a message about where they are: there may be others on the robot."""
MAX_PIXELS: Final = 3840 * 2160
"""Of a picture."""
MAX_EDGE: Final = 16_384
"""Of them in a row or column: what nobody could show, encode or resize is no camera's."""
MAX_COMPRESSED: Final = 8_000_000
"""Of a compressed picture [bytes]."""

_ROW_BYTES: Final = 4 * (4 + 8 * JOINT_DIM) + 16
"""A trajectory's point with positions, velocities, accelerations and efforts."""
_OVERHEAD: Final = 4_000
"""Header, names and whatever else is small [bytes]."""

MAX_BYTES: Final[Mapping[type, int]] = {
    JointTrajectory: MAX_ROWS * _ROW_BYTES + _OVERHEAD,
    JointState: (3 * 8 + 40) * MAX_STATES + _OVERHEAD,
    String: 4 * MAX_TEXT + _OVERHEAD,
    Image: 8 * MAX_PIXELS + _OVERHEAD,
    CompressedImage: MAX_COMPRESSED + _OVERHEAD,
    DiagnosticArray: 256_000,
    Float32MultiArray: 256_000,
}
"""Of a serialized message."""


class MessageError(ValueError):
    """A message that cannot be used; says what is wrong with it, in a text that is fit for logs and /diagnostics."""

    def __init__(self, text: str) -> None:
        super().__init__(cut(text))


def cut(text: str, limit: int = MAX_TEXT) -> str:
    """At most `limit` characters, with the number of those that are missing."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit} more characters)"


def decode(kind: type, data: bytes) -> Any:
    """The message; of a picture an `ImageView`.

    Args:
        kind: its type.
        data: serialized, as a raw subscription gives it (CDR).

    Raises:
        MessageError: larger than it may be, no message of that type, or more in it than fits.
    """
    limit = MAX_BYTES.get(kind, _OVERHEAD)
    if len(data) > limit:
        raise MessageError(f"message of {len(data)} bytes refused: a {kind.__name__} has at most {limit}")
    try:
        if kind is Image:
            return ImageView.read(data)
        if (look := _LOOKS.get(kind)) is not None:
            look(Reader(data))
        return deserialize_message(data, kind)
    except (struct.error, IndexError, RuntimeError, UnicodeDecodeError) as error:
        raise MessageError(f"{len(data)} bytes are no {kind.__name__}: {error}") from error


def _look_at_names(reader: Reader, most: int = MAX_NAMES) -> int:
    reader.skip_header()
    if (names := reader.count()) > most:
        raise MessageError(f"{names} joint names refused; {JOINT_DIM} were expected")
    return names


def _look_at_trajectory(reader: Reader) -> None:
    for _ in range(_look_at_names(reader)):
        reader.skip_text()
    if (rows := reader.count()) > MAX_ROWS:
        raise MessageError(f"trajectory of {rows} points refused: at most {MAX_ROWS} fit")


def _look_at_joints(reader: Reader) -> None:
    _look_at_names(reader, MAX_STATES)


_LOOKS: Final[Mapping[type, Callable[[Reader], None]]] = {
    JointTrajectory: _look_at_trajectory,
    JointState: _look_at_joints,
}
"""What has lists of objects is counted before they are made."""
