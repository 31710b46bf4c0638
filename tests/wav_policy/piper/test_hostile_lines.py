"""Hostile slcan lines into the real reader over a pseudo-terminal: nothing ends it, nothing absurd is believed."""

from __future__ import annotations

import os
import random
import re
import select
import time
import tty
from collections.abc import Iterator

import numpy as np
import pytest

from wav_policy.piper.feedback import FeedbackReader
from wav_policy.piper.inhibits import find_inhibit
from wav_policy.piper.link import _sdk_without_bus
from wav_policy.piper.slcan_bus import BatchedSlcanBus

KNOWN = [*range(0x251, 0x257), *range(0x261, 0x267), *range(0x2A1, 0x2A9), *range(0x473, 0x4B0), *range(0x150, 0x160)]
TRUE = b"t2A58000000000000B1E0\rt2A68FFFF8AD000000000\rt2A78000027100000C350\rt2A880000753000004000\r"
"""Joint 2 at 45.536 degrees."""

LEGAL = re.compile(rb"t[0-9A-Fa-f]{3}([0-8])([0-9A-Fa-f]*)")


def line(kind: bytes, number: int, data: bytes) -> bytes:
    digits = b"%03X" % number if kind in b"tr" else b"%08X" % number
    return kind + digits + b"%d" % len(data) + data.hex().upper().encode() + b"\r"


def hostile(rng: random.Random) -> bytes:
    """One line, or what is none."""
    known, eight = rng.choice(KNOWN), rng.randbytes(8)
    good = line(b"t", known, eight)
    flipped = bytearray(good)
    flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return rng.choice(
        [
            good,
            line(b"t", known, rng.randbytes(rng.randrange(8))),
            line(b"t", rng.randrange(0x800), rng.randbytes(rng.randrange(9))),
            line(b"T", rng.randrange(1 << 29), eight),
            b"r%03X8\r" % known,
            rng.randbytes(rng.randrange(1, 40)),
            bytes(flipped),
            good[: rng.randrange(1, 20)],
            b"t2A58" + rng.choice([b"+", b"-", b"_", b" ", b"\t", b"0x", b"\xd9\xa3"]) + eight.hex().encode() + b"\r",
            b"t" + rng.choice([b" 2A", b"+A5", b"2_A", b"-A5", b"0x2"]) + b"8" + eight.hex().encode() + b"\r",
            b"t2A5" + rng.choice([b"9", b"F", b"", b"\xb2"]) + rng.randbytes(9).hex().encode() + b"\r",
            good[:-1] + b"1234\r",
            b"F" + rng.randbytes(2) + b"\r",
            b"A" * rng.choice([100, 5000]),
            b"\r\a\r\rzZ\r",
        ]
    )


@pytest.fixture
def wire() -> Iterator[tuple[BatchedSlcanBus, int]]:
    """An slcan bus and the other end of its serial line."""
    theirs, ours = os.openpty()
    tty.setraw(theirs)
    tty.setraw(ours)
    bus = BatchedSlcanBus(os.ttyname(ours), bitrate=1_000_000, sleep_after_open=0.0)
    yield bus, theirs
    bus.shutdown()
    os.close(theirs)
    os.close(ours)


def drained(descriptor: int) -> bytes:
    told = b""
    while select.select([descriptor], [], [], 0)[0]:
        told += os.read(descriptor, 65536)
    return told


def attack(wire: tuple[BatchedSlcanBus, int], num_lines: int, seed: int) -> None:
    """Hostile lines, true readings among them."""
    bus, theirs = wire
    rng = random.Random(seed)
    drained(theirs)
    reader = FeedbackReader(bus, _sdk_without_bus(f"fuzz{seed}"), "fuzz", time.monotonic, lambda: None, max_gap=0.5)
    reader.start()
    try:
        for _ in range(num_lines // 20):
            os.write(theirs, b"".join([b"\r", *(hostile(rng) for _ in range(20))])[:3500] + b"\r" + TRUE)
            time.sleep(0.0005)
            check(reader)
        wait_for_quiet(reader)
        for _ in range(4):
            os.write(theirs, b"\r" + TRUE)
            time.sleep(0.01)
        deadline = time.monotonic() + 5.0
        while reader.latest is None or abs(np.degrees(reader.latest.position[1]) - 45.536) > 1e-3:
            assert time.monotonic() < deadline, "good readings are not believed again"
            os.write(theirs, b"\r" + TRUE)
            time.sleep(0.01)
        assert reader.lost is None
        assert drained(theirs) == b"", "reading writes nothing"
        assert reader.undecodable > 0
        assert len(reader.replies) <= 0x40 * 256, "bounded"
    finally:
        reader.stop()


def wait_for_quiet(reader: FeedbackReader) -> None:
    received = -1
    while received != reader.received:
        received = reader.received
        time.sleep(0.1)


def check(reader: FeedbackReader) -> None:
    assert reader.lost is None, reader.lost
    latest = reader.latest
    if latest is not None:
        assert np.isfinite(latest.position).all()
        assert np.abs(latest.position[:6]).max() < 7.0
        assert np.abs(latest.velocity[:6]).max() < 200.0
    codes = reader.codes
    inhibit = find_inhibit("x", codes, reader.leader_frames)
    if codes.motors:
        assert inhibit is not None, "nothing hostile looks like an arm that may be commanded"


def test_hostile_lines(wire: tuple[BatchedSlcanBus, int]) -> None:
    attack(wire, 4_000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_thousand_hostile_lines(wire: tuple[BatchedSlcanBus, int], seed: int) -> None:
    attack(wire, 25_000, seed)


@pytest.mark.parametrize(
    "odd",
    [
        *(b"t+A58", b"t 2A8", b"t2_A8", b"t-A58", b"t0x28", b"t2A5\xb28", b"t2A59", b"t2A5F", b"T2A58", b"t2a58 "),
        *(b"t2A58 00", b"t2A580x", b"t2A58\t", b"t2A580_"),
    ],
)
def test_only_hexadecimal_digits_are_numbers(odd: bytes) -> None:
    """Python's int and bytes.fromhex take signs, blanks, underscores, 0x and foreign digits."""
    bus = object.__new__(BatchedSlcanBus)
    bus.garbled, bus.flags = 0, None
    for length in range(20):
        assert bus._frame(odd + b"0" * length) is None
    assert bus.garbled == 20
    assert bus._frame(b"F 8") is None
    assert bus._frame(b"F+8") is None
    assert bus.flags is None


def test_whatever_is_taken_for_a_frame_is_one() -> None:
    rng = random.Random(5)
    bus = object.__new__(BatchedSlcanBus)
    bus.garbled, bus.flags = 0, None
    num_taken = 0
    for text in (part for _ in range(20_000) for part in hostile(rng).split(b"\r")):
        frame = bus._frame(text)
        if frame is None:
            continue
        num_taken += 1
        legal = LEGAL.fullmatch(text)
        assert legal is not None
        assert len(frame[1]) == int(legal[1])
        assert legal[2][: 2 * len(frame[1])].lower() == frame[1].hex().encode()
    assert num_taken > 100
