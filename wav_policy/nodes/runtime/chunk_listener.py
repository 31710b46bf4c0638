"""The process that listens for piper_node: started, heard, and restarted when it dies or hangs."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from wav_models.types import ActionChunk
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.gateway_words import (
    MAX_PACKET,
    Beat,
    Cancel,
    GoalPart,
    Introduction,
    Lost,
    Note,
    Order,
    Refused,
    UnderWay,
    Wanted,
    pack_order,
    unpack,
)
from wav_policy.nodes.messages.limits import MessageError
from wav_policy.nodes.runtime.priority import be_ordinary
from wav_policy.piper.errors import PiperError

_GATEWAY: Final = "wav_policy.nodes.chunk_gateway"

_START_TIME: Final = 20.0
"""What it may take until it is heard for the first time [s]."""

_HANG_TIME: Final = 3.0
"""Silence after which it is taken to hang, killed and started again [s]."""

_END_TIME: Final = 3.0
"""What it may take to end once nobody listens to it; one that is killed is on the graph for some seconds more [s]."""

_PAUSES: Final = 0.2, 5.0
"""Before it is started again: at first, and at most; each is twice the one before [s]."""

_SETTLED: Final = 10.0
"""Heard for so long, it counts as sound again [s]."""


class ListenerError(PiperError):
    """The process that listens does not start."""


@dataclass(frozen=True)
class ListenerState:
    """For diagnostics.

    Attributes:
        listening: heard within the last `LEASE`.
        num_silences: how often it was not.
        num_restarts: how often it died, or was killed because it hung.
    """

    listening: bool = False
    num_silences: int = 0
    num_restarts: int = 0


class ChunkListener:
    """What it hears it passes on, from a thread of its own.

    Args:
        topic, namespace: of the subscription, and of its node; fully qualified.
        on_chunk: a chunk, its stamp in ROS time.
        on_hold: a reason to hold: something came that is no chunk, the policy is gone, or the process that listens is.
        on_lost: the same, for the log, where it is the process that listens.
        introduce: what the process has to know about piper_node, asked for whenever it is started.
        on_wanted: a transition that somebody wants; to be answered by `tell`, from another thread.
        on_goal: a part of a trajectory that somebody wants to be followed, or that one is not wanted any more; none is
            once the process is gone.
        on_note: something for the log.
    """

    def __init__(
        self,
        topic: str,
        namespace: str,
        on_chunk: Callable[[ActionChunk], None],
        on_hold: Callable[[str], None],
        on_lost: Callable[[str], None],
        introduce: Callable[[], Introduction],
        on_wanted: Callable[[Wanted], None],
        on_goal: Callable[[GoalPart | Cancel], None] = lambda word: None,
        on_note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._arguments = topic, namespace
        self._on_chunk = on_chunk
        self._on_hold = on_hold
        self._on_lost = on_lost
        self._introduce = introduce
        self._on_wanted = on_wanted
        self._on_goal = on_goal
        self._on_note = on_note
        self._end: socket.socket | None = None
        self._untold: deque[Order] = deque()
        self._telling = threading.Lock()
        self._ready = threading.Event()
        self._closing = threading.Event()
        self._listening = False
        self._num_silences = self._num_restarts = 0
        # Also what keeps the process alive: it dies with the thread that has started it.
        self._thread = threading.Thread(target=self._run, name="chunk_listener", daemon=True)
        self._thread.start()

    @property
    def state(self) -> ListenerState:
        """Now."""
        return ListenerState(self._listening, self._num_silences, self._num_restarts)

    def wait(self) -> None:
        """Until it listens.

        Raises:
            ListenerError: it does not.
        """
        if not self._ready.wait(_START_TIME):
            raise ListenerError(
                f"{_GATEWAY}, which listens to {self._arguments[0]}, did not start within {_START_TIME:g} s. Is the "
                f"computer overloaded? Its own words are above; try: {sys.executable} -c 'import {_GATEWAY}'"
            )

    def tell(self, order: Order) -> None:
        """Tell what became of what was wanted; nobody, where the process that was asked is gone. Waits for nothing:
        while that takes no more, for it rests, all is kept but where a motion is."""
        with self._telling:
            if not (self._untold and isinstance(order, UnderWay)):
                self._untold.append(order)
            self._tell_on()

    def _tell_on(self) -> None:
        end = self._end
        if end is None:
            self._untold.clear()
        while end is not None and self._untold:
            try:
                end.send(pack_order(self._untold[0]), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                pass  # it is gone, which `_hear` notices
            self._untold.popleft()

    def close(self) -> None:
        """End the process and the thread."""
        self._closing.set()
        self._thread.join()

    def _run(self) -> None:
        shortest, longest = _PAUSES
        pause = shortest
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                why = self._attend()
            except Exception as error:  # whatever it is, the arms must not go on unsupervised
                why = f"listening to it failed: {type(error).__name__}: {error}"
            if self._closing.is_set():
                return
            if time.monotonic() - began > _SETTLED:
                pause = shortest
            self._num_restarts += 1
            self._lose(f"{why}; started again in {pause:g} s")
            self._closing.wait(pause)
            pause = min(2.0 * pause, longest)

    def _attend(self) -> str:
        """One life of the process.

        Returns:
            How it ended.

        Raises:
            OSError: it does not start, or takes no order.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours:
            with theirs:
                command = [sys.executable, "-m", _GATEWAY, str(theirs.fileno()), *self._arguments]
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, pass_fds=(theirs.fileno(),), preexec_fn=be_ordinary
                )
            try:
                ours.send(pack_order(self._introduce()), socket.MSG_NOSIGNAL)
                self._end = ours
                return self._hear(ours)
            finally:
                self._end = None
                self._listening = False
                self._on_hold("policy lost: the process that listens to it is gone")
                self._on_goal(Cancel(0, "the process that would hear a cancel is gone"))
                ours.close()
                try:
                    process.wait(_END_TIME)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _hear(self, end: socket.socket) -> str:
        """Pass on what it says until it has ended, hangs, or is not needed any more."""
        poll = select.poll()
        poll.register(end, select.POLLIN)
        last, patience = time.monotonic(), _START_TIME
        while not self._closing.is_set():
            with self._telling:
                self._tell_on()
            if poll.poll(1e3 * chunk_topic.LEASE):
                for packet in _received(end):
                    if not packet:
                        return "the process that listens to it has ended"
                    self._pass_on(packet)
                last, patience = time.monotonic(), _HANG_TIME
                self._listening = True
                self._ready.set()
                continue
            if self._listening:
                self._listening = False
                self._num_silences += 1
                self._lose(f"the process that listens to it is silent for {1e3 * chunk_topic.LEASE:.0f} ms")
            if time.monotonic() - last > patience:
                return f"the process that listens to it has said nothing for {patience:g} s"
        return ""

    def _pass_on(self, packet: bytes) -> None:
        try:
            word = unpack(packet)
        except MessageError as error:
            word = Refused(str(error))
        match word:
            case Beat():
                pass
            case ActionChunk():
                self._on_chunk(word)
            case Wanted():
                self._on_wanted(word)
            case GoalPart() | Cancel():
                self._on_goal(word)
            case Note(text):
                self._on_note(text)
            case Refused(reason) | Lost(reason):
                self._on_hold(reason)

    def _lose(self, why: str) -> None:
        reason = f"policy lost: {why}"
        self._on_hold(reason)
        self._on_lost(reason)


def _received(end: socket.socket) -> Iterator[bytes]:
    """What has come by now; b"" once nobody speaks any more."""
    while True:
        try:
            packet = end.recv(MAX_PACKET, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError:
            packet = b""
        yield packet
        if not packet:
            return
