"""What the two kinds of bus make of bytes: real sockets and terminals, no CAN hardware."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import Any

import can
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wav_policy.piper.diagnosis import explain_silence
from wav_policy.piper.errors import BusOffError, WrongBitrateError
from wav_policy.piper.frames import Frame
from wav_policy.piper.slcan_bus import BatchedSlcanBus
from wav_policy.piper.socketcan_bus import BatchedSocketcanBus, interface_condition, require_bitrate

RECORD = struct.Struct("=IB3x8s")


@pytest.fixture
def ends() -> Iterator[tuple[Any, socket.socket]]:
    """A bus whose socket is one end of a pair, as the kernel keeps the boundaries of CAN frames."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    bus = object.__new__(BatchedSocketcanBus)
    bus.garbled, bus._errors, bus.socket, bus.channel = 0, 0, ours, "can_wav_test"
    bus.local_setpoints = 0
    bus._is_shutdown = True
    yield bus, theirs
    ours.close()
    theirs.close()


def test_socketcan_frames_in_one_batch(ends: tuple[Any, socket.socket]) -> None:
    bus, kernel = ends
    kernel.send(RECORD.pack(0x2A5, 8, b"12345678"))
    kernel.send(RECORD.pack(0x2A6, 2, b"ab"))
    kernel.send(RECORD.pack(0x8000_02A7, 8, b"extended"))
    assert bus.receive(0.1) == [(0x2A5, b"12345678"), (0x2A6, b"ab")]
    assert bus.garbled == 1
    assert bus.receive(0.0) == []
    bus.transmit([(0x155, bytes(range(8)))])
    assert kernel.recv(64) == RECORD.pack(0x155, 8, bytes(range(8)))


def test_socketcan_error_frames_tell_bus_off(ends: tuple[Any, socket.socket]) -> None:
    bus, kernel = ends
    kernel.send(RECORD.pack(0x2000_0000 | 0x004, 8, bytes(8)))
    kernel.send(RECORD.pack(0x2000_0000 | 0x040, 8, bytes(8)))
    assert bus.receive(0.1) == []
    condition = bus.condition()
    assert condition.is_bus_off
    assert condition.words == "error frames: controller problem, bus-off"
    kernel.send(RECORD.pack(0x2000_0000 | 0x100, 8, bytes(8)))  # restarted
    bus.receive(0.1)
    assert not bus.condition().is_bus_off


def test_a_socket_whose_interface_went_down_is_an_error(ends: tuple[Any, socket.socket]) -> None:
    bus, kernel = ends
    kernel.close()
    with pytest.raises(OSError, match="vanished"):
        bus.receive(0.1)


class _Quiet:
    lost, offset_frames, leader_frames, undecodable_since_reading, seen, missing = (
        None,
        0,
        0,
        0,
        frozenset(),
        ["joints"],
    )


@pytest.mark.parametrize(
    ("state", "worked", "error"),
    [("BUS-OFF", True, BusOffError), ("BUS-OFF", False, BusOffError), ("ERROR-PASSIVE", False, WrongBitrateError)],
)
def test_the_state_that_ip_reports(state: str, worked: bool, error: type[Exception]) -> None:
    """As `ip -details -json link show can0` writes it."""
    details = {"linkinfo": {"info_kind": "can", "info_data": {"state": state, "bittiming": {"bitrate": 1000000}}}}
    found = explain_silence("left arm", _Quiet(), interface_condition(details), worked)  # type: ignore[arg-type]
    assert type(found) is error
    assert state in str(found)


def test_another_bitrate_is_refused_with_the_command() -> None:
    details = {"linkinfo": {"info_data": {"state": "ERROR-ACTIVE", "bittiming": {"bitrate": 500000}}}}
    with pytest.raises(WrongBitrateError, match=r"500000 bit/s, the arm at 1000000.*ip link set can0 up type can"):
        require_bitrate("can0", interface_condition(details))
    require_bitrate("can0", interface_condition({}))


@pytest.fixture
def terminal() -> Iterator[tuple[BatchedSlcanBus, int]]:
    """An slcan bus and the other end of its serial line."""
    theirs, ours = os.openpty()
    bus = BatchedSlcanBus(os.ttyname(ours), sleep_after_open=0.0)
    yield bus, theirs
    bus.shutdown()
    os.close(theirs)
    os.close(ours)


def fill(bus: BatchedSlcanBus) -> None:
    """Send until the adapter, which reads nothing, takes no more."""
    frames = [(0x155, bytes(8))] * 10_000
    with pytest.raises(can.CanOperationError, match="takes no more"):
        bus.transmit(frames)


def test_an_adapter_that_stalls_delays_nothing(terminal: tuple[BatchedSlcanBus, int]) -> None:
    bus, _ = terminal
    fill(bus)
    began = time.monotonic()
    for _ in range(20):  # the kernel may find room for a line or two
        with suppress(can.CanOperationError):
            bus.send(can.Message(arbitration_id=0x471, data=bytes(8), is_extended_id=False))  # as piper_sdk does
    bus.shutdown()
    assert time.monotonic() - began < 0.2


def test_a_line_cut_short_does_not_swallow_the_next_one(terminal: tuple[BatchedSlcanBus, int]) -> None:
    bus, theirs = terminal
    fill(bus)
    os.set_blocking(theirs, False)
    taken = b""
    deadline = time.monotonic() + 2.0
    while not taken.endswith(b"\rt15080100000000000000\r") and time.monotonic() < deadline:
        with suppress(BlockingIOError):
            taken += os.read(theirs, 65536)
        if time.monotonic() > deadline - 1.9 and b"t150" not in taken:
            with suppress(can.CanOperationError):
                bus.transmit([(0x150, b"\1" + bytes(7))])
    lines = taken.split(b"\r")
    assert b"t15080100000000000000" in lines
    assert any(line.startswith(b"t155") and len(line) < 21 for line in lines), "one was cut"


FRAMES = st.tuples(
    st.integers(0, 0x7FF), st.binary(max_size=8), st.sampled_from([b"", b"0F3A"]), st.sampled_from([b"", b"\a", b"z\r"])
)


@given(st.lists(FRAMES), st.lists(st.integers(1, 40), min_size=1))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_frames_are_read_whatever_pieces_their_lines_come_in(
    terminal: tuple[BatchedSlcanBus, int], frames: list[tuple[int, bytes, bytes, bytes]], sizes: list[int]
) -> None:
    """Adapters end a line with a time stamp where they were left with these on, and answer commands with a bell."""
    bus, device = terminal
    lines = b"".join(b"%st%03X%d%s%s\r" % (bell, n, len(x), x.hex().encode(), stamp) for n, x, stamp, bell in frames)
    read: list[Frame] = []
    for size in cycle(sizes):
        if not lines:
            break
        os.write(device, lines[:size])
        lines = lines[size:]
        read += bus.receive(0.1)
    deadline = time.monotonic() + 5.0
    while len(read) < len(frames) and time.monotonic() < deadline:
        read += bus.receive(0.1)
    assert read == [(number, content) for number, content, _, _ in frames]
    assert bus.garbled == 0


def test_a_line_without_end_takes_no_memory(terminal: tuple[BatchedSlcanBus, int]) -> None:
    bus, device = terminal
    for _ in range(100):
        os.write(device, b"A" * 1000)
        assert bus.receive(0.1) == []
    assert len(bus._buffer) < 1000
    os.write(device, b"\rt2A1201FF\r")
    read: list[Frame] = []
    deadline = time.monotonic() + 5.0
    while not read and time.monotonic() < deadline:
        read = bus.receive(0.1)
    assert read == [(0x2A1, b"\x01\xff")]
    assert bus.garbled == 1


def test_what_the_adapter_says_of_the_bus(terminal: tuple[BatchedSlcanBus, int]) -> None:
    bus, device = terminal
    assert not bus.condition().has_errors, "it has not told"
    told = {b"F00": "no error reported", b"F24": "the adapter reports error warning, error passive"}
    for flags, words in told.items():
        bus.ask_condition()
        os.write(device, flags + b"\r")
        deadline = time.monotonic() + 5.0
        while bus.flags is None and time.monotonic() < deadline:
            bus.receive(0.1)
        condition = bus.condition()
        assert (condition.has_errors, condition.words) == (flags != b"F00", words)


@pytest.mark.parametrize("is_there", [True, False])
def test_an_empty_read_is_the_end_of_an_adapter_that_is_gone_only(
    monkeypatch: pytest.MonkeyPatch, is_there: bool
) -> None:
    theirs, ours = os.openpty()
    bus = BatchedSlcanBus(os.ttyname(ours), sleep_after_open=0.0)
    if not is_there:
        os.close(theirs)
    monkeypatch.setattr(os, "read", lambda *_: b"")
    if is_there:
        assert bus._read_available() == b""
        os.close(theirs)
    else:
        with pytest.raises(can.CanOperationError, match="the adapter was unplugged"):
            bus._read_available()
    bus.shutdown()
    os.close(ours)
