"""Subscriptions whose messages are measured before they are decoded."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from wav_policy.nodes.messages.limits import MessageError, OversizedError, decode

_PAUSE_PER_BYTE: Final = 1e-6
"""Taking a megabyte from the middleware holds up every other thread for about a millisecond: a thousandth of the time
is what a flood of oversized messages may cost [s]."""
_LONGEST_PAUSE: Final = 60.0
"""[s]"""


class PatientCallbackGroup(MutuallyExclusiveCallbackGroup):
    """A group that can be left alone for a while; the middleware keeps, or drops, what comes meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._until = float("-inf")

    def pause(self, seconds: float) -> None:
        """Call nothing of this group for so long."""
        self._until = time.monotonic() + seconds

    def can_execute(self, entity: Any) -> bool:
        """Whether the executor may take something of it now."""
        return time.monotonic() >= self._until and bool(super().can_execute(entity))

    def beginning_execution(self, entity: Any) -> bool:
        """The same, at the last moment."""
        return time.monotonic() >= self._until and bool(super().beginning_execution(entity))


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
        **options: of `Node.create_subscription`. Where its callback group is a `PatientCallbackGroup`, it pauses after
            an oversized message.
    """
    group = options.get("callback_group")

    def refuse(reason: str) -> None:
        if on_refused is not None:
            on_refused(reason)
        else:
            node.get_logger().warning(f"{topic}: {reason}", throttle_duration_sec=5.0)

    def take(data: bytes) -> Any:
        try:
            return decode(kind, data)
        except MessageError as error:
            reason = str(error)
            if isinstance(error, OversizedError) and isinstance(group, PatientCallbackGroup):
                pause = min(_PAUSE_PER_BYTE * len(data), _LONGEST_PAUSE)
                group.pause(pause)
                reason += f"; not listening for {pause:.1f} s"
            refuse(reason)
            return None

    def on_data(data: bytes) -> None:
        if (message := take(data)) is not None:
            on_message(message)

    def on_data_and_info(data: bytes, info: Mapping[str, int]) -> None:
        if (message := take(data)) is not None:
            on_message(message, info)

    callback = on_data_and_info if len(inspect.signature(on_message).parameters) == 2 else on_data
    return node.create_subscription(kind, topic, callback, qos, raw=True, **options)
