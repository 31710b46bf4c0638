"""Colour jitter and random crop where latents are cached: every episode is encoded several times, each time otherwise.

One draw per episode, encoding and view holds for all images, since neither the colours nor the aim of a camera change
between what is remembered and what is imagined.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wav_models.training.config import AugmentationConfig
from wav_models.types import ImageArray

LUMA = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (ITU-R BT.601)."""


def augment(images: ImageArray, config: AugmentationConfig, rng: np.random.Generator) -> ImageArray:
    """Images [n, V, H, W, 3] in other colours and cut out of themselves, at the same size."""
    augmented = np.empty_like(images)
    size = images.shape[3], images.shape[2]
    for view in range(images.shape[1]):
        colours, offset = _colours(config, rng)
        top, left = rng.uniform(0.0, 1.0 - config.crop, 2)
        rows, columns = (_cut(start, config.crop, length) for start, length in ((top, size[1]), (left, size[0])))
        for image, target in zip(images[:, view, rows, columns], augmented[:, view], strict=True):
            jittered = cv2.transform(image.astype(np.float32), np.column_stack([colours, offset]))
            target[:] = cv2.resize(jittered, size, interpolation=cv2.INTER_LINEAR).round().clip(0, 255)
    return augmented


def _colours(config: AugmentationConfig, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Brightness, saturation, contrast about mid-grey: a matrix [3, 3] for colours from 0 to 255, and what is added."""
    jitter = config.brightness, config.saturation, config.contrast
    brightness, saturation, contrast = (rng.uniform(1.0 - width, 1.0 + width) for width in jitter)
    mixed = saturation * np.eye(3) + (1.0 - saturation) * LUMA
    return brightness * contrast * mixed, np.full(3, (1.0 - contrast) * 127.5)


def _cut(start: float, share: float, length: int) -> slice:
    """That share of `length` pixels."""
    first = round(start * length)
    return slice(first, first + max(1, round(share * length)))
