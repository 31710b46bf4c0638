"""The viser server behind a `Guard`, on exactly the address that was asked for, and the operator's bar above it."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import logging
import secrets
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav_policy.monitor.guard import NOT_IN_A_FRAME, Answer, Guard, in_our_frame
from wav_policy.monitor.operator_bar import FRAME_PATH, OPERATOR_PATH, VIEW_PATH, OperatorBar

if TYPE_CHECKING:
    import viser


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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def start_server(address: Address, title: str, bar: OperatorBar | None = None) -> tuple[viser.ViserServer, str]:
    """The running server and the address to open, token included.

    Args:
        address: where to listen.
        title: of the page.
        bar: stands above what viser shows; None for pages that steer nothing.

    Raises:
        ServerError: the port is taken, the host is not this machine's, or it is open to others without a token.
    """
    if address.token is None and not is_loopback(address.host):
        raise ServerError(f"host {address.host} can be reached by others; a token is needed")
    try:
        guard = Guard(address.token)
    except ValueError as error:
        raise ServerError(str(error)) from None
    listener = _listen(address)
    port = listener.getsockname()[1]
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)  # no traceback for everyone who knocks
    with _served_through(guard, listener, bar) as was_used, contextlib.redirect_stdout(io.StringIO()):
        server = _make_server(title)
    if not was_used():  # never serve past the guard
        server.stop()
        raise ServerError("this version of viser serves in another way; install the version of constraints.txt")
    host = "localhost" if is_loopback(address.host) else _own_name(address.host)
    return server, f"http://{host}:{port}/" + (f"?token={address.token}" if address.token else "")


def _make_server(title: str) -> viser.ViserServer:
    import viser

    class Server(viser.ViserServer):
        """Does not open a tunnel to the internet, which any browser could otherwise ask for."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            return None

    return Server(host="127.0.0.1", port=0, label=title, verbose=False)


@contextlib.contextmanager
def _served_through(guard: Guard, listener: socket.socket, bar: OperatorBar | None) -> Iterator[Callable[[], bool]]:
    """While open, a websocket server that is started uses our socket, and asks the guard first.

    viser offers no authentication; this is the one place where all of its requests pass.
    """
    from websockets.asyncio import server as websocket_server

    used = False
    original: Any = websocket_server.serve

    def serve(handler: Any, host: str, port: int, *, process_request: Any, **options: Any) -> Any:
        nonlocal used
        used = True
        is_isolated = guard.token is None and listener.family == socket.AF_INET

        def guarded(connection: Any, request: Any) -> Any:
            path, headers = request.path.partition("?")[0], _joined(request.headers)
            answer = guard.judge(request.path, headers)
            frame: Mapping[str, str] = NOT_IN_A_FRAME
            if answer is None and bar is not None and "upgrade" not in headers:
                is_view = f"{path}/".startswith(f"{VIEW_PATH}/")
                if is_view:
                    request = replace(request, path=path.removeprefix(VIEW_PATH) or "/")
                if is_view or path == FRAME_PATH:
                    frame = in_our_frame(headers["host"])
                if (is_view or path == FRAME_PATH) and headers.get("sec-fetch-dest") == "document":
                    answer = Answer(HTTPStatus.SEE_OTHER, headers={"Location": "/"})  # nothing without the bar
                elif not is_view:
                    answer = _own_answer(bar.document(path, is_isolated))
            response = process_request(connection, request) if answer is None else _response(answer)
            if response is not None:  # a websocket gets none
                response.headers.update(frame)
            return response

        async def attended(connection: Any) -> None:
            path = connection.request.path.partition("?")[0]
            await (bar.attend if bar is not None and path == OPERATOR_PATH else handler)(connection)

        return original(attended, sock=listener, process_request=guarded, **options)

    setattr(websocket_server, "serve", serve)  # noqa: B010
    try:
        yield lambda: used
    finally:
        setattr(websocket_server, "serve", original)  # noqa: B010


def _own_answer(document: str | None) -> Answer:
    if document is None:
        return Answer(HTTPStatus.NOT_FOUND)
    return Answer(HTTPStatus.OK, document, {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})


def _joined(headers: Any) -> Mapping[str, str]:
    """Headers as a plain mapping, names in lower case; a name that comes twice is joined, and so fits nothing."""
    return {name.lower(): ", ".join(headers.get_all(name)) for name in headers}


def _response(answer: Answer) -> Any:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    body = answer.body.encode()
    headers = Headers({**answer.headers, "Content-Length": str(len(body)), "Connection": "close"})
    return Response(answer.status.value, answer.status.phrase, headers, body)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except (OSError, OverflowError) as error:
        raise ServerError(
            f"cannot listen on {address.host}:{address.port}: {error}. Choose another port: monitor_port:=N "
            "(`wav up`, `ros2 launch`), --port N (`wav demo`, `wav replay`)"
        ) from error


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
