"""The cameras, raw or compressed, into an `ObservationBuffer` or whatever else takes images."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import numpy as np
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from wav_models.types import ImageArray
from wav_models.words import counted
from wav_policy.nodes.messages.images import ImageError, rgb_from_compressed, rgb_from_message
from wav_policy.nodes.messages.joint_state import stamp_to_seconds
from wav_policy.nodes.messages.serialized import ImageView
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.policy.observation import IMAGE_TOPICS
from wav_policy.robot.cameras import VIEWS

COMPRESSED: Final = "/compressed"
"""Behind the name of a topic with raw pictures: that with the same compressed."""
PREFERRED: Final = 1.0
"""A camera with good raw frames within this time is not decoded a second time from its compressed topic; one with good
compressed frames is not blamed for raw ones that are none [s]."""
_REMEMBERED: Final = 16
_MOST_DAMAGED: Final = 3
"""Of as many compressed frames as are remembered, and this share of fewer. A JPEG has no checksum: where lost bytes are
noticed in more frames than this, they go unnoticed in others (one of five of a picture with much of one colour), and
none is believed until enough in a row are whole."""
_LOOKED_AT_FIRST: Final = 4
"""Compressed frames that come first, or after raw ones, are only looked at: one that seems whole says too little."""


class ImageSink(Protocol):
    """What takes the pictures."""

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        """One frame, uint8 RGB [H, W, 3], captured at `stamp` [s]."""

    def reject_image(self, view: str, reason: str) -> None:
        """A message that was no usable image."""


class CameraSubscriptions:
    """Subscribes `<view>/image_raw` and, or, `<view>/image_raw/compressed`.

    Args:
        node: owner of the subscriptions.
        buffer: receives the pictures, and the reasons why a message was none.
        transport: one of `TRANSPORTS`.
        callback_group: of the subscriptions; the node's if None.
        views: the cameras.

    Attributes:
        taken: pictures per topic.
        rejected: messages per topic that were no usable image.
        subscriptions: all of them.
    """

    def __init__(
        self,
        node: Node,
        buffer: ImageSink,
        transport: str,
        callback_group: CallbackGroup | None = None,
        views: Sequence[str] = VIEWS,
    ) -> None:
        self.taken = {IMAGE_TOPICS[view]: 0 for view in views}
        self.rejected = {IMAGE_TOPICS[view]: 0 for view in views}
        self._node = node
        self._buffer = buffer
        self._last_raw = dict.fromkeys(views, float("-inf"))
        self._last_compressed = dict.fromkeys(views, float("-inf"))
        self._has_colour: dict[str, bool | None] = dict.fromkeys(views)
        self._were_damaged: dict[str, deque[bool]] = {view: deque(maxlen=_REMEMBERED) for view in views}
        self.subscriptions = [
            subscribe(
                node,
                kind,
                topic,
                partial(callback, view),
                qos_profile_sensor_data,
                partial(self._reject, view),
                callback_group=callback_group,
            )
            for view in views
            for kind, topic, callback in self._sources(view, transport)
        ]

    def counts(self) -> dict[str, int]:
        """For /diagnostics."""
        taken = {f"{topic} taken": count for topic, count in self.taken.items()}
        return taken | {f"{topic} rejected": count for topic, count in self.rejected.items()}

    def destroy(self) -> None:
        """Release the subscriptions."""
        for subscription in self.subscriptions:
            self._node.destroy_subscription(subscription)

    def _sources(self, view: str, transport: str) -> Sequence[tuple[type, str, Callable[..., None]]]:
        raw = (Image, IMAGE_TOPICS[view], self._on_raw)
        compressed = (CompressedImage, IMAGE_TOPICS[view] + COMPRESSED, self._on_compressed)
        return {"auto": (raw, compressed), "raw": (raw,), "compressed": (compressed,)}[transport]

    def _on_raw(self, view: str, message: ImageView) -> None:
        now = time.monotonic()
        if reason := self._add(view, message, partial(rgb_from_message, message)):
            self._reject(view, reason, is_blamed=now - self._last_compressed[view] > PREFERRED)
        else:
            self._last_raw[view] = now
            self._were_damaged[view].clear()

    def _on_compressed(self, view: str, message: CompressedImage) -> None:
        now = time.monotonic()
        if now - self._last_raw[view] <= PREFERRED:
            return
        if reason := self._add(view, message, partial(self._decompress, view, message)):
            self._reject(view, reason)
        else:
            self._last_compressed[view] = now

    def _decompress(self, view: str, message: CompressedImage) -> ImageArray | None:
        """None for one of the first."""
        were_damaged = self._were_damaged[view]
        were_damaged.append(True)
        image = rgb_from_compressed(message)
        were_damaged[-1] = False
        count, seen = sum(were_damaged), len(were_damaged)
        if count * _REMEMBERED > _MOST_DAMAGED * seen:
            raise ImageError(f"{count} of the last {counted(seen, 'frame')} were damaged: no other is believed either")
        return image if seen >= _LOOKED_AT_FIRST else None

    def _add(self, view: str, message: ImageView | CompressedImage, decode: Callable[[], ImageArray | None]) -> str:
        """Why it was no usable image; "" where it was one."""
        try:
            rgb = decode()
        except ImageError as error:
            return str(error)
        if rgb is None:
            return ""
        if not self._has_colour[view]:
            self._look_for_colour(view, rgb)
        self._buffer.add_image(view, rgb, stamp_to_seconds(message.header.stamp))
        self.taken[IMAGE_TOPICS[view]] += 1
        return ""

    def _look_for_colour(self, view: str, rgb: ImageArray) -> None:
        """Until there is some; a camera without is told of once."""
        has_colour = not np.array_equal(rgb[..., 0], rgb[..., 1]) or not np.array_equal(rgb[..., 1], rgb[..., 2])
        if not has_colour and self._has_colour[view] is None:
            self._node.get_logger().warning(
                f"{IMAGE_TOPICS[view]}: the picture has no colour; a policy that was trained on colours needs some"
            )
        self._has_colour[view] = has_colour

    def _reject(self, view: str, reason: str, *, is_blamed: bool = True) -> None:
        self.rejected[IMAGE_TOPICS[view]] += 1
        if is_blamed:
            self._buffer.reject_image(view, reason)
        else:
            text = f"{IMAGE_TOPICS[view]}: {reason}; its compressed frames are taken"
            self._node.get_logger().warning(text, throttle_duration_sec=60.0)
