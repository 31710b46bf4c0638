"""The adapter: python-can's commands, garbage, and a client that does not read."""

from __future__ import annotations

import os
import select
import time
import tty
from collections.abc import Iterator

import pytest

from wav_policy.sim.firmware import SlcanPort


@pytest.fixture
def port() -> Iterator[SlcanPort]:
    port = SlcanPort()
    yield port
    port.close()


@pytest.fixture
def client(port: SlcanPort) -> Iterator[int]:
    device = os.open(port.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(device)
    yield device
    os.close(device)


def ask(port: SlcanPort, client: int, text: bytes, length: int) -> bytes:
    """What the adapter answers: `length` bytes, and no more."""
    os.write(client, text)
    deadline = time.monotonic() + 2.0
    answer = b""
    while len(answer) < length and time.monotonic() < deadline:
        port.receive()
        answer += read(client)
    return answer


def read(client: int) -> bytes:
    """What has arrived; the kernel passes it on a moment after it was written."""
    ready, _, _ = select.select([client], [], [], 0.05)
    return os.read(client, 65536) if ready else b""


def test_adapter_commands(port: SlcanPort, client: int) -> None:
    assert ask(port, client, b"V\r", 6) == b"V1013\r"
    assert ask(port, client, b"N\r", 6) == b"NWAV1\r"
    assert ask(port, client, b"C\rS8\r\r", 3) == b"\r\r\r"
    assert not port.is_open
    assert ask(port, client, b"O\r", 1) == b"\r"
    assert port.is_open
    assert ask(port, client, b"?\r", 1) == b"\a"
    assert port.garbled == 1


def test_frames_in_pieces(port: SlcanPort, client: int) -> None:
    os.write(client, b"t151801016")
    assert port.receive() == []
    os.write(client, b"40000000000\rt4712")
    assert port.receive() == [(0x151, bytes.fromhex("0101640000000000"))]
    os.write(client, b"0102\r")
    assert port.receive() == [(0x471, b"\x01\x02")]


@pytest.mark.parametrize("line", [b"t1518zz", b"tXYZ1000", b"t15180102", b"t1519" + b"00" * 9, b"t", b"\xff\xfe"])
def test_garbage_is_counted_and_survived(port: SlcanPort, client: int, line: bytes) -> None:
    os.write(client, line + b"\rt1551AB\r")
    assert port.receive() == [(0x155, b"\xab")]
    assert port.garbled == 1


def test_a_line_without_end_does_not_grow(port: SlcanPort, client: int) -> None:
    for _ in range(20):
        os.write(client, b"t" * 1000)
        assert port.receive() == []
    os.write(client, b"\rt1551AB\r")
    assert port.receive() == [(0x155, b"\xab")]


def test_nothing_is_sent_while_the_channel_is_closed(port: SlcanPort, client: int) -> None:
    port.send([(0x2A5, bytes(8))])
    assert read(client) == b""


def test_a_client_that_does_not_read_finds_recent_frames_whole(port: SlcanPort, client: int) -> None:
    ask(port, client, b"O\r", 1)
    for number in range(2000):
        port.send([(0x2A5, number.to_bytes(8, "big"))])
    received = b""
    while chunk := read(client):
        received += chunk
        port.send([])
    lines = received.split(b"\r")
    assert lines.pop() == b""
    numbers = [int(line[5:], 16) for line in lines]
    assert all(len(line) == 21 for line in lines), "no frame is torn"
    assert numbers == sorted(numbers)
    assert numbers[-1] == 1999, "the newest is kept"
    assert port.dropped == 2000 - len(numbers) > 0


def test_a_new_client_does_not_read_old_frames(port: SlcanPort, client: int) -> None:
    ask(port, client, b"O\r", 1)
    port.send([(0x2A5, bytes(8))] * 10)
    select.select([client], [], [], 1.0)
    os.write(client, b"C\rO\r")
    port.receive()
    port.send([(0x2A6, bytes(8))])
    assert b"t2A5" not in read(client)
