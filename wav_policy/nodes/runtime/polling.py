"""Messages without an executor: the newest when it is wanted, or all of them in a thread of their own.

rclpy's executors build a new wait set for every message, in Python; the one with several threads manages some 200
messages a second that way, on a whole core.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile

from wav_policy.nodes.messages.limits import MessageError, decode

M = TypeVar("M")


_DRAIN_PERIOD: Final = 0.005  # s
SUBSCRIPTIONS: Final = "subscriptions"
"""Name of the thread, also for `top -H`."""


class NeverCalled(CallbackGroup):
    """Of subscriptions that no executor handles."""

    def can_execute(self, entity: object) -> bool:
        return False

    def beginning_execution(self, entity: object) -> bool:
        return False

    def ending_execution(self, entity: object) -> None:
        """Nothing was begun."""


class PolledTopic(Generic[M]):
    """The newest message of a topic, on demand.

    Args:
        node: owner of the subscription; its executor never handles it.
        kind: message type.
        topic: name.
        qos: with depth 1, so that the middleware keeps only the newest.
    """

    def __init__(self, node: Node, kind: type[M], topic: str, qos: QoSProfile) -> None:
        self._node = node
        self._kind = kind
        self._subscription: Any = node.create_subscription(
            kind, topic, lambda data: None, qos, callback_group=NeverCalled(), raw=True
        )

    def take(self) -> M | None:
        """The newest message since the last call, None when there is none."""
        if (data := _take(self._subscription)) is None:
            return None
        try:
            message: M = decode(self._kind, data)
        except MessageError as error:
            self._node.get_logger().warning(f"{self._subscription.topic}: {error}", throttle_duration_sec=5.0)
            return None
        return message

    def destroy(self) -> None:
        """Release the subscription: publishers see that nobody listens."""
        self._node.destroy_subscription(self._subscription)


class DrainingThread:
    """Calls the callbacks of subscriptions for every message that has come, 200 times a second.

    Args:
        node: whose logger is told of a callback that failed.
        subscriptions: made by `subscribe` with `NeverCalled`; their queues must hold what comes within 5 ms.

    Attributes:
        subscriptions: those.
    """

    def __init__(self, node: Node, subscriptions: Sequence[Any]) -> None:
        self._node = node
        self.subscriptions = tuple(subscriptions)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=SUBSCRIPTIONS, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread, after the callback that it is in; the subscriptions stay."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(SUBSCRIPTIONS)
        while not self._closed.wait(_DRAIN_PERIOD):
            drain(self._node, self.subscriptions, self._closed.is_set)


def drain(node: Node, subscriptions: Sequence[Any], is_over: Callable[[], bool] = lambda: False) -> None:
    """Call the callbacks of subscriptions for every message that had come, one of each after the other.

    No more than fits their queues: neither a topic that is flooded nor a slow callback keeps the others waiting for
    longer than for one message of each. A callback that fails is logged, and costs its own message only.

    Args:
        node: whose logger is told of it.
        subscriptions: made by `subscribe` with `NeverCalled`.
        is_over: asked before every callback.
    """
    waiting = list(subscriptions)
    for _ in range(max((subscription.qos_profile.depth for subscription in subscriptions), default=0)):
        waiting = [each for each in waiting if not is_over() and _call_back(node, each)]


def _call_back(node: Node, subscription: Any) -> bool:
    """Whether a message had come."""
    try:
        if (data := _take(subscription)) is None:
            return False
        subscription.callback(data)
    except Exception as error:
        text = f"{subscription.topic}: callback failed: {type(error).__name__}: {error}"
        node.get_logger().error(text, throttle_duration_sec=1.0)
    return True


def _take(subscription: Any) -> bytes | None:
    with subscription.handle:
        taken = subscription.handle.take_message(subscription.msg_type, True)
    return None if taken is None else taken[0]
