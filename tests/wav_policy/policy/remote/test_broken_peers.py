"""Peers that do not read, break the protocol, or connect without end: cut off, named, and nothing of them is left."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server

from tests.wav_policy.policy.remote.foreign_server import ForeignServer, packed, running
from tests.wav_policy.policy.remote.raw_peer import BINARY, PING, QUESTION, TEXT, frame, serving
from tests.wav_policy.policy.remote.test_remote_policy import MAPPING, STATE, still
from tests.wav_policy.policy.remote.test_server import Recorded, question
from wav_models.types import Observation
from wav_policy.policy.remote.connection import RemoteError
from wav_policy.policy.remote.remote_policy import RemotePolicy
from wav_policy.policy.remote.server import _MAX_OPENING, MAX_CLIENTS, PolicyServer

Behaviour = Callable[[socket.socket, threading.Event], None]

LARGE = replace(MAPPING, image_size=(480, 640), memory_offsets=(-3, -2, -1, 0), timeout=0.5)
"""Questions of 11 MB: more than the kernel takes for a server that does not read."""
PATIENCE = 20.0


def observation() -> Observation:
    return Observation(np.zeros((3, 4, 480, 640, 3), np.uint8), STATE, "fold the towel", time.time())


@contextmanager
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + PATIENCE
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < end, left
        time.sleep(0.01)


def in_time(action: Callable[[], object]) -> object:
    """What it returns, or raises; a failure where it takes for ever."""
    found: list[object] = []

    def act() -> None:
        try:
            found.append(action())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert found, "it hangs"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def deaf(end: socket.socket, ended: threading.Event) -> None:
    ended.wait(PATIENCE)


def pinging(end: socket.socket, ended: threading.Event) -> None:
    """Without reading what it is answered."""
    while True:
        end.sendall(frame(PING, b"p" * 125) * 100)


def saying(data: bytes, end: socket.socket, ended: threading.Event) -> None:
    """Once a question is under way."""
    end.recv(1)
    end.sendall(data)
    while end.recv(1 << 20):
        pass


SERVERS: dict[str, tuple[Behaviour, str]] = {
    "deaf": (deaf, "does not take a question within 0.5 s: the server hangs, or the network is slow"),
    "pings": (pinging, "does not take a question|no answer within|no metadata within"),
    "no such frame": (partial(saying, frame(7, b"")), r"no websocket protocol \(invalid opcode\)"),
    "no text": (partial(saying, frame(TEXT, b"\xff\xfe")), r"no websocket protocol \(invalid start byte"),
    "gigantic": (partial(saying, frame(BINARY, b"x", length=1 << 40)), "larger than 4000000 bytes"),
    "nested": (partial(saying, frame(BINARY, b"\x91" * 100_000)), "not msgpack: StackError"),
    "half": (partial(saying, frame(BINARY, b"\x80", is_last=False)), "no answer within 0.5 s"),
}


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_breaks_the_protocol_is_named_and_leaves_no_thread(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    behave, message = SERVERS[name]
    with no_thread_is_left(), serving(behave) as address:
        policy = RemotePolicy(address, LARGE)
        for _ in range(2):
            with pytest.raises(RemoteError, match=message):
                in_time(lambda: policy.plan(observation()))
        in_time(policy.close)
    assert not caplog.records, "of the library: they would be tracebacks"


def test_a_server_that_ends_every_connection_is_asked_in_another_one_at_once() -> None:
    server = ForeignServer(still)

    def answer_once(connection: object) -> None:
        server.questions.append({})
        connection.recv()  # type: ignore[attr-defined]
        connection.send(packed(still({"state": STATE})))  # type: ignore[attr-defined]

    server.behave = answer_once
    with running(server), closing(RemotePolicy(server.address, MAPPING)) as policy:
        for _ in range(3):
            policy.plan(Observation(np.zeros((3, 1, 16, 16, 3), np.uint8), STATE, "fold the towel", time.time()))
            assert policy._connection._socket is not None
            policy._connection._socket.recv_events_thread.join(PATIENCE)
    assert len(server.questions) == 3


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def server(said: list[str]) -> Iterator[PolicyServer]:
    with no_thread_is_left(), closing(PolicyServer(Recorded(), "127.0.0.1", 0, None, said.append)) as made:
        yield made


def is_served(server: PolicyServer) -> bool:
    with connect(f"ws://127.0.0.1:{server.port}", proxy=None) as client:
        client.recv(timeout=PATIENCE)
        client.send(packed(question()))
        return isinstance(client.recv(timeout=PATIENCE), bytes)


NONSENSE = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    "half a request": QUESTION[:30],
    "POST": QUESTION.replace(b"GET", b"POST"),
    "an ordinary request": b"GET / HTTP/1.1\r\nHost: robot\r\n\r\n",
    "endless line": b"GET /" + b"a" * 100_000,
    "endless headers": QUESTION[:-2] + b"A: b\r\n" * 1000,
    "unmasked": QUESTION + frame(BINARY, b"abc"),
    "noise afterwards": QUESTION + bytes(range(256)),
    "not latin": QUESTION[:-2] + b"Authorization: \xff\xfe\r\n\r\n",
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("resets", [False, True])
def test_what_is_no_client_costs_a_sentence_at_most(
    server: PolicyServer, said: list[str], name: str, resets: bool, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", server.port)) as end:
            end.sendall(NONSENSE[name])
            if resets:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert is_served(server)
    assert not caplog.records, "of the library: they would be tracebacks"
    assert all("\n" not in text and len(text) < 300 for text in said)


def test_connections_that_never_ask_keep_nobody_out_and_are_not_kept(server: PolicyServer) -> None:
    ends = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3 * _MAX_OPENING)]
    for end in ends:
        end.sendall(b"GET / HTTP/1.1\r\n")
    assert is_served(server)
    assert len(server._opening) <= _MAX_OPENING
    server.close()
    for end in ends:
        end.close()


def read_all(client: ClientConnection) -> None:
    while True:
        client.recv(timeout=PATIENCE)


IDLE = {"silent": b"", "half a question": b"\x82\xfe\xff\xff\0\0\0\0x", "half a message": b"\x02\x81\0\0\0\0x"}


@pytest.mark.parametrize("name", [*IDLE, "nonsense"])
def test_who_asks_for_nothing_makes_way(
    server: PolicyServer, said: list[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever else it sends. A client that waits for its plan does not."""
    address = f"ws://127.0.0.1:{server.port}"
    with ExitStack() as stack:
        clients = []
        for _ in range(MAX_CLIENTS):  # one after another: the server forgets the oldest first
            clients.append(stack.enter_context(connect(address, proxy=None, close_timeout=0.5)))
            clients[-1].recv(timeout=PATIENCE)
        with pytest.raises(ConnectionClosed, match="4 clients are served already; end one of them"):
            is_served(server)
        waiting, *idle = clients
        stack.enter_context(server._planning)
        waiting.send(packed(question()))
        monkeypatch.setattr("wav_policy.policy.remote.server._FORGOTTEN", 0.5)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            for client in idle if name == "nonsense" else ():
                client.send(b"x")
            time.sleep(0.1)
        for client in idle if name in IDLE else ():
            client.socket.sendall(IDLE[name])
        with connect(address, proxy=None) as new:
            new.recv(timeout=PATIENCE)
        for client in idle[1:]:
            assert client.state is State.OPEN
        with pytest.raises(ConnectionClosed, match="nothing to plan came for 0.5 s, and another client"):
            read_all(idle[0])
    assert sum("made way for" in text for text in said) == 1


def test_a_server_that_ran_out_of_file_descriptors_listens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's loop ends when a connection cannot be taken."""
    listen, ends = Server.serve_forever, [1]
    monkeypatch.setattr(Server, "serve_forever", lambda self: None if ends and ends.pop() else listen(self))
    with closing(PolicyServer(Recorded(), "127.0.0.1", 0, None)) as server:
        assert is_served(server)
    assert not ends


@contextmanager
def a_client_that_does_not_read(server: PolicyServer) -> Iterator[socket.socket]:
    server._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with socket.socket() as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        end.connect(("127.0.0.1", server.port))
        end.sendall(QUESTION)
        yield end


def ask_on(end: socket.socket) -> None:
    while True:  # one letter, masked: answered in words
        end.sendall(b"\x82\x81\0\0\0\0x" * 1000)


def test_a_client_that_does_not_read_is_cut_off_and_keeps_the_server_from_nothing(
    server: PolicyServer, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wav_policy.policy.remote.server._DEAF_TIME", 0.3)
    with a_client_that_does_not_read(server) as end:
        end.settimeout(PATIENCE)
        with pytest.raises(ConnectionError):
            in_time(lambda: ask_on(end))
    assert is_served(server)
    assert any("was cut off: its answer was not taken within 0.3 s" in text for text in said)


def test_closing_waits_for_no_client(said: list[str]) -> None:
    with no_thread_is_left():
        server = PolicyServer(Recorded(), "127.0.0.1", 0, None, said.append)
        with a_client_that_does_not_read(server) as end:
            end.settimeout(1.0)
            with pytest.raises(TimeoutError):
                ask_on(end)
            in_time(server.close)
