"""What the chunk gateway says is understood, and never larger than the packet piper_node takes."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.gateway_words import MAX_PACKET, Beat, Lost, Refused, pack, unpack
from wav_policy.nodes.messages.limits import MAX_ROWS, MAX_TEXT, MessageError
from wav_policy.robot.joints import JOINT_DIM

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=MAX_TEXT)


@given(st.integers(1, MAX_ROWS), st.floats(allow_nan=False), st.floats(allow_nan=False))
@settings(max_examples=30, deadline=None)
def test_a_chunk_arrives_as_it_was(rows: int, stamp: float, step: float) -> None:
    positions = np.random.default_rng(rows).normal(size=(rows, JOINT_DIM))
    positions[0, 0] = np.nan  # the chunk executor judges, not the wire
    packet = pack(ActionChunk(positions, stamp, step))
    heard = unpack(packet)
    assert isinstance(heard, ActionChunk)
    np.testing.assert_array_equal(heard.positions, positions)
    assert (heard.stamp, heard.step) == (stamp, step)
    assert len(packet) <= MAX_PACKET


@given(TEXTS)
@settings(deadline=None)
def test_reasons_arrive_as_they_were(text: str) -> None:
    for word in (Beat(), Refused(text), Lost(text)):
        assert unpack(pack(word)) == word


@pytest.mark.parametrize("text", ["\U0001f980" * 5_000_000, "\ud800" * 5_000])
def test_a_reason_of_any_length_fits(text: str) -> None:
    packet = pack(Refused(text))
    assert len(packet) <= MAX_PACKET
    assert isinstance(unpack(packet), Refused)


@given(st.sampled_from([b"B", b"R", b"L", b"C", b""]), st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_word_or_refused(kind: bytes, data: bytes) -> None:
    with suppress(MessageError):
        assert isinstance(unpack(kind + data), Beat | Refused | Lost | ActionChunk)
