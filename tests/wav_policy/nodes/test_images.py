"""Pictures from the network: whole ones are decoded, all others refused with a reason, soon."""

from __future__ import annotations

import array
import struct
import time
import zlib
from contextlib import suppress

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rclpy")

from cv_bridge import CvBridge
from sensor_msgs.msg import CompressedImage, Image

from wav_models.types import ImageArray
from wav_policy.nodes.messages.images import ImageError, rgb_from_compressed, rgb_from_message


def picture() -> ImageArray:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return np.asarray(cv2.normalize(smooth, smooth, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


RGB = picture()
JPEG = cv2.imencode(".jpg", cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
PNG = cv2.imencode(".png", cv2.cvtColor(RGB, cv2.COLOR_RGB2BGR))[1].tobytes()


def compressed(data: bytes, kind: str = "jpeg") -> CompressedImage:
    return CompressedImage(format=kind, data=array.array("B", data))


def png(width: int, height: int, rows: int) -> bytes:
    """A valid PNG of zeros whose header claims that size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(bytes((3 * width + 1) * rows)))
        + chunk(b"IEND", b"")
    )


def jpeg_of_size(width: int, height: int) -> bytes:
    """One whose header claims that size."""
    place = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:place] + struct.pack(">HH", height, width) + JPEG[place + 4 :]


def test_whole_pictures_are_decoded() -> None:
    np.testing.assert_array_equal(rgb_from_compressed(compressed(PNG, "png")), RGB)
    error = np.abs(rgb_from_compressed(compressed(JPEG)).astype(int) - RGB)
    assert error.mean() < 3.0


def test_grey_and_progressive_jpegs_are() -> None:
    grey = cv2.imencode(".jpg", RGB[..., 0])[1].tobytes()
    assert rgb_from_compressed(compressed(grey)).shape == RGB.shape
    progressive = cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert rgb_from_compressed(compressed(progressive)).shape == RGB.shape


@pytest.mark.parametrize("form", ["16UC1; png compressed ", "32FC1; compressedDepth png", "16UC1 ; png"])
def test_depth_is_no_picture_though_it_is_a_png(form: str) -> None:
    with pytest.raises(ImageError, match="no picture but numbers"):
        rgb_from_compressed(compressed(PNG, form))


@pytest.mark.parametrize(
    "form", ["jpeg", "png", "", "rgb8; jpeg compressed bgr8", "bgr8; png compressed ", "mono16; png"]
)
def test_what_a_format_says_of_a_picture_does_not_matter(form: str) -> None:
    assert rgb_from_compressed(compressed(PNG, form)).shape == RGB.shape


@pytest.mark.parametrize("whole", [JPEG, PNG], ids=["jpeg", "png"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_picture_that_ends_early_is_refused(whole: bytes, kept: float) -> None:
    with pytest.raises(ImageError):
        rgb_from_compressed(compressed(whole[: int(kept * len(whole))]))


@given(st.integers(0, len(PNG) - 1), st.integers(1, 255))
@settings(deadline=None, max_examples=50)
def test_any_changed_byte_of_a_png_is_noticed(place: int, change: int) -> None:
    data = bytearray(PNG)
    data[place] ^= change
    with pytest.raises(ImageError):
        rgb_from_compressed(compressed(bytes(data)))


def test_a_damaged_png_is_noticed_where_the_decoder_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some editions of OpenCV show what they could read."""
    data = bytearray(PNG)
    data[len(PNG) // 2] ^= 1
    monkeypatch.setattr(cv2, "imdecode", lambda *_: RGB.copy())
    assert rgb_from_compressed(compressed(PNG)).shape == RGB.shape
    with pytest.raises(ImageError, match="checksum of PNG chunk b'IDAT' is wrong"):
        rgb_from_compressed(compressed(bytes(data)))
    with pytest.raises(ImageError, match="cannot decode"):
        rgb_from_compressed(compressed(PNG[:-12]))


def test_a_jpeg_that_the_decoder_had_to_repair_is_refused() -> None:
    """Bytes lost, zeroed or garbled. Where the codes happen to come out even nothing tells it: a fifth of the time."""
    rng = np.random.default_rng(1)
    accepted = 0
    for trial in range(300):
        data = bytearray(JPEG)
        place, length = int(rng.integers(700, len(data) - 600)), int(rng.integers(1, 512))
        if trial % 3 == 0:
            del data[place : place + length]
        else:
            data[place : place + length] = bytes(length) if trial % 3 == 1 else rng.bytes(length)
        try:
            rgb_from_compressed(compressed(bytes(data)))
            accepted += 1
        except ImageError:
            pass
    assert accepted < 90


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(20_000, 20_000, 100), "image of 20000 x 20000 px refused"),
        (png(60_000, 60_000, 1), "image of 60000 x 60000 px refused"),
        (png(0, 10, 0), "image of 0 x 10 px refused"),
        (png(1000, 1000, 1), "cannot decode"),
        (jpeg_of_size(20_000, 20_001), "image of 20000 x 20001 px refused"),
        (b"", "0 bytes of format 'jpeg' are neither JPEG nor PNG"),
        (b"\xff\xd8\xff" + bytes(50), "cannot decode"),
        (JPEG[:-2] + 300 * b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + JPEG[-2:], "scans refused"),
        (b"RIFF" + bytes(100), "neither JPEG nor PNG"),
    ],
    ids=range(9),
)
def test_a_bomb_is_refused_by_its_header(data: bytes, reason: str) -> None:
    start = time.process_time()
    with pytest.raises(ImageError, match=reason):
        rgb_from_compressed(compressed(data))
    assert time.process_time() - start < 0.2


@given(st.sampled_from([b"", JPEG[:3], PNG[:8], JPEG[:600], PNG[:100]]), st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_are_a_picture_or_refused(beginning: bytes, data: bytes) -> None:
    with suppress(ImageError):
        assert rgb_from_compressed(compressed(beginning + data)).dtype == np.uint8


SIZES = st.sampled_from([0, 1, 2, 480, 2**31, 2**32 - 1])
ENCODINGS = ["rgb8", "bgr8", "mono8", "16UC1", "32FC3", "bayer_rggb8", "", "x" * 5000, "64FC4", "yuv422", "8UC40"]


@given(SIZES, SIZES, SIZES, st.sampled_from(ENCODINGS), st.sampled_from([0, 1, 1000, 4000]))
@settings(deadline=None, max_examples=300)
def test_any_claims_of_a_raw_message_are_a_picture_or_refused(
    height: int, width: int, step: int, encoding: str, size: int
) -> None:
    message = Image(height=height, width=width, step=step, encoding=encoding, data=array.array("B", bytes(size)))
    with suppress(ImageError):
        assert rgb_from_message(message).dtype == np.uint8


BLOCKS = np.repeat(np.array([[(200, 30, 10), (10, 180, 40), (20, 40, 220)]], np.uint8), 8, axis=1).repeat(16, axis=0)
"""Three flat colours, 16 x 24 px."""


def packed(first: str) -> ImageArray:
    """4:2:2 of BLOCKS; "y" or "u" comes first."""
    luma, blue, red = (
        plane.reshape(plane_shape) for plane, plane_shape in zip(planes(), ((16, 24), *2 * [(8, 12)]), strict=True)
    )
    chroma = np.stack([blue, red], axis=-1).repeat(2, axis=0).reshape(16, 24)
    pair = (luma, chroma) if first == "y" else (chroma, luma)
    return np.stack(pair, axis=-1).reshape(16, 48)


def planes() -> tuple[ImageArray, ImageArray, ImageArray]:
    """Y, and U and V of every second row and column, as OpenCV makes them (BT.601)."""
    flat = cv2.cvtColor(BLOCKS, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    return flat[:384], flat[384:480], flat[480:]


def semi_planar(second: str) -> ImageArray:
    luma, blue, red = planes()
    colours = (blue, red) if second == "u" else (red, blue)
    return np.concatenate([luma, np.stack(colours, axis=-1).reshape(-1)]).reshape(24, 24)


def mosaic(pattern: str) -> ImageArray:
    out = np.zeros((16, 24), np.uint8)
    for place, letter in enumerate(pattern):
        row, column = divmod(place, 2)
        out[row::2, column::2] = BLOCKS[row::2, column::2, "rgb".index(letter)]
    return out


GREY = cv2.cvtColor(BLOCKS, cv2.COLOR_RGB2GRAY)
BGR = np.ascontiguousarray(BLOCKS[..., ::-1])
ALPHA = np.full((16, 24, 1), 7, np.uint8)


def wide(values: np.ndarray) -> np.ndarray:
    """With 16 bits, of which the lower 8 are another picture."""
    return values.astype("<u2") * 256 + (255 - values)


RAW = {
    "rgb8": BLOCKS,
    "bgr8": BGR,
    "8UC3": BGR,
    "rgba8": np.concatenate([BLOCKS, ALPHA], axis=2),
    "bgra8": np.concatenate([BGR, ALPHA], axis=2),
    "8UC4": np.concatenate([BGR, ALPHA], axis=2),
    "mono8": GREY,
    "8UC1": GREY,
    "rgb16": wide(BLOCKS),
    "bgr16": wide(BGR),
    "mono16": wide(GREY),
    "yuv422": packed("u"),
    "uyvy": packed("u"),
    "yuv422_yuy2": packed("y"),
    "yuyv": packed("y"),
    "nv12": semi_planar("u"),
    "nv21": semi_planar("v"),
    **{f"bayer_{pattern}8": mosaic(pattern) for pattern in ("rggb", "bggr", "gbrg", "grbg")},
    **{f"bayer_{pattern}16": wide(mosaic(pattern)) for pattern in ("rggb", "grbg")},
}


def raw(encoding: str, padding: int = 0) -> Image:
    pixels = RAW[encoding]
    rows = pixels.reshape(len(pixels), -1)
    padded = np.pad(rows.view(np.uint8), ((0, 0), (0, padding)), constant_values=99)
    data = array.array("B", padded.tobytes())
    return Image(height=16, width=24, step=padded.shape[1], encoding=encoding, data=data)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("encoding", RAW)
def test_every_encoding_shows_the_same_colours(encoding: str, padding: int) -> None:
    shown = rgb_from_message(raw(encoding, padding))
    assert (shown.shape, shown.dtype) == ((16, 24, 3), np.uint8)
    wanted = cv2.cvtColor(GREY, cv2.COLOR_GRAY2RGB) if encoding in ("mono8", "mono16", "8UC1") else BLOCKS
    inside = np.s_[4:12, [3, 4, 11, 12, 19, 20]]  # not where a mosaic or halved colour blurs
    np.testing.assert_allclose(shown[inside].astype(int), wanted[inside].astype(int), atol=4)


@pytest.mark.parametrize("encoding", ["rgb16", "mono16", "bayer_rggb16"])
def test_numbers_of_the_other_byte_order(encoding: str) -> None:
    little, big = raw(encoding), raw(encoding)
    big.is_bigendian = 1
    big.data = array.array("B", np.frombuffer(little.data, "<u2").astype(">u2").tobytes())
    np.testing.assert_array_equal(rgb_from_message(big), rgb_from_message(little))


@pytest.mark.parametrize("encoding", RAW)
def test_raw_data_that_ends_early_is_refused(encoding: str) -> None:
    message = raw(encoding)
    message.data = message.data[:-9]
    with pytest.raises(ImageError, match="has only"):
        rgb_from_message(message)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "64FC4", "", "RGB8", "x" * 5000])
def test_what_is_no_picture_is_named_with_what_is(encoding: str) -> None:
    with pytest.raises(ImageError, match="is no picture; publish one of: 8UC1, .*yuyv") as refused:
        rgb_from_message(Image(height=2, width=2, encoding=encoding, data=array.array("B", bytes(64))))
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(("encoding", "width", "height"), [("uyvy", 3, 2), ("nv12", 4, 3), ("bayer_rggb8", 3, 4)])
def test_odd_sizes_of_what_comes_in_pairs_are_refused(encoding: str, width: int, height: int) -> None:
    with pytest.raises(ImageError, match="even"):
        rgb_from_message(Image(height=height, width=width, encoding=encoding, data=array.array("B", bytes(64))))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "bayer_rggb8", "8UC3"])
def test_cv_bridge_sees_the_same_picture(encoding: str) -> None:
    """Another project's reading of the same message."""
    message = raw(encoding)
    theirs = CvBridge().imgmsg_to_cv2(message, "passthrough" if encoding == "8UC3" else "rgb8")
    np.testing.assert_array_equal(rgb_from_message(message), theirs[..., ::-1] if encoding == "8UC3" else theirs)
