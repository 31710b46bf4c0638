"""What the chunk gateway says is understood, and never larger than the packet piper_node takes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from wav_models.types import ActionChunk
from wav_policy.nodes.messages.gateway_words import (
    MAX_INTRODUCTION,
    MAX_PACKET,
    Answer,
    Beat,
    Introduction,
    Lost,
    Order,
    Refused,
    Wanted,
    Word,
    pack,
    pack_order,
    unpack,
    unpack_order,
)
from wav_policy.nodes.messages.limits import MAX_ROWS, MAX_TEXT, MessageError
from wav_policy.nodes.runtime.parameters import Described
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


@given(st.integers(0, 2**32 - 1), st.integers(0, 255), st.booleans())
@settings(deadline=None)
def test_questions_and_answers_arrive_as_they_were(number: int, small: int, success: bool) -> None:
    for wanted in (Wanted(number, small), Wanted(number, small, is_overtaken=True)):
        assert unpack(pack(wanted)) == wanted
    assert unpack_order(pack_order(Answer(number, success, small))) == Answer(number, success, small)


def test_an_introduction_arrives_as_it_was() -> None:
    parameters = tuple(asdict(Described(f"x{i}", [0.5] * 14, "\U0001f980" * 100, "", 0.0)) for i in range(60))
    said = Introduction("arms", 1, ((1, "here"),), ((7, "go", 1, "here", 2, "there"),), parameters)
    packet = pack_order(said)
    assert unpack_order(packet) == said
    assert len(packet) <= MAX_INTRODUCTION


@given(st.sampled_from([b"A", b"I", b"I{", b"F", b"E", b""]), st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_an_order_or_refused(kind: bytes, data: bytes) -> None:
    with suppress(MessageError):
        assert isinstance(unpack_order(kind + data), get_args(Order))


@given(st.sampled_from([b"B", b"R", b"L", b"C", b"T", b"G", b"X", b"N", b""]), st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_word_or_refused(kind: bytes, data: bytes) -> None:
    with suppress(MessageError):
        assert isinstance(unpack(kind + data), get_args(Word))


def test_a_sign_of_life_is_nothing_else() -> None:
    with pytest.raises(MessageError):
        unpack(b"B?")
