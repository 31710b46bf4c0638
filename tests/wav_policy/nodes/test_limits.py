"""Whatever arrives: within its limits it is decoded, beyond them it costs nothing and is refused with a reason."""

from __future__ import annotations

import array
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray, Header, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from wav_policy.nodes.messages.joint_state import JointNamesError, permutation
from wav_policy.nodes.messages.limits import (
    MAX_BYTES,
    MAX_NAMES,
    MAX_PIXELS,
    MAX_ROWS,
    MessageError,
    cut,
    decode,
)
from wav_policy.nodes.messages.serialized import ImageView
from wav_policy.nodes.runtime.diagnostics import OK, status
from wav_policy.policy.instruction import MAX_TEXT, instruction_fault
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

ROW = [0.0] * JOINT_DIM
KINDS = (JointTrajectory, JointState, String, Image, CompressedImage, DiagnosticArray, Float32MultiArray)


def trajectory(rows: int, names: int | None = None, frame_id: str = "") -> JointTrajectory:
    message = JointTrajectory(joint_names=list(JOINT_NAMES) if names is None else [f"x{i}" for i in range(names)])
    message.points = [
        JointTrajectoryPoint(positions=ROW, velocities=ROW, accelerations=ROW, effort=ROW) for _ in range(rows)
    ]
    message.header.frame_id = frame_id
    return message


@given(st.integers(0, MAX_ROWS), st.integers(0, MAX_NAMES), st.text(max_size=20))
@settings(max_examples=50, deadline=None)
def test_a_message_within_its_limits_is_decoded(rows: int, names: int, frame_id: str) -> None:
    message = trajectory(rows, names, frame_id.replace("\0", ""))
    assert decode(JointTrajectory, serialize_message(message)) == message


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (trajectory(1, 30_000), "bytes refused"),
        (trajectory(1, MAX_NAMES + 1), f"{MAX_NAMES + 1} joint names refused"),
        (trajectory(100_000), "bytes refused"),
        (trajectory(MAX_ROWS + 1), f"{MAX_ROWS + 1} points refused"),
        (JointTrajectory(joint_names=list(JOINT_NAMES), points=[JointTrajectoryPoint()] * 3000), "3000 points refused"),
        (JointTrajectory(points=[JointTrajectoryPoint(positions=[0.0] * 1_000_000)]), "bytes refused"),
        (JointState(name=["x"] * 500), "500 joint names refused"),
        (JointState(name=["x"] * 30_000, position=[0.0] * 30_000), "bytes refused"),
        (String(data="a" * 10_000_000), "bytes refused"),
        (Image(data=array.array("B", bytes(9 * MAX_PIXELS))), "bytes refused"),
        (CompressedImage(data=array.array("B", bytes(9_000_000))), "bytes refused"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else None,
)
def test_beyond_them_it_is_refused_at_once(message: Any, reason: str) -> None:
    data = serialize_message(message)
    start = time.process_time()
    with pytest.raises(MessageError, match=reason):
        decode(type(message), data)
    assert time.process_time() - start < 0.02


@given(st.sampled_from(KINDS), st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_message_or_refused(kind: type, data: bytes) -> None:
    with suppress(MessageError):
        assert isinstance(decode(kind, data), ImageView if kind is Image else kind)


@given(
    stamp=st.tuples(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1)),
    texts=st.tuples(st.text(max_size=9), st.text(max_size=9)),
    numbers=st.tuples(*[st.integers(0, 2**32 - 1)] * 3),
    is_bigendian=st.booleans(),
    data=st.binary(max_size=20),
    missing=st.integers(0, 20),
)
@settings(deadline=None)
def test_a_picture_is_what_rclpy_makes_of_it(
    stamp: tuple[int, int],
    texts: tuple[str, str],
    numbers: tuple[int, int, int],
    is_bigendian: bool,
    data: bytes,
    missing: int,
) -> None:
    """Padding behind the data is none of it."""
    (frame_id, encoding), (height, width, step) = (text.replace("\0", "") for text in texts), numbers
    message = Image(height=height, width=width, encoding=encoding, is_bigendian=is_bigendian, step=step)
    message.header = Header(stamp=Time(sec=stamp[0], nanosec=stamp[1]), frame_id=frame_id)
    message.data = array.array("B", data)
    serialized = serialize_message(message)
    seen = decode(Image, serialized)
    for name in ("header", "height", "width", "encoding", "step"):
        assert getattr(seen, name) == getattr(message, name)
    assert (seen.is_bigendian, bytes(seen.data)) == (is_bigendian, data)
    padding = -len(data) % 4
    if missing > padding:
        with pytest.raises(MessageError, match="are no Image"):
            decode(Image, serialized[:-missing])


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
@settings(deadline=None)
def test_a_damaged_trajectory_is_one_or_refused(place: int, damage: bytes) -> None:
    data = bytearray(serialize_message(trajectory(2)))
    data[place : place + len(damage)] = damage
    with suppress(MessageError):
        assert len(decode(JointTrajectory, bytes(data)).points) <= MAX_ROWS


def test_the_other_byte_order_is_counted_too() -> None:
    """Of a header, then so many names."""
    header = bytes(4) + bytes(8) + (1).to_bytes(4, "big") + bytes(4)
    with pytest.raises(MessageError, match="500 joint names"):
        decode(JointState, header + (500).to_bytes(4, "big") + bytes(1000))


def test_many_wrong_names_are_counted_not_listed() -> None:
    start = time.process_time()
    with pytest.raises(JointNamesError, match="30000 joint names") as caught:
        permutation([f"x{i}" for i in range(30_000)])
    assert len(str(caught.value)) < 200
    assert time.process_time() - start < 0.1


@given(st.text(max_size=3000))
def test_texts_are_cut(text: str) -> None:
    entry = status("node: part", OK, text, value=text, list=[text])
    assert all(len(each) <= MAX_TEXT + 40 for each in (entry.message, *(pair.value for pair in entry.values)))
    assert len(str(MessageError(text))) <= MAX_TEXT + 40
    assert cut(text) == text if len(text) <= MAX_TEXT else cut(text).startswith(text[:MAX_TEXT])


def test_a_long_instruction_is_refused_with_its_length() -> None:
    assert instruction_fault("put the bowl on the plate") is None
    assert instruction_fault("a" * MAX_TEXT) is None
    assert "1001 characters refused: at most 1000 fit" in str(instruction_fault("a" * (MAX_TEXT + 1)))


def test_every_kind_that_is_subscribed_has_a_limit() -> None:
    assert set(KINDS) <= set(MAX_BYTES)
