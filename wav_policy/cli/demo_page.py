"""Where the demo's page is, and opening it."""

from __future__ import annotations

import http.client
import os
import socket
import sys
import webbrowser
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

_HOST: Final = "127.0.0.1"
_TIMEOUT: Final = 2.0
"""To see whether the page is up [s]."""


@dataclass(frozen=True)
class DemoPage:
    """The page of one demo on this host."""

    port: int

    @classmethod
    def choose(cls, wanted: int) -> DemoPage:
        """At the wanted port; at a free one, and says so, where something else is there."""
        port = _free_port(wanted)
        if wanted not in (0, port):
            print(f"wav demo: port {wanted} is in use, the page takes {port}", file=sys.stderr)
        return cls(port)

    @property
    def url(self) -> str:
        """Address to open."""
        return f"http://localhost:{self.port}/"

    def is_up(self) -> bool:
        """Whether somebody answers there."""
        connection = http.client.HTTPConnection(_HOST, self.port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/")
            connection.getresponse()
            return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def open_browser(self) -> None:
        """Open the page on a machine with a display; a browser in the terminal would hide the demo."""
        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(self.url)


def _free_port(wanted: int) -> int:
    if wanted:
        with suppress(OSError), socket.create_server((_HOST, wanted)):
            return wanted
    with socket.create_server((_HOST, 0)) as listener:
        return int(listener.getsockname()[1])
