"""A policy server of somebody else, as openpi's documentation has the protocol; says whatever a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve


def packed(value: Any) -> bytes:
    """msgpack with arrays, written from the protocol's description."""

    def array(item: Any) -> Any:
        assert isinstance(item, np.ndarray)
        return {b"__ndarray__": True, b"data": item.tobytes(), b"dtype": item.dtype.str, b"shape": item.shape}

    return bytes(msgpack.packb(value, default=array))


def unpacked(data: bytes) -> Any:
    def array(item: dict[Any, Any]) -> Any:
        if b"__ndarray__" not in item:
            return item
        return np.frombuffer(item[b"data"], item[b"dtype"]).reshape(item[b"shape"])

    return msgpack.unpackb(data, object_hook=array)


class ForeignServer:
    """Attributes:
    behave: called with every connection once the metadata have been sent; its end closes the connection.
    questions: all observations that came.
    """

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self.answer = answer
        self.metadata: Any = {}
        self.questions: list[dict[str, Any]] = []
        self.behave: Callable[[ServerConnection], None] = self.answer_all
        self.address = ""
        self.headers: list[Any] = []
        self.connections: list[ServerConnection] = []
        self.ended = threading.Event()

    def answer_all(self, connection: ServerConnection) -> None:
        while True:
            self.questions.append(unpacked(connection.recv()))
            connection.send(packed(self.answer(self.questions[-1])))

    def attend(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        self.headers.append(connection.request.headers)
        try:
            connection.send(self.metadata if isinstance(self.metadata, bytes) else packed(self.metadata))
            self.behave(connection)
        except ConnectionClosed:
            pass


@contextmanager
def running(server: ForeignServer, port: int = 0) -> Iterator[ForeignServer]:
    """The server on a port of this machine, until the context ends."""
    with serve(server.attend, "127.0.0.1", port, compression=None, max_size=None) as listener:
        server.address = f"ws://127.0.0.1:{listener.socket.getsockname()[1]}"
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            for connection in server.connections:
                connection.close()
            listener.shutdown()
            thread.join()
