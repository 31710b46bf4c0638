"""Servers and clients that speak the websocket protocol by hand, so that they can break it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.wav_policy.policy.remote.foreign_server import packed

BINARY, TEXT, PING = 2, 1, 9
_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
QUESTION = (
    "GET / HTTP/1.1\r\nHost: robot\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {_KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
"""What opens a connection."""


def frame(kind: int, data: bytes, *, is_last: bool = True, length: int | None = None) -> bytes:
    """As a server sends it (RFC 6455, 5.2); `length` may be a lie."""
    size = len(data) if length is None else length
    head = bytes([(0x80 if is_last else 0) | kind])
    if size < 126:
        return head + bytes([size]) + data
    return head + (b"\x7e" + struct.pack(">H", size) if size < 1 << 16 else b"\x7f" + struct.pack(">Q", size)) + data


def welcome(end: socket.socket) -> None:
    """A server's side of the handshake, and metadata."""
    request = b""
    while b"\r\n\r\n" not in request:
        if not (more := end.recv(1 << 16)):
            raise ConnectionError
        request += more
    (key,) = (line.split(b": ")[1] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    end.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + frame(BINARY, packed({}))
    )


@contextmanager
def serving(behave: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """The address of a server that does that with every connection once it is welcome, until the event is set."""
    ended = threading.Event()
    ends: list[socket.socket] = []

    def attend(end: socket.socket) -> None:
        with contextlib.suppress(OSError), end:
            welcome(end)
            behave(end, ended)

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                ends.append(listener.accept()[0])
                threads.append(threading.Thread(target=attend, args=(ends[-1],)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=listen)]
        threads[0].start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        for end in (listener, *ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10.0)
