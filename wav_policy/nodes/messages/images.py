"""sensor_msgs/Image and CompressedImage <-> uint8 RGB arrays."""

from __future__ import annotations

import array
import struct
import zlib
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from wav_models.types import ImageArray
from wav_policy.nodes.messages.limits import MAX_PIXELS, MessageError

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SCAN: Final = b"\xff\xda"
_MAX_SCANS: Final = 20
"""A progressive JPEG has about ten; every one costs a pass over the picture."""

_DIRECT: Final[dict[str, tuple[int, int | None]]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
}
"""Encoding -> channels, conversion. Read in place: cv_bridge ignores the padding of rows (`step`), and its pure-Python
edition misreads the channels of multi-channel encodings under OpenCV 5."""


class ImageError(MessageError):
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
    _check_size(width, height)
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

    What a decoder would repair is refused: lost bytes of a JPEG show as shifted or grey parts of a picture that passes
    for a whole one.

    Raises:
        ImageError: neither JPEG nor PNG, too large, or damaged.
    """
    data = bytes(message.data)
    try:
        if data.startswith(_JPEG):
            return _from_jpeg(data)
        if data.startswith(_PNG):
            return _from_png(data)
    except (ValueError, struct.error, cv2.error, MemoryError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot decode {len(data)} bytes of format {message.format!r}: {error}") from error
    raise ImageError(f"{len(data)} bytes of format {message.format!r} are neither JPEG nor PNG")


def _from_jpeg(data: bytes) -> ImageArray:
    height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=True)
    _check_size(width, height)
    if (scans := data.count(_SCAN)) > _MAX_SCANS:
        raise ImageError(f"JPEG of {scans} scans refused: at most {_MAX_SCANS} fit")
    return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True), dtype=np.uint8)


def _from_png(data: bytes) -> ImageArray:
    width, height = struct.unpack_from(">II", data, 16)
    _check_size(width, height)
    _check_png(data)
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError("damaged PNG")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _check_png(data: bytes) -> None:
    """ValueError unless every chunk is whole up to the last one."""
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, place)
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        if zlib.crc32(data[place + 4 : place + 8 + length]) != checksum:
            raise ValueError(f"checksum of PNG chunk {kind!r} is wrong")
        place += 12 + length


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise ImageError(f"image of {width} x {height} px refused: 1 to {MAX_PIXELS} pixels fit")


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
