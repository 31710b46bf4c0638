"""sensor_msgs/Image and CompressedImage <-> uint8 RGB arrays."""

from __future__ import annotations

import array
import re
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image

from wav_models.types import ImageArray
from wav_models.words import counted
from wav_policy.nodes.messages.limits import MAX_EDGE, MAX_PIXELS, MessageError, cut
from wav_policy.nodes.messages.serialized import ImageView

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SCAN: Final = b"\xff\xda"
_MAX_SCANS: Final = 20
"""A progressive JPEG has about ten; every one costs a pass over the picture."""


@dataclass(frozen=True)
class _Encoding:
    """How a picture lies in memory.

    Attributes:
        channels: numbers per pixel.
        conversion: of OpenCV, to RGB; None: it is RGB.
        wide: numbers have 16 bits, of which the upper 8 are shown.
        even: width must be even; of `planes` and mosaics the height too.
        planes: half as many rows of colour lie below those of brightness.
    """

    channels: int
    conversion: int | None
    wide: bool = False
    even: bool = False
    planes: bool = False


_COLOURS: Final = {
    "rgb": (3, None),
    "bgr": (3, cv2.COLOR_BGR2RGB),
    "rgba": (4, cv2.COLOR_RGBA2RGB),
    "bgra": (4, cv2.COLOR_BGRA2RGB),
    "mono": (1, cv2.COLOR_GRAY2RGB),
}
_MOSAICS: Final = {
    "bayer_rggb": cv2.COLOR_BayerBG2RGB,  # OpenCV names a mosaic after the second row and column
    "bayer_bggr": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg": cv2.COLOR_BayerGB2RGB,
}
_PACKED: Final = {
    ("yuv422", "uyvy"): cv2.COLOR_YUV2RGB_UYVY,
    ("yuv422_yuy2", "yuyv"): cv2.COLOR_YUV2RGB_YUY2,
}
_ENCODINGS: Final[dict[str, _Encoding]] = {
    **{f"{name}8": _Encoding(*form) for name, form in _COLOURS.items()},
    **{f"{name}16": _Encoding(*form, wide=True) for name, form in _COLOURS.items()},
    **{f"{name}8": _Encoding(1, code, even=True) for name, code in _MOSAICS.items()},
    **{f"{name}16": _Encoding(1, code, even=True, wide=True) for name, code in _MOSAICS.items()},
    **{name: _Encoding(2, code, even=True) for names, code in _PACKED.items() for name in names},
    "nv12": _Encoding(1, cv2.COLOR_YUV2RGB_NV12, even=True, planes=True),
    "nv21": _Encoding(1, cv2.COLOR_YUV2RGB_NV21, even=True, planes=True),
    "8UC1": _Encoding(*_COLOURS["mono"]),
    "8UC3": _Encoding(*_COLOURS["bgr"]),  # OpenCV's own order
    "8UC4": _Encoding(*_COLOURS["bgra"]),
}
"""By their names in sensor_msgs, the same everywhere: editions of cv_bridge know different ones, and its pure-Python
edition ignores the padding of rows (`step`). It is asked for what is not here."""
_NUMBERS: Final = re.compile(r"(16|32|64)[USF]C\d+|8SC\d+")
"""Encodings of measurements, such as depth, which cv_bridge would scale into something that looks like a picture."""


class ImageError(MessageError):
    """A message that is no usable image; says what is wrong with it."""


def rgb_from_message(message: Image | ImageView) -> ImageArray:
    """The picture, uint8, shape [H, W, 3], RGB; may share memory with the message.

    Args:
        message: of one of `_ENCODINGS`, or of another that the installed cv_bridge knows as a picture.

    Raises:
        ImageError: empty, shorter than its size says, or of an encoding that is no picture.
    """
    height, width, name = message.height, message.width, message.encoding
    _check_size(width, height)
    encoding = _ENCODINGS.get(name)
    if encoding is None:
        return _through_cv_bridge(message)
    if encoding.even and (width % 2 or (height % 2 and encoding.channels == 1)):
        raise ImageError(f"image of {width} x {height} px: {name} has an even number of them")
    pixels = _pixels(message, encoding)
    if encoding.conversion is None:
        return pixels
    return np.asarray(cv2.cvtColor(pixels, encoding.conversion), dtype=np.uint8)


def _pixels(message: Image | ImageView, encoding: _Encoding) -> ImageArray:
    """What lies in memory, uint8, without the padding of rows: [rows, W, channels], or [rows, W] of one channel."""
    rows = message.height * 3 // 2 if encoding.planes else message.height
    length = message.width * encoding.channels * (2 if encoding.wide else 1)
    step = message.step or length
    data = np.frombuffer(message.data, dtype=np.uint8)
    if step < length or len(data) < rows * step:
        raise ImageError(
            f"{message.width} x {message.height} {message.encoding} image with rows of {counted(step, 'byte')} has "
            f"only {counted(len(data), 'byte')}"
        )
    pixels = data[: rows * step].reshape(rows, step)[:, :length]
    if encoding.wide:
        pixels = pixels[:, 0 if message.is_bigendian else 1 :: 2]
    return pixels.reshape(rows, message.width, encoding.channels) if encoding.channels > 1 else pixels


def rgb_from_any(message: Image | CompressedImage) -> ImageArray:
    """The picture of either type, also of messages that another library has deserialised: uint8 RGB [H, W, 3].

    Raises:
        ImageError: as the two below and above.
    """
    return rgb_from_message(message) if hasattr(message, "encoding") else rgb_from_compressed(message)


def rgb_from_compressed(message: CompressedImage) -> ImageArray:
    """The decoded picture, uint8, shape [H, W, 3], RGB.

    What a decoder would repair is refused: lost bytes of a JPEG show as shifted or grey parts of a picture that passes
    for a whole one.

    Raises:
        ImageError: neither JPEG nor PNG, too large, damaged, or measurements such as depth.
    """
    data, source = bytes(message.data), message.format.partition(";")[0].strip()
    if _NUMBERS.fullmatch(source):
        raise ImageError(f"format {cut(message.format, 40)!r} is no picture but numbers, such as depth")
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
    if width < 1 or height < 1 or width * height > MAX_PIXELS or max(width, height) > MAX_EDGE:
        raise ImageError(
            f"image of {width} x {height} px refused: 1 to {MAX_PIXELS} pixels fit, at most {MAX_EDGE} of them in a row"
        )


def message_from_rgb(rgb: ImageArray, stamp: Time, frame_id: str = "") -> Image:
    """uint8 [H, W, 3] as an rgb8 message. `array.array` skips rclpy's check of every element."""
    height, width, _ = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp, message.header.frame_id = stamp, frame_id
    message.data = array.array("B", rgb.tobytes())
    return message


def _through_cv_bridge(message: Image | ImageView) -> ImageArray:
    name, known = cut(message.encoding, 40), ", ".join(sorted(_ENCODINGS))
    if _NUMBERS.fullmatch(message.encoding):
        raise ImageError(f"encoding {name!r} is no picture; publish one of: {known}")
    try:
        pixels = _bridge().imgmsg_to_cv2(message, desired_encoding="rgb8")
    except Exception as error:  # its editions raise CvBridgeError, KeyError, TypeError or cv2.error
        raise ImageError(f"encoding {name!r} is no picture; publish one of: {known}") from error
    if pixels.dtype != np.uint8 or pixels.shape != (message.height, message.width, 3):
        raise ImageError(f"encoding {name!r} became {pixels.dtype} {list(pixels.shape)}, not 8-bit RGB")
    return np.asarray(pixels, dtype=np.uint8)


@cache
def _bridge() -> Any:
    from cv_bridge import CvBridge

    return CvBridge()
