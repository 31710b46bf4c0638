"""What the monitor knows of the running system, gathered into snapshots."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Float32MultiArray
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import ActionChunk, FloatArray, ImageArray
from wav_policy.monitor.snapshot import REPORTS, Heard, Snapshot
from wav_policy.nodes.imagination import FUTURES_TOPIC, image_topic
from wav_policy.nodes.messages import plan_messages
from wav_policy.nodes.messages.chunk_topic import CHUNK_TOPIC
from wav_policy.nodes.messages.diagnostic_array import reports_from_message
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.nodes.messages.instruction_topic import subscribe_instruction
from wav_policy.nodes.messages.joint_state import JointPicker, OtherJointsError
from wav_policy.nodes.messages.limits import MessageError
from wav_policy.nodes.messages.qos import NEWEST
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.messages.trajectory import chunk_from_message
from wav_policy.nodes.runtime.camera_subscriptions import COMPRESSED, PREFERRED
from wav_policy.nodes.runtime.polling import PolledTopic
from wav_policy.policy.observation import IMAGE_TOPICS, JOINT_TOPIC
from wav_policy.robot.cameras import VIEWS

_NEWEST_TWO: Final = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Each arm may have a publisher of its own."""
_SILENCE: Final = 3.0
"""A report that is older is marked as silent [s]."""
_MOST_OTHERS: Final = 256
"""Reports that are kept beside those that the page shows: somebody may have new names for ever."""
_OLD_PICTURE: Final = 2.0
"""A camera that has sent nothing for so long is not shown any more: a frozen picture would pass for a live one [s]."""
_OLD_JOINTS: Final = 2.0
"""The same for the arms [s]."""
_OLD_IMAGINED: Final = 10.0
"""The same for what is imagined, which comes rarely [s]."""
_OLD_CHUNK: Final = 3.0
"""A chunk, its value or its planning rounds that are older are not shown as what is planned [s]."""


class MonitorFeed:
    """Subscriptions and the newest of everything.

    Reports and the instruction come all the time. Pictures, joints and plans are fetched while somebody watches only,
    so an unwatched monitor costs nothing, and the policy does not imagine for it.

    Args:
        node: owner of the subscriptions.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._reports: dict[str, Heard] = {}
        self._instruction = ""
        self._real: dict[str, tuple[float, ImageArray]] = {}
        self._last_raw = dict.fromkeys(VIEWS, float("-inf"))
        self._imagined: dict[str, tuple[float, ImageArray]] = {}
        self._futures: dict[str, tuple[float, ImageArray]] = {}
        self._joints: tuple[float, FloatArray] | None = None
        self._picker = JointPicker(_OLD_JOINTS)
        self._chunk: tuple[float, ActionChunk] | None = None
        self._value: tuple[float, tuple[FloatArray, FloatArray]] | None = None
        self._rounds: tuple[float, plan_messages.PlanRounds] | None = None
        self._topics: dict[str, PolledTopic[Any]] = {}
        subscribe(node, DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        subscribe_instruction(node, self._on_instruction)

    def hear(self, name: str) -> Heard | None:
        """The newest report of this name; from any thread."""
        return self._reports.get(name)

    def is_silent(self, name: str) -> bool:
        """Whether there were reports of this name and none has come for a while."""
        heard = self.hear(name)
        return heard is not None and time.monotonic() - heard.at > _SILENCE

    def open(self) -> None:
        """Begin to fetch; calling it again changes nothing."""
        if self._topics:
            return
        kinds: dict[str, Any] = {JOINT_TOPIC: JointState, CHUNK_TOPIC: JointTrajectory}
        kinds |= dict.fromkeys((plan_messages.VALUE_TOPIC, plan_messages.ROUNDS_TOPIC), Float32MultiArray)
        kinds |= {topic: Image for view in VIEWS for topic in (IMAGE_TOPICS[view], image_topic(view))}
        kinds |= {IMAGE_TOPICS[view] + COMPRESSED: CompressedImage for view in VIEWS}
        kinds[FUTURES_TOPIC] = Image
        self._topics = {
            topic: PolledTopic(self._node, kind, topic, _NEWEST_TWO if topic == JOINT_TOPIC else NEWEST)
            for topic, kind in kinds.items()
        }

    def close(self) -> None:
        """Fetch nothing any more."""
        for topic in self._topics.values():
            topic.destroy()
        self._topics = {}

    def snapshot(self, available: frozenset[str] = frozenset(), title: str = "") -> Snapshot:
        """Fetch what is new and put it together with what was known."""
        self._fetch()
        now = time.monotonic()
        rounds = self._rounds[1] if self._rounds is not None and now - self._rounds[0] < _OLD_CHUNK else None
        value = self._value[1] if self._value is not None and now - self._value[0] < _OLD_CHUNK else None
        return Snapshot(
            joints=self._joints[1] if self._joints is not None and now - self._joints[0] < _OLD_JOINTS else None,
            real={view: image for view, (came, image) in self._real.items() if now - came < _OLD_PICTURE},
            imagined={view: image for view, (came, image) in self._imagined.items() if now - came < _OLD_IMAGINED},
            chunk=self._chunk[1] if self._chunk is not None and now - self._chunk[0] < _OLD_CHUNK else None,
            value_times=None if value is None else value[0],
            values=None if value is None else value[1],
            scores=None if rounds is None else rounds.scores,
            taken=None if rounds is None else rounds.taken,
            futures=next((image for came, image in self._futures.values() if now - came < _OLD_IMAGINED), None),
            instruction=self._instruction,
            reports={name: heard.report for name, heard in self._reports.items()},
            silent=frozenset(name for name in self._reports if self.is_silent(name)),
            available=available,
            title=title,
        )

    def _fetch(self) -> None:
        for view in VIEWS:
            self._fetch_camera(view)
            self._fetch_image(self._imagined, view, image_topic(view))
        self._fetch_image(self._futures, FUTURES_TOPIC, FUTURES_TOPIC)
        while (joints := self._take(JOINT_TOPIC)) is not None:
            with self._warning_of(JOINT_TOPIC), suppress(OtherJointsError):
                self._joints = time.monotonic(), _finite(self._picker.take(joints).positions)
        if (chunk := self._take(CHUNK_TOPIC)) is not None:
            with self._warning_of(CHUNK_TOPIC):
                planned = chunk_from_message(chunk)
                _finite(planned.positions)
                self._chunk = time.monotonic(), planned
        if (value := self._take(plan_messages.VALUE_TOPIC)) is not None:
            with self._warning_of(plan_messages.VALUE_TOPIC):
                self._value = time.monotonic(), plan_messages.value_from_message(value)
        if (rounds := self._take(plan_messages.ROUNDS_TOPIC)) is not None:
            with self._warning_of(plan_messages.ROUNDS_TOPIC):
                self._rounds = time.monotonic(), plan_messages.rounds_from_message(rounds)

    @contextmanager
    def _warning_of(self, topic: str) -> Iterator[None]:
        """What cannot be shown costs itself, not the rest of the page. Nodes that need it report it."""
        try:
            yield
        except MessageError as error:
            self._node.get_logger().warning(f"{topic}: {error}", throttle_duration_sec=5.0)

    def _fetch_camera(self, view: str) -> None:
        """As the policy does: compressed pictures where no raw ones come."""
        now = time.monotonic()
        if self._fetch_image(self._real, view, IMAGE_TOPICS[view]):
            self._last_raw[view] = now
        elif now - self._last_raw[view] > PREFERRED:
            self._fetch_image(self._real, view, IMAGE_TOPICS[view] + COMPRESSED)

    def _fetch_image(self, images: dict[str, tuple[float, ImageArray]], view: str, topic: str) -> bool:
        """Whether there was a picture."""
        if (message := self._take(topic)) is not None:
            with self._warning_of(topic):
                images[view] = time.monotonic(), rgb_from_any(message)
                return True
        return False

    def _take(self, topic: str) -> Any:
        polled = self._topics.get(topic)
        return None if polled is None else polled.take()

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now, namespace = time.monotonic(), self._node.get_namespace()
        self._reports |= {name: Heard(now, report) for name, report in reports_from_message(message, namespace).items()}
        others = sorted(self._reports.keys() - REPORTS, key=lambda name: self._reports[name].at)
        for name in others[:-_MOST_OTHERS]:
            del self._reports[name]

    def _on_instruction(self, instruction: str) -> None:
        self._instruction = instruction


def _finite(values: FloatArray) -> FloatArray:
    """Themselves; MessageError where one is not finite."""
    if not np.isfinite(values).all():
        raise MessageError("positions that are not finite")
    return values
