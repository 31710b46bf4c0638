"""One websocket to a policy server: metadata when it opens, then a question and its answer, one at a time.

An answer belongs to the question before it because nothing else is under way: whatever comes late, twice or unasked
ends the connection, and the next question opens a new one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidStatus, InvalidURI
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect

from wav_policy.policy.planning_worker import PolicyError
from wav_policy.policy.remote.address import check_address
from wav_policy.policy.remote.cut_off import NotTakenError, cut_off_after, sentences
from wav_policy.policy.remote.wire import WireError, pack, unpack

TOKEN_VARIABLE: Final = "WAV_POLICY_TOKEN"
"""Environment variable with the server's API key: parameters of nodes can be read by everybody."""
MAX_ANSWER: Final = 4_000_000
"""A chunk of 1000 rows of 32 numbers is 256 kB [bytes]."""
_CLOSE_TIMEOUT: Final = 0.2  # s
_MAX_SAID: Final = 200
"""Characters of a server's own words in a message."""


class RemoteError(PolicyError):
    """A policy server that cannot be asked or does not answer as it should: one sentence with its address."""


class RemoteConnection:
    """Opens when it is asked, and again after every failure. Used by one thread at a time.

    Args:
        address: ws://HOST:PORT or wss://HOST:PORT.
        timeout: for opening, metadata included, and for an answer [s].

    Attributes:
        metadata: what the server said of itself when the connection opened last.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self.address = check_address(address)
        self.timeout = timeout
        self.metadata: Mapping[str, Any] = {}
        self._socket: ClientConnection | None = None

    def open(self, timeout: float | None = None) -> None:
        """Make sure that it is open: one that the other side has ended meanwhile is opened again.

        Args:
            timeout: in all [s]; None: that of the connection.

        Raises:
            RemoteError: nobody answers, or not as a policy server.
        """
        if self._socket is not None and self._socket.state is State.OPEN:
            return
        self.close()
        patience = _Patience(self.timeout if timeout is None else timeout)
        with self._failures_named(patience):
            token = os.environ.get(TOKEN_VARIABLE)
            self._socket = connect(
                self.address,
                additional_headers={"Authorization": f"Api-Key {token}"} if token else None,
                compression=None,
                max_size=MAX_ANSWER,
                open_timeout=patience.left,
                close_timeout=_CLOSE_TIMEOUT,
                proxy=None,
                logger=sentences(lambda text: None),  # what failed is raised
            )
            self.metadata = self._receive(self._socket, "metadata", patience)

    def ask(self, question: Mapping[str, Any], timeout: float | None = None) -> dict[str, Any]:
        """The answer to a question.

        Args:
            question: of numbers, texts, mappings and arrays.
            timeout: for the answer, opening included [s]; None: that of the connection.

        Raises:
            RemoteError: there is none in time, or none of the protocol.
        """
        request = pack(question)
        patience = _Patience(self.timeout if timeout is None else timeout)
        self.open(patience.left)
        with self._failures_named(patience):
            assert self._socket is not None
            with cut_off_after(patience.left, self._socket.socket):
                self._require_silence(self._socket)
                self._socket.send(request)
            return self._receive(self._socket, "an answer", patience)

    def close(self) -> None:
        """End the connection; what is still under way in it is never believed."""
        connection, self._socket = self._socket, None
        if connection is not None:
            with (
                contextlib.suppress(OSError, ConnectionClosed, NotTakenError),
                cut_off_after(_CLOSE_TIMEOUT, connection.socket),
            ):
                connection.close()

    def _receive(self, connection: ClientConnection, what: str, patience: _Patience) -> dict[str, Any]:
        try:
            data = connection.recv(timeout=patience.left)
        except TimeoutError:
            raise RemoteError(
                f"no {what.removeprefix('an ')} within {patience.total:g} s: is it still loading? Start it again if it "
                "hangs"
            ) from None
        if isinstance(data, str):
            raise RemoteError(f"the server reports {_last_line(data)!r}")
        try:
            return unpack(data, MAX_ANSWER)
        except WireError as error:
            raise RemoteError(f"what came as {what} is no message of openpi's protocol: {error}") from error

    def _require_silence(self, connection: ClientConnection) -> None:
        with contextlib.suppress(TimeoutError):
            connection.recv(timeout=0)
            raise RemoteError("a message came that nobody had asked for; its chunk would be of another moment")

    @contextlib.contextmanager
    def _failures_named(self, patience: _Patience) -> Iterator[None]:
        """Close the connection on any failure, and raise it as one sentence that begins with the address."""
        try:
            yield
        except BaseException as error:
            self.close()
            if sentence := _sentence(error, patience.total):
                raise RemoteError(f"{self.address}: {sentence}") from error
            raise


class _Patience:
    """How long several steps may take together.

    Attributes:
        total: [s].
    """

    def __init__(self, total: float) -> None:
        self.total = total
        self._end = time.monotonic() + total

    @property
    def left(self) -> float:
        """What is left of it [s]."""
        return max(self._end - time.monotonic(), 0.0)


def _sentence(error: BaseException, timeout: float) -> str:
    """What went wrong with a connection; empty for what is not of the connection."""
    if isinstance(error, RemoteError):
        return str(error)
    if isinstance(error, NotTakenError):
        return f"it does not take a question within {timeout:g} s: the server hangs, or the network is slow"
    if isinstance(error, ConnectionClosed):
        if error.rcvd is None and error.sent is not None and error.sent.code == CloseCode.MESSAGE_TOO_BIG:
            return f"the answer is larger than {MAX_ANSWER} bytes"
        if error.sent is not None and error.sent.code in (CloseCode.PROTOCOL_ERROR, CloseCode.INVALID_DATA):
            return f"what it sends is no websocket protocol ({_last_line(error.sent.reason)})"
        return "the server closed the connection" + (f" ({_last_line(error.rcvd.reason)})" if error.rcvd else "")
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status < 400:
            return f"what listens there is no websocket server (HTTP status {status})"
        remedy = f"; set {TOKEN_VARIABLE} to its token" if status in (401, 403) else ""
        return f"the server refuses the connection with HTTP status {status}{remedy}"
    if isinstance(error, TimeoutError):
        return f"no connection within {timeout:g} s; is the server running there?"
    if isinstance(error, InvalidHandshake | InvalidMessage | InvalidURI):
        return "what listens there is no websocket server"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there; start the policy server"
    if isinstance(error, socket.gaierror):
        return "there is no host of that name"
    if isinstance(error, OSError):
        return f"no connection ({error.strerror or type(error).__name__})"
    return ""


def _last_line(text: str) -> str:
    """Last line of a server's text (of a traceback: the error), printable and short."""
    line = ([*filter(None, map(str.strip, text.splitlines()))] or ["no reason given"])[-1]
    return "".join(c for c in line if c.isprintable())[:_MAX_SAID]
