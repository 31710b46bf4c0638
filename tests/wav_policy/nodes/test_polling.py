"""Messages that no executor handles: in order, none kept waiting by another topic, and an end at any time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402
from rclpy.publisher import Publisher  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402

from tests.wav_policy.nodes.around_policy_node import wait_for  # noqa: E402
from wav_policy.nodes.messages.subscribing import subscribe  # noqa: E402
from wav_policy.nodes.runtime.polling import DrainingThread, NeverCalled, drain  # noqa: E402

pytestmark = pytest.mark.ros

DEPTH = qos_profile_sensor_data.depth


@pytest.fixture
def node() -> Iterator[Node]:
    rclpy.init()
    node = rclpy.create_node("drained", namespace="/robot1/arm")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@dataclass
class Topic:
    """A subscription that is not handled, what came, and whoever publishes."""

    node: Node
    name: str
    qos: QoSProfile = field(default_factory=lambda: QoSProfile(depth=100))
    came: list[str] = field(default_factory=list)
    then: Callable[[], Any] = lambda: None

    def __post_init__(self) -> None:
        self.subscription = subscribe(
            self.node,
            JointState,
            self.name,
            self._take,
            qos_profile_sensor_data,
            callback_group=NeverCalled(),
        )
        self.publisher: Publisher = self.node.create_publisher(JointState, f"/robot1/arm/{self.name}", self.qos)
        wait_for(lambda: self.publisher.get_subscription_count() == 1, "the subscription")

    def _take(self, message: JointState) -> None:
        self.came.append(message.header.frame_id)
        self.then()

    def say(self, *names: int) -> None:
        for name in names:
            message = JointState()
            message.header.frame_id = str(name)
            self.publisher.publish(message)


class Flood:
    """A subscription whose queue is never empty; its own handle."""

    msg_type, topic, qos_profile = JointState, "flood", qos_profile_sensor_data

    def __init__(self, callback: Callable[[bytes], None]) -> None:
        self.callback, self.handle = callback, self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def take_message(self, kind: type, raw: bool) -> tuple[bytes, dict[str, int]]:
        return b"", {}


def test_messages_come_in_order_and_of_a_burst_the_newest(node: Node) -> None:
    topic = Topic(node, "joints")
    topic.say(*range(3))
    wait_for(lambda: drain(node, [topic.subscription]) or len(topic.came) == 3, "three messages")
    topic.say(*range(10, 10 + 4 * DEPTH))
    time.sleep(0.5)
    drain(node, [topic.subscription])
    assert topic.came == [str(number) for number in (0, 1, 2, *range(10 + 3 * DEPTH, 10 + 4 * DEPTH))]


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
@pytest.mark.parametrize("durability", [DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL])
def test_any_publisher_is_heard(node: Node, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> None:
    topic = Topic(node, "joints", QoSProfile(depth=1, reliability=reliability, durability=durability))
    thread = DrainingThread(node, [topic.subscription])

    def heard() -> bool:
        topic.say(1)
        return bool(topic.came)

    wait_for(heard, "a message")
    thread.close()


def test_no_executor_takes_them(node: Node) -> None:
    topic = Topic(node, "joints")
    topic.say(1)
    for _ in range(20):
        rclpy.spin_once(node, timeout_sec=0.02)
    assert not topic.came
    drain(node, [topic.subscription])
    assert topic.came == ["1"]


def test_a_flooded_topic_takes_turns_with_the_others(node: Node) -> None:
    calls: list[str] = []
    drain(node, [Flood(lambda data: calls.append("a")), Flood(lambda data: calls.append("b"))])
    assert calls == ["a", "b"] * DEPTH


def test_the_thread_ends_after_the_callback_it_is_in_though_messages_go_on_coming(node: Node) -> None:
    began, go_on, calls = threading.Event(), threading.Event(), []

    def slow(data: bytes) -> None:
        calls.append(data)
        began.set()
        go_on.wait(10.0)

    thread = DrainingThread(node, [Flood(slow)])
    began.wait(10.0)
    threading.Timer(0.1, go_on.set).start()
    thread.close()
    assert len(calls) == 1
    assert "subscriptions" not in [thread.name for thread in threading.enumerate()]


def test_a_callback_that_fails_costs_its_own_message_only(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    bad, good = Topic(node, "bad"), Topic(node, "good")

    def fail() -> None:
        raise KeyError("no such joint")

    bad.then = fail
    thread = DrainingThread(node, [bad.subscription, good.subscription])

    def say() -> bool:
        bad.say(len(bad.came))
        good.say(len(good.came))
        time.sleep(0.01)
        return len(bad.came) > 20 and len(good.came) > 20

    wait_for(say, "twenty messages of both")
    thread.close()
    text = capfd.readouterr().err
    assert "bad: callback failed: KeyError: 'no such joint'" in text
    assert text.count("callback failed") < 5, "said once a second, not for every message"


def test_a_subscription_that_was_destroyed_is_no_end_of_the_others(node: Node) -> None:
    gone, topic = Topic(node, "gone"), Topic(node, "there")
    thread = DrainingThread(node, [gone.subscription, topic.subscription])
    node.destroy_subscription(gone.subscription)
    wait_for(lambda: topic.say(1) or bool(topic.came), "a message")
    wait_for(lambda: gone.publisher.get_subscription_count() == 0, "the end of the subscription")
    thread.close()
    known = len(topic.came)
    topic.say(1, 2, 3)
    time.sleep(0.1)
    assert len(topic.came) == known
