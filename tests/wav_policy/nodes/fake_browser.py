"""A browser's websocket without the browser: what the monitor's server takes for one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import viser
import zstandard
from websockets.sync.client import ClientConnection, connect


class Browser:
    """A browser's side of the websocket, as far as the server can tell."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []
        camera = {"wxyz": (1, 0, 0, 0), "position": (0, 0, 1), "fov": 1.0, "near": 0.1, "far": 10.0}
        size = {"image_height": 480, "image_width": 640, "look_at": (0, 0, 0), "up_direction": (0, 0, 1)}
        socket.send(msgspec.msgpack.encode({"type": "ViewerCameraMessage", **camera, **size}))

    def read(self, seconds: float) -> None:
        """Take in what comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                data = self._socket.recv(timeout=left)
            except TimeoutError:
                return
            length = int.from_bytes(data[8:16], "little")
            inner = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(data[16 : 16 + length]))
            self.messages += inner["messages"]

    def has(self, text: str) -> bool:
        """Whether a text has come."""
        self.read(0.2)
        return any(text in repr(message) for message in self.messages)

    @property
    def num_pictures(self) -> int:
        return sum("_data" in repr(message) for message in self.messages)


@contextmanager
def browser(url: str) -> Iterator[Browser]:
    """A browser at the page of this address."""
    subprotocols: Any = [f"viser-v{viser.__version__}"]
    with connect(url.replace("http", "ws"), subprotocols=subprotocols, max_size=None) as socket:
        yield Browser(socket)
