"""Subscriptions whose messages are measured before they are decoded."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from wav_policy.nodes.messages.limits import MessageError, decode


def why_silent(node: Node, subscriptions: Sequence[Subscription]) -> str:
    """Why nothing can come on any of them: nobody publishes, or something else; "" where somebody does as is wanted."""
    others = []
    for subscription in subscriptions:
        kind = subscription.msg_type
        wanted = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        for publisher in node.get_publishers_info_by_topic(subscription.topic_name):
            if publisher.topic_type == wanted:
                return ""
            others.append(f"{publisher.node_name} publishes {publisher.topic_type} there; {wanted} fits")
    return others[0] if others else "nobody publishes it"


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    on_message: Callable[..., None],
    qos: QoSProfile | int,
    on_refused: Callable[[str], None] | None = None,
    **options: Any,
) -> Subscription:
    """A subscription that decodes only what is within `wav_policy.nodes.messages.limits`.

    Args:
        node: owner.
        kind, topic, qos: as of `Node.create_subscription`.
        on_message: called with every message, and with its info if it takes two arguments.
        on_refused: called with the reason why one was none; it is logged if None, at most every five seconds.
        **options: of `Node.create_subscription`.
    """

    def refuse(reason: str) -> None:
        if on_refused is not None:
            on_refused(reason)
        else:
            node.get_logger().warning(f"{topic}: {reason}", throttle_duration_sec=5.0)

    def take(data: bytes) -> Any:
        try:
            return decode(kind, data)
        except MessageError as error:
            refuse(str(error))
            return None

    def on_data(data: bytes) -> None:
        if (message := take(data)) is not None:
            on_message(message)

    def on_data_and_info(data: bytes, info: Mapping[str, int]) -> None:
        if (message := take(data)) is not None:
            on_message(message, info)

    callback = on_data_and_info if len(inspect.signature(on_message).parameters) == 2 else on_data
    return node.create_subscription(kind, topic, callback, qos, raw=True, **options)
