"""sensor_msgs/Image and CompressedImage <-> uint8 RGB arrays."""

from __future__ import annotations

import array
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from wav_models.types import ImageArray

_DIRECT: Final[dict[str, tuple[int, int | None]]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""Encoding -> channels, conversion. Read in place: cv_bridge ignores the padding of rows (`step`), and its pure-Python
edition misreads the channels of multi-channel encodings under OpenCV 5."""


class ImageError(ValueError):
    """A message that is no usable image; says what is wrong with it."""


def rgb_from_message(message: Image, *, in_place: bool = False) -> ImageArray:
    """The picture, uint8, shape [H, W, 3], RGB; may share memory with the message.

    Args:
        message: any encoding that cv_bridge knows.
        in_place: the message is not used any more: bgr8 may be converted in its own memory.

    Raises:
        ImageError: empty, shorter than its size says, or of an encoding nobody can convert.
    """
    height, width, encoding = message.height, message.width, message.encoding
    if height < 1 or width < 1:
        raise ImageError(f"image of {width} x {height} px")
    if encoding not in _DIRECT:
        return _through_cv_bridge(message)
    channels, conversion = _DIRECT[encoding]
    step = message.step or width * channels
    data = np.frombuffer(message.data, dtype=np.uint8)
    if step < width * channels or len(data) < height * step:
        raise ImageError(f"{width} x {height} {encoding} image with rows of {step} bytes has only {len(data)} bytes")
    pixels = data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    if conversion is None:
        return pixels
    out = pixels if in_place and channels == 3 and pixels.flags.writeable else None
    return np.asarray(cv2.cvtColor(pixels, conversion, dst=out), dtype=np.uint8)


def rgb_from_compressed(message: CompressedImage) -> ImageArray:
    """The decoded picture, uint8, shape [H, W, 3], RGB.

    Raises:
        ImageError: OpenCV cannot decode it.
    """
    data = np.frombuffer(message.data, dtype=np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if pixels is None:
        raise ImageError(f"cannot decode {len(data)} bytes of format {message.format!r}")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def message_from_rgb(rgb: ImageArray, stamp: Time, frame_id: str = "") -> Image:
    """uint8 [H, W, 3] as an rgb8 message. `array.array` skips rclpy's check of every element."""
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = array.array("B", rgb.tobytes())
    return message


def _through_cv_bridge(message: Image) -> ImageArray:
    try:
        pixels = _bridge().imgmsg_to_cv2(message, desired_encoding="rgb8")
    except Exception as error:  # its editions raise CvBridgeError, KeyError, TypeError or cv2.error
        raise ImageError(
            f"cannot convert encoding {message.encoding!r} to rgb8 ({error}); publish rgb8 or bgr8"
        ) from error
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ImageError(f"encoding {message.encoding!r} became {pixels.dtype} {list(pixels.shape)}, not 8-bit RGB")
    return np.asarray(pixels, dtype=np.uint8)


@cache
def _bridge() -> Any:
    from cv_bridge import CvBridge

    return CvBridge()
