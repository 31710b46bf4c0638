"""Serves a policy to clients of openpi's protocol: metadata first, then a chunk for every observation.

Only the program that serves decides what it listens on; without a token that is this machine alone. Web pages get
nothing: browsers say where a page is from, and policy clients do not.
"""

from __future__ import annotations

import hmac
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, Final

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.sync.server import ServerConnection, serve

from wav_models.alignment import memory_times, newest_at
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray, Observation, Plan
from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.planning_effort import EffortStatistics
from wav_policy.policy.planning_worker import Policy
from wav_policy.policy.remote.cut_off import NotTakenError, cut_off_after, sentences
from wav_policy.policy.remote.mapping import MappingError, RemoteMapping
from wav_policy.policy.remote.remote_policy import POSITIONS, STAMP, WAV_METADATA, WEIGHT
from wav_policy.policy.remote.wire import WireError, pack, unpack
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM

MAX_QUESTION: Final = 64_000_000
"""Three views of four frames of 1080p are 75 MB; nobody needs that [bytes]."""
MAX_CLIENTS: Final = 4
_MAX_OPENING: Final = 32
"""Connections that have not asked for anything yet."""
_DEAF_TIME: Final = 5.0
"""A client that does not take its answer for so long is cut off [s]."""
_END_TIME: Final = 1.0  # s
_PAUSE: Final = 0.2  # s
_FORGOTTEN: Final = 10.0
"""A client that was given no chunk for so long begins anew, for the pictures before are no memory of now, and makes way
for another one where all places are taken [s]."""


def own_mapping(config: ModelConfig) -> RemoteMapping:
    """How a WAV checkpoint is asked: its own views, size and rates, names as in openpi's examples."""
    horizon = config.horizon
    return RemoteMapping(
        images={view: ("images", view) for view in VIEWS},
        image_size=config.latent.image_size,
        image_fit="stretch",
        memory_offsets=tuple(horizon.memory_offsets),
        step_hz=horizon.step_hz,
        action_horizon=horizon.action_horizon,
        num_execute_steps=horizon.num_execute_steps,
    )


class PolicyServer:
    """Listens from construction to `close`; plans one question at a time.

    Args:
        policy: plans.
        host, port: to listen on; port 0 takes a free one.
        token: what clients must send as API key; None: none, for the loopback address only.
        report: called with a sentence when a client comes, goes, or sends what does not fit, and when plans begin or
            cease to be made without planning.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(
        self, policy: Policy, host: str, port: int, token: str | None, report: Callable[[str], None] = lambda text: None
    ) -> None:
        self._policy = policy
        self._mapping = own_mapping(policy.config)
        self._token, self._report = token, report
        self._metadata = pack({"name": policy.config.name, WAV_METADATA: asdict(self._mapping)})
        self._planning = threading.Lock()
        self._effort = EffortStatistics(policy.planner)
        self._last_client: _Client | None = None
        self._clients: set[_Client] = set()
        self._opening: dict[socket.socket, None] = {}
        self._clients_lock = threading.Lock()
        self._is_closing = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = serve(
            self._attend,
            sock=socket.create_server((host, port), family=family),
            process_request=self._judge,
            compression=None,
            max_size=MAX_QUESTION,
            close_timeout=_END_TIME,
            logger=sentences(report),
        )
        self._open, self._server.handler = self._server.handler, self._admit
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, name="policy server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more, and end all connections."""
        self._is_closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._clients_lock:
            clients, opening = tuple(self._clients), tuple(self._opening)
        for end in opening:
            _shut(end)
        for client in clients:
            client.end(1001, "the server ends")
        with self._planning:  # no process ends well in the middle of a plan
            pass

    def _listen(self) -> None:
        """Until `close`. The library ends it when a connection cannot be taken, for want of file descriptors."""
        while not self._is_closing.is_set():
            with suppress(OSError):
                self._server.serve_forever()
            self._is_closing.wait(_PAUSE)

    def _admit(self, end: socket.socket, address: Any) -> None:
        """Open a connection. Of those that do not get on with it the oldest is cut off, so that others get in."""
        with self._clients_lock:
            self._opening[end] = None
            if len(self._opening) > _MAX_OPENING:
                oldest = next(iter(self._opening))
                del self._opening[oldest]
                _shut(oldest)
        try:
            self._open(end, address)
        finally:
            with self._clients_lock:
                self._opening.pop(end, None)

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """The refusal of a request; None where the client may come in."""
        if request.headers.get_all("Origin"):
            return connection.respond(HTTPStatus.FORBIDDEN, "Web pages may not use this policy.\n")
        given = " ".join(request.headers.get_all("Authorization")).encode()
        if self._token is not None and not hmac.compare_digest(given, f"Api-Key {self._token}".encode()):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "An API key is needed; the server prints it.\n")
        return connection.respond(HTTPStatus.OK, "OK\n") if request.path == "/healthz" else None

    def _attend(self, connection: ServerConnection) -> None:
        try:
            name = "{}:{}".format(*connection.remote_address[:2])
        except OSError:  # it has left already
            return
        client = _Client(name, connection, self._mapping)
        with self._clients_lock:
            self._opening.pop(connection.socket, None)
            idle = self._longest_idle() if len(self._clients) >= MAX_CLIENTS else None
            if idle is not None:
                self._clients.remove(idle)
            if is_admitted := len(self._clients) < MAX_CLIENTS:
                self._clients.add(client)
        if not is_admitted:
            client.end(1013, f"{MAX_CLIENTS} clients are served already; end one of them")
            return
        try:
            if idle is not None:
                idle.end(1013, f"nothing to plan came for {_FORGOTTEN:g} s, and another client wanted the place")
                self._report(f"{idle.name} made way for {name}: nothing to plan came from it for {_FORGOTTEN:g} s")
            self._report(f"{name} connected")
            self._tell(connection, self._metadata)
            while True:
                self._tell(connection, self._answer(client, connection.recv()))
        except ConnectionClosed:
            self._report(f"{name} left")
        except NotTakenError as error:
            self._report(f"{name} was cut off: its answer was {error}")
        finally:
            with self._clients_lock:
                self._clients.discard(client)

    def _longest_idle(self) -> _Client | None:
        """Of those that were given nothing for so long that they make way; also in the middle of a question."""
        idle = [each for each in self._clients if time.monotonic() - each.served > _FORGOTTEN]
        return min(idle, key=lambda each: each.served, default=None)

    def _tell(self, connection: ServerConnection, data: bytes | str) -> None:
        with cut_off_after(_DEAF_TIME, connection.socket):
            connection.send(data)

    def _answer(self, client: _Client, data: bytes | str) -> bytes | str:
        """A chunk as bytes, or as text why there is none."""
        began = time.monotonic()
        try:
            if isinstance(data, str):
                raise WireError("a text; openpi's protocol sends bytes")
            question = unpack(data, MAX_QUESTION)
            observation = client.memory.observation(question, began)
            committed = self._committed(question)
            with client.being_served(), self._planning:
                if client.connection.state is not State.OPEN:
                    return "nobody waits for this any more"  # a client that gave up asks anew: do not fall behind
                if self._last_client is not client:
                    self._policy.reset()  # never a warm start from another client's task
                    self._last_client = client
                plan = self._policy.plan(observation, committed=committed)
                self._count(plan)
        except (WireError, MappingError) as error:
            self._report(f"{client.name}: {error}")
            return str(error)
        except Exception as error:  # a planner that fails on one observation does not end the server
            self._report(f"{client.name}: planning failed: {type(error).__name__}: {error}")
            return f"planning failed: {type(error).__name__}: {error}"
        timing = {"infer_ms": 1e3 * (time.monotonic() - began)}
        answer = {"actions": self._mapping.to_remote(plan.chunk.positions), "server_timing": timing}
        return pack(answer | ({STAMP: question[STAMP]} if isinstance(question.get(STAMP), float) else {}))

    def _count(self, plan: Plan) -> None:
        """Say when plans begin to be made without planning, and when they are not any more."""
        before = self._effort.complaint
        self._effort.add(plan)
        complaint = self._effort.complaint
        if (before is None) != (complaint is None):
            self._report(complaint or "planning again")

    def _committed(self, question: Mapping[str, Any]) -> CommittedMotion | None:
        if POSITIONS not in question:
            return None
        rows = self._mapping.action_horizon
        found = []
        for name, shape in ((POSITIONS, (rows, JOINT_DIM)), (WEIGHT, (rows,))):
            value = question.get(name)
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype.kind != "f":
                raise MappingError(f"{name} does not fit; numbers {list(shape)} do")
            if not np.isfinite(value).all():
                raise MappingError(f"{name} is not finite")
            found.append(value.astype(np.float64))
        return CommittedMotion(found[0], np.clip(found[1], 0.0, 1.0))


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class _Client:
    """One that has a place.

    Attributes:
        served: when the answer to its last good question was there, or it came; infinite while it waits for one [s].
    """

    def __init__(self, name: str, connection: ServerConnection, mapping: RemoteMapping) -> None:
        self.name, self.connection = name, connection
        self.memory = _Memory(mapping)
        self.served = time.monotonic()

    @contextmanager
    def being_served(self) -> Iterator[None]:
        """Whoever waits for a plan is not idle."""
        self.served = math.inf
        try:
            yield
        finally:
            self.served = time.monotonic()

    def end(self, code: int, reason: str) -> None:
        """Close its connection, in a second at most."""
        with suppress(NotTakenError), cut_off_after(_END_TIME, self.connection.socket):
            self.connection.close(code, reason)


class _Memory:
    """What one client has shown: those that send one picture at a time are given a memory here."""

    def __init__(self, mapping: RemoteMapping) -> None:
        self._mapping = mapping
        self._kept: deque[tuple[float, ImageArray]] = deque()

    def observation(self, question: Mapping[str, Any], now: float) -> Observation:
        """The observation of a question that came at `now` [s].

        Raises:
            MappingError: it does not fit.
        """
        images, state, instruction = self._mapping.observed(question)
        stamp = question.get(STAMP, now)
        frames = np.stack([images[view] for view in VIEWS])
        if frames.shape[1] == 1:
            frames = self._remembered(frames[:, 0], now)
        return Observation(frames, state, instruction, stamp if isinstance(stamp, float) else now)

    def _remembered(self, frames: ImageArray, now: float) -> ImageArray:
        """[V, F_mem, H, W, 3] with the newest frames [V, H, W, 3]; where nothing is that old, the first stand in."""
        times = memory_times(now, self._mapping.horizon)
        if self._kept and now - self._kept[-1][0] > _FORGOTTEN:
            self._kept.clear()
        self._kept.append((now, frames))
        while len(self._kept) > 1 and self._kept[1][0] <= times[0]:
            self._kept.popleft()
        rows = np.maximum(newest_at([stamp for stamp, _ in self._kept], times), 0)
        return np.stack([self._kept[row][1] for row in rows], axis=1)
