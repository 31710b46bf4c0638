"""Serves the page and the operator's bar above it, behind a `Guard`, on exactly the address that was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import logging
import secrets
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from websockets.asyncio import server as websocket_server
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from wav_policy.monitor.documents import VIEW_PATH, bar_document, view_document
from wav_policy.monitor.guard import NOT_IN_A_FRAME, Guard, PageReply, in_our_frame
from wav_policy.monitor.operator_bar import OPERATOR_PATH, OperatorBar
from wav_policy.monitor.page import STREAM_PATH, MonitorPage

_CLOSING_TIME: Final = 1.0
"""That a browser which is disconnected has to take note of it [s]."""


class ServerError(RuntimeError):
    """The page cannot be served; the message says why and what to do."""


@dataclass(frozen=True)
class Address:
    """Where the page is served.

    Attributes:
        host, port: listening address; port 0 takes a free one.
        token: what browsers must know; None on the loopback address only.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None

    @classmethod
    def choose(cls, host: str, port: int, token_file: Path | None = None) -> Address:
        """With a token where others could reach it: that of the file, else a new one.

        Raises:
            ServerError: the file cannot be read, others may read it, or its token is too short.
        """
        if token_file is not None:
            return cls(host, port, _read_token(token_file))
        return cls(host, port, None if is_loopback(host) else secrets.token_urlsafe(24))

    def require_free(self) -> Address:
        """Itself, if one can listen there now; before anything is loaded.

        Raises:
            ServerError: the port is taken, or the host is not this machine's.
        """
        _listen(self).close()
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class PageServer:
    """Serves the page from a thread of its own.

    Args:
        address: where to listen.
        page: what is shown.
        bar: stands above it; None for pages that steer nothing.

    Raises:
        ServerError: the port is taken, the host is not this machine's, or it is open to others without a token.
    """

    def __init__(self, address: Address, page: MonitorPage, bar: OperatorBar | None = None) -> None:
        if address.token is None and not is_loopback(address.host):
            raise ServerError(f"host {address.host} can be reached by others; a token is needed")
        try:
            self._guard = Guard(address.token)
        except ValueError as error:
            raise ServerError(str(error)) from None
        self._has_bar = bar is not None
        self._sockets = {STREAM_PATH: page.attend} | ({OPERATOR_PATH: bar.attend} if bar is not None else {})
        listener = _listen(address)
        self.port: int = listener.getsockname()[1]
        self._is_isolated = address.token is None and listener.family == socket.AF_INET
        host = "localhost" if is_loopback(address.host) else _own_name(address.host)
        self.url = f"http://{host}:{self.port}/" + (f"?token={address.token}" if address.token else "")
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(listener),), daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Disconnect all browsers and end the thread."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        logger = logging.getLogger("wav_policy.monitor.server")
        logger.setLevel(logging.CRITICAL)  # no traceback for everyone who knocks
        async with websocket_server.serve(
            self._attend,
            sock=listener,
            process_request=self._answer,
            compression=None,
            close_timeout=_CLOSING_TIME,
            logger=logger,
        ):
            await self._end.wait()

    async def _attend(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        with contextlib.suppress(ConnectionClosed):
            await self._sockets[_path(connection.request)](connection)

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """What a request gets; None where it becomes a websocket."""
        headers, path = _joined(request.headers), _path(request)
        answer = self._guard.judge(request.path, headers)
        is_view = self._has_bar and path == VIEW_PATH
        if answer is None:
            if "upgrade" in headers and path in self._sockets:
                return None
            alone = is_view and headers.get("sec-fetch-dest") == "document"
            if alone:
                answer = PageReply(HTTPStatus.SEE_OTHER, headers={"Location": "/"})  # nothing without the bar
            else:
                answer = _own_answer(self._document(path))
        return _response(answer, in_our_frame(headers["host"]) if is_view and "host" in headers else NOT_IN_A_FRAME)

    def _document(self, path: str) -> str | None:
        if path == "/":
            return bar_document(self._is_isolated) if self._has_bar else view_document()
        return view_document() if path == VIEW_PATH and self._has_bar else None


def _path(request: Request) -> str:
    return request.path.partition("?")[0]


def _own_answer(document: str | None) -> PageReply:
    if document is None:
        return PageReply(HTTPStatus.NOT_FOUND)
    return PageReply(HTTPStatus.OK, document, {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})


def _joined(headers: Any) -> Mapping[str, str]:
    """Headers as a plain mapping, names in lower case; a name that comes twice is joined, and so fits nothing."""
    return {name.lower(): ", ".join(headers.get_all(name)) for name in headers}


def _response(answer: PageReply, frame: Mapping[str, str]) -> Response:
    """With the headers that say who may show it in a frame."""
    body = answer.body.encode()
    headers = Headers({**answer.headers, **frame, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(answer.status.value, answer.status.phrase, headers, body)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except (OSError, OverflowError) as error:
        if isinstance(error, OverflowError) or error.errno in (errno.EADDRINUSE, errno.EACCES):
            remedy = (
                "Choose another port: monitor_port:=N (`wav up`, `ros2 launch`), --port N (`wav replay`, `wav serve`)"
            )
        else:
            remedy = "Name an address of this computer: monitor_host:=ADDRESS, --host ADDRESS"
        raise ServerError(f"cannot listen on {address.host}:{address.port}: {error}. {remedy}") from error


def _own_name(host: str) -> str:
    """What others call the listening address."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _read_token(file: Path) -> str:
    try:
        mode = file.stat().st_mode
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ServerError(f"token file {file}: {error.strerror}") from error
    if mode & 0o077:
        raise ServerError(f"token file {file} can be read by others; chmod 600 {file}")
    return token
