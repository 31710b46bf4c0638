"""Read noise of a camera's sensor: no two pictures of a live camera are the same, whatever it looks at.

The renderer draws a scene at rest the same to the last bit, which from a real camera means that it is frozen
(`wav_policy.policy.observation`).
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from wav_models.types import ImageArray

READ_NOISE: Final = 1.0
"""Standard deviation [grey levels of 8 bits]; cameras of this kind have 1 to 3."""

_NUM_OFFSETS: Final = 4096


class ReadNoise:
    """Noise made once and laid over every picture at another place: 30 us for 240 x 424 px.

    Args:
        num_values: height x width x 3 of the largest picture.
    """

    def __init__(self, num_values: int) -> None:
        self._rng = np.random.default_rng(0)
        noise = np.rint(self._rng.normal(0.0, READ_NOISE, num_values + _NUM_OFFSETS))
        self._brighter = np.maximum(noise, 0.0).astype(np.uint8)
        self._darker = np.maximum(-noise, 0.0).astype(np.uint8)
        self._offset = 0

    def __call__(self, image: ImageArray) -> ImageArray:
        """The picture with noise, a new array; uint8, shape [H, W, 3], saturating at 0 and 255."""
        self._offset = (self._offset + int(self._rng.integers(1, _NUM_OFFSETS))) % _NUM_OFFSETS
        here = slice(self._offset, self._offset + image.size)
        brighter, darker = self._brighter[here].reshape(image.shape), self._darker[here].reshape(image.shape)
        return np.asarray(cv2.subtract(cv2.add(image, brighter), darker), dtype=np.uint8)
