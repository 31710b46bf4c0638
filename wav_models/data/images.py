"""The one image resize of the project: training, evaluation and the live observation all go through it."""

from __future__ import annotations

import cv2
import numpy as np

from wav_models.types import ImageArray


def resize_image(rgb: ImageArray, size: tuple[int, int], out: ImageArray | None = None) -> ImageArray:
    """Resize by area averaging; the aspect ratio is not kept, as in the official WAV data pipeline.

    Args:
        rgb: uint8, shape [H, W, 3].
        size: (height, width) wanted [px].
        out: where to write the result, uint8, contiguous, shape [*size, 3]; None = a new array.

    Returns:
        uint8, shape [*size, 3]; without `out`, the input itself where it already has that size.

    Raises:
        ValueError: the image is not a non-empty uint8 [H, W, 3] array, or the size is not positive.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ValueError(f"expected a non-empty uint8 image [H, W, 3], got {rgb.dtype} {list(rgb.shape)}")
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"image size (height, width) must be positive, got {size}")
    if rgb.shape[:2] == (height, width):
        if out is None:
            return rgb
        out[:] = rgb
        return out
    return np.asarray(cv2.resize(rgb, (width, height), dst=out, interpolation=cv2.INTER_AREA), dtype=np.uint8)
