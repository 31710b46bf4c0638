"""Pictures of what the cameras saw beside what had been imagined for the same instant."""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from wav_models.types import ImageArray
from wav_policy.nodes.messages.images import rgb_from_message
from wav_policy.nodes.messages.joint_state import stamp_to_seconds
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.robot.cameras import VIEWS

_KEPT = 150
"""Real frames per view that wait for an imagined one: 5 s at 30 Hz."""

_HEIGHT = 240
_MATCH = 0.05
"""Largest difference between the times of a real and an imagined frame [s]."""


class Pictures:
    """Saves one PNG per imagined instant: the three cameras above, what had been imagined of them below.

    Args:
        node: gets six subscriptions.
        directory: created if needed; files are named by the time [s] since the first picture.

    Attributes:
        saved: number of files written.
    """

    def __init__(self, node: Node, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._real: dict[str, deque[Image]] = {view: deque(maxlen=_KEPT) for view in VIEWS}
        self._imagined: dict[float, dict[str, Image]] = {}
        self._first: float | None = None
        self.saved = 0
        for view in VIEWS:
            subscribe(node, Image, f"{view}/image_raw", partial(self._on_real, view), qos_profile_sensor_data)
            subscribe(node, Image, f"imagined/{view}/image_raw", partial(self._on_imagined, view), 10)

    def _on_real(self, view: str, message: Image) -> None:
        self._real[view].append(message)

    def _on_imagined(self, view: str, message: Image) -> None:
        self._imagined.setdefault(stamp_to_seconds(message.header.stamp), {})[view] = message
        newest = max((stamp_to_seconds(images[-1].header.stamp) for images in self._real.values() if images), default=0)
        for stamp in [stamp for stamp in self._imagined if stamp < newest]:
            self._save(stamp, self._imagined.pop(stamp))

    def _save(self, stamp: float, imagined: dict[str, Image]) -> None:
        real = {view: nearest for view in VIEWS if (nearest := _nearest(self._real[view], stamp)) is not None}
        if len(real) < len(VIEWS) or len(imagined) < len(VIEWS):
            return
        rows = [[rgb_from_message(images[view]) for view in VIEWS] for images in (real, imagined)]
        shapes = [image.shape for image in rows[0]]
        picture = np.vstack([_row(row, shapes) for row in rows])
        self._first = stamp if self._first is None else self._first
        file = self._directory / f"real_above_imagined_{stamp - self._first:07.2f}.png"
        cv2.imwrite(str(file), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        self.saved += 1


def _nearest(images: deque[Image], stamp: float) -> Image | None:
    best = min(images, key=lambda image: abs(stamp_to_seconds(image.header.stamp) - stamp), default=None)
    if best is None or abs(stamp_to_seconds(best.header.stamp) - stamp) > _MATCH:
        return None
    return best


def _row(images: list[ImageArray], shapes: list[tuple[int, ...]]) -> ImageArray:
    """Images side by side, each at the size of the real one of its view (all of one height)."""
    scaled = []
    for image, (height, width, _) in zip(images, shapes, strict=True):
        size = (round(width * _HEIGHT / height), _HEIGHT)
        scaled.append(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8))
    return np.hstack(scaled)
