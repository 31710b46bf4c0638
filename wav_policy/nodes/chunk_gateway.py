"""Listens to `action_chunk` for piper_node, answers its lifecycle and parameter services and takes goals for it
(`goal_desk`), in a process of its own.

Rclpy takes a message from the middleware, and makes Python objects of it, while every other thread of the process
waits: a message of 100 MB would keep a stop waiting for a tenth of a second. Here nothing waits but this process. It
measures and decodes, and hands piper_node numbers over a socket: chunks, refusals, the loss of whoever publishes, which
transition is wanted, and a beat every `HEARTBEAT_PERIOD` from the same loop that listens. Once it is silent, piper_node
holds. It ends with piper_node, however that ends; the signals that ask a process to end are left to piper_node.

Started by `wav_policy.nodes.runtime.chunk_listener`, never by hand.
"""

from __future__ import annotations

import contextlib
import gc
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import rclpy
from rclpy.event_handler import QoSLivelinessChangedInfo, SubscriptionEventCallbacks
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from trajectory_msgs.msg import JointTrajectory

from wav_models.signals import die_with_parent, ignore_ends
from wav_models.types import ActionChunk
from wav_policy.bringup.access import enclave_arguments
from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.nodes.goal_desk import offer_goals
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.authors import Authors
from wav_policy.nodes.messages.gateway_words import (
    MAX_INTRODUCTION,
    NAME,
    Answer,
    Beat,
    Cancel,
    Ended,
    GoalPart,
    Introduction,
    Lost,
    Note,
    Overtaken,
    Refused,
    UnderWay,
    Wanted,
    Word,
    pack,
    unpack_order,
)
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.messages.trajectory import TrajectoryError, chunk_from_message
from wav_policy.nodes.service_desk import ServiceDesk

_SPACING: Final = 0.005
"""Between two words that are no beats: of what comes faster the newest is told [s]."""

_LARGE: Final = 0.02
"""Processor time of a message that is no chunk of ours [s]."""
_REST: Final = 20.0
"""After such a one nothing is taken for so many times as long: a flood costs a twentieth of a core."""
_LONGEST_REST: Final = 10.0
"""[s]"""
_TOLERATED: Final = 10
"""Failures one after the other; where there are more, a new process is better."""


class Speaker:
    """Tells the newest word, and never waits for whoever reads.

    Args:
        end: of a SOCK_SEQPACKET pair.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._pending: list[Word] = []
        self._wanted: list[Word] = []
        self._spoke = self._told = float("-inf")

    def say(self, word: Word) -> None:
        """Next: a chunk after the reason to hold that came before it, a reason instead of all that came before it. What
        else is wanted is told before either, all of it."""
        if isinstance(word, Wanted | GoalPart | Cancel | Note):
            self._wanted.append(word)
            return
        reasons: list[Word] = []
        if isinstance(word, ActionChunk):
            reasons = [earlier for earlier in self._pending if not isinstance(earlier, ActionChunk)]
        self._pending = [*reasons, word]

    def make_hold(self, reason: str) -> None:
        """Next, unless what is told next is a reason to hold already."""
        if not self._pending or isinstance(self._pending[-1], ActionChunk):
            self.say(Lost(reason))

    def speak(self) -> float:
        """Send what is due.

        Returns:
            Time until something is due again [s].

        Raises:
            ConnectionError: nobody reads any more.
        """
        now = time.monotonic()
        while self._wanted and self._send(self._wanted[0]):
            self._wanted.pop(0)
        if self._pending and now >= self._told + _SPACING:
            self._told = self._spoke = now
            while self._pending and self._send(self._pending[0]):
                self._pending.pop(0)
        elif now >= self._spoke + chunk_topic.HEARTBEAT_PERIOD:
            self._spoke = now
            self._send(Beat())
        due = self._told + _SPACING if self._pending else self._spoke + chunk_topic.HEARTBEAT_PERIOD
        return max(due - time.monotonic(), 0.0)

    def _send(self, word: Word) -> bool:
        try:
            self._end.send(pack(word), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        return True


class ChunkGateway(Node):
    """Subscribes to `topic` and offers what `introduction` asks for: no parameters and no log of its own."""

    def __init__(self, topic: str, namespace: str, speaker: Speaker, introduction: Introduction) -> None:
        clock = [row for row in introduction.parameters if row["name"] == "use_sim_time"]
        super().__init__(
            NAME,
            namespace=namespace,
            enable_rosout=False,
            start_parameter_services=False,
            parameter_overrides=[
                Parameter("start_type_description_service", value=False),
                *(Parameter(row["name"], value=row["value"]) for row in clock),
            ],
        )
        self._speaker = speaker
        self._topic = topic
        self._authors = Authors()
        self.desk = ServiceDesk(self, introduction, speaker.say)
        self.goals = offer_goals(self, speaker.say)
        subscribe(
            self,
            JointTrajectory,
            topic,
            self._on_chunk,
            chunk_topic.REQUESTED_QOS,
            lambda reason: speaker.say(Refused(reason)),
            event_callbacks=SubscriptionEventCallbacks(liveliness=self._on_liveliness),
        )

    def _on_chunk(self, message: JointTrajectory, info: Mapping[str, int]) -> None:
        if self._authors.are_several(info["publication_sequence_number"]):
            self._speaker.say(Refused(self._who_they_are()))
            return
        try:
            self._speaker.say(chunk_from_message(message))
        except TrajectoryError as error:
            self._speaker.say(Refused(str(error)))

    def _who_they_are(self) -> str:
        nodes = {
            f"{each.node_namespace.rstrip('/')}/{each.node_name}"
            for each in self.get_publishers_info_by_topic(self._topic)
        }
        names = f" ({', '.join(sorted(nodes))})" if nodes else ""
        return f"several publishers send {self._topic} in turn{names}: two masters would fight. Stop all but one"

    def _on_liveliness(self, change: QoSLivelinessChangedInfo) -> None:
        """No publisher is alive any more, or one of several has gone: it may be the author of the chunk in force.

        The count alone will not do: Fast DDS goes on counting a publisher that was removed while it was alive.
        """
        if change.alive_count == 0 or change.alive_count_change < 0:
            self._speaker.say(Lost(f"policy lost: silent for {1e3 * chunk_topic.LEASE:.0f} ms"))


def listen(speaker: Speaker, executor: SingleThreadedExecutor, serve: Callable[[], None] = lambda: None) -> None:
    """Take what comes, tell it and beat; after something large only beat for a while, to leave the processor to others.
    The end of the policy would not be noticed meanwhile, so the arms hold.

    Args:
        speaker: tells it.
        executor: of the node.
        serve: called again and again, to do what the executor does not.

    Raises:
        ConnectionError: nobody reads any more.
    """
    rests_until, failures = float("-inf"), 0
    while True:
        wait = speaker.speak()
        if time.monotonic() < rests_until:
            time.sleep(wait)
            continue
        before = time.thread_time()
        try:
            executor.spin_once(timeout_sec=wait)
            serve()
            failures = 0
        except Exception as error:  # whatever it is, the next message must be heard
            failures += 1
            if failures > _TOLERATED or isinstance(error, ConnectionError):
                raise
            speaker.say(Refused(f"a message could not be dealt with: {type(error).__name__}: {error}"))
        if (busy := time.thread_time() - before) > _LARGE:
            rest = min(_REST * busy, _LONGEST_REST)
            rests_until = time.monotonic() + rest
            speaker.make_hold(f"nobody listens to it for {rest:.1f} s after a message that took {1e3 * busy:.0f} ms")


def attend(end: socket.socket, node: ChunkGateway) -> None:
    """Hear what piper_node answers, then serve who asks."""
    hear(end, node)
    node.desk.serve()


def hear(end: socket.socket, node: ChunkGateway) -> None:
    """What piper_node has said by now."""
    with contextlib.suppress(BlockingIOError):
        while packet := end.recv(MAX_INTRODUCTION, socket.MSG_DONTWAIT):
            order = unpack_order(packet)
            if isinstance(order, Answer):
                node.desk.hear(order)
            elif isinstance(order, UnderWay | Ended | Overtaken):
                node.goals.hear(order)
            if isinstance(order, Overtaken):
                node.desk.overtake()
    node.goals.is_up_to_date()


def main() -> int:
    """Listen until piper_node is gone."""
    descriptor, topic, namespace = sys.argv[1:]
    die_with_parent(signal.SIGKILL)
    ignore_ends()
    limit_to_this_host()
    rclpy.init(args=["--ros-args", *enclave_arguments(NAME)], signal_handler_options=SignalHandlerOptions.NO)
    end = socket.socket(fileno=int(descriptor))
    introduction = unpack_order(end.recv(MAX_INTRODUCTION))
    assert isinstance(introduction, Introduction)
    speaker, executor = Speaker(end), SingleThreadedExecutor()
    node = ChunkGateway(topic, namespace, speaker, introduction)
    node.goals.refresh = partial(hear, end, node)
    executor.add_node(node)
    gc.freeze()
    with contextlib.suppress(ConnectionError):
        listen(speaker, executor, partial(attend, end, node))
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
