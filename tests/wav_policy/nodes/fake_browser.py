"""A browser's websocket without the browser: what the monitor's page sends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from websockets.sync.client import ClientConnection, connect


class Browser:
    """What has come so far, merged as a browser does it.

    Attributes:
        contents: newest of everything by key.
        pictures: JPEGs by key; empty where there is none any more.
        num_pictures: that have come.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.contents: dict[str, Any] = {}
        self.pictures: dict[str, bytes] = {}
        self.num_pictures = 0

    def read(self, seconds: float) -> None:
        """Take in what comes."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                data = self._socket.recv(timeout=left)
            except TimeoutError:
                return
            assert isinstance(data, bytes)
            start = 4 + int.from_bytes(data[:4], "little")
            header = json.loads(data[4:start])
            self.contents |= header["contents"]
            for key, size in header["pictures"].items():
                self.pictures[key] = data[start : start + size]
                start += size
                self.num_pictures += 1
            assert start == len(data)

    def shows(self, text: str) -> bool:
        """Whether the newest contents have it in them."""
        self.read(0.2)
        return text in json.dumps(self.contents)

    def has_picture(self, key: str) -> bool:
        """Whether there is one now."""
        self.read(0.2)
        return self.pictures.get(key, b"").startswith(b"\xff\xd8\xff")


@contextmanager
def browser(url: str) -> Iterator[Browser]:
    """A browser at the page of this address."""
    with connect(url.replace("http", "ws") + "stream", max_size=None) as socket:
        yield Browser(socket)
