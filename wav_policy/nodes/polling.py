"""Taking the newest message when it is wanted, instead of a callback for every one that comes."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile

M = TypeVar("M")


class _NeverCalled(CallbackGroup):
    """Keeps the executor away: who watches at 10 Hz need not wake up 300 times a second."""

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
            kind, topic, lambda message: None, qos, callback_group=_NeverCalled()
        )

    def take(self) -> M | None:
        """The newest message since the last call, None when there is none."""
        with self._subscription.handle:
            taken = self._subscription.handle.take_message(self._kind, False)
        return None if taken is None else taken[0]

    def destroy(self) -> None:
        """Release the subscription: publishers see that nobody listens."""
        self._node.destroy_subscription(self._subscription)
