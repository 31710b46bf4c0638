"""Compressed frames of a camera whose cable loses bytes."""

from __future__ import annotations

import array
import random
from collections.abc import Iterator

import cv2
import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from wav_models.types import ImageArray  # noqa: E402
from wav_policy.nodes.runtime import camera_subscriptions  # noqa: E402
from wav_policy.nodes.runtime.camera_subscriptions import PREFERRED, CameraSubscriptions  # noqa: E402
from wav_policy.nodes.sim_workers import damaged_jpeg_message  # noqa: E402

pytestmark = pytest.mark.ros


class Sink:
    """Keeps what a camera is taken to have seen, and why not."""

    def __init__(self) -> None:
        self.images: list[ImageArray] = []
        self.reasons: list[str] = []

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        self.images.append(rgb)

    def reject_image(self, view: str, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture
def sink_and_cameras() -> Iterator[tuple[Sink, CameraSubscriptions]]:
    rclpy.init()
    node, sink = rclpy.create_node("eyes"), Sink()
    yield sink, CameraSubscriptions(node, sink, "compressed")
    node.destroy_node()
    rclpy.shutdown()


LOOKED_AT = 3
"""Compressed frames that come first."""


def scene(number: int) -> ImageArray:
    rng = np.random.default_rng(number)
    return cv2.resize(rng.integers(0, 255, (24, 32, 3), dtype=np.uint8), (320, 240))


def whole(number: int) -> CompressedImage:
    return CompressedImage(format="jpeg", data=cv2.imencode(".jpg", scene(number))[1].tobytes())


def test_where_most_frames_are_damaged_none_is_believed(sink_and_cameras: tuple[Sink, CameraSubscriptions]) -> None:
    sink, cameras = sink_and_cameras
    rng = random.Random(0)
    for number in range(300):
        cameras._on_compressed("head", damaged_jpeg_message(scene(number), "head", rng))
    assert not sink.images
    assert any("frames were damaged: no other is believed" in reason for reason in sink.reasons)
    before = len(sink.images)
    for number in range(40):
        cameras._on_compressed("head", whole(number))
    assert len(sink.images) - before >= 40 - 16


def test_damage_that_goes_unnoticed_is_not_believed_after_raw_frames_either(
    both: tuple[Sink, CameraSubscriptions],
) -> None:
    """As where a camera falls back to JPEG over a bad cable: one frame of five seems whole."""
    sink, cameras = both
    for number in range(20):
        cameras._on_compressed("head", whole(number))
    cameras._on_raw("head", raw("rgb8"))
    before = len(sink.images)
    cameras._last_raw["head"] -= PREFERRED
    lost = CompressedImage(format="jpeg", data=whole(0).data[:500])
    for number in range(300):
        cameras._on_compressed("head", whole(number) if number % 5 == 0 else lost)
    assert len(sink.images) == before
    cameras._on_raw("head", raw("rgb8"))
    cameras._last_raw["head"] -= PREFERRED
    for number in range(10):
        cameras._on_compressed("head", whole(number))
    assert len(sink.images) == before + 1 + 10 - LOOKED_AT, "the raw one, and all but the first"


def test_a_frame_lost_now_and_then_costs_itself_only(sink_and_cameras: tuple[Sink, CameraSubscriptions]) -> None:
    sink, cameras = sink_and_cameras
    lost = CompressedImage(format="jpeg", data=whole(0).data[:500])
    for number in range(60):
        cameras._on_compressed("head", lost if number % 10 == 5 else whole(number))
    assert (len(sink.images), len(sink.reasons)) == (54 - LOOKED_AT, 6)


@pytest.fixture
def both() -> Iterator[tuple[Sink, CameraSubscriptions]]:
    rclpy.init()
    node, sink = rclpy.create_node("eyes"), Sink()
    yield sink, CameraSubscriptions(node, sink, "auto")
    node.destroy_node()
    rclpy.shutdown()


def raw(encoding: str) -> Image:
    return Image(height=240, width=320, encoding=encoding, data=array.array("B", scene(1).tobytes()))


def test_where_raw_frames_are_no_pictures_the_compressed_ones_are_taken(
    both: tuple[Sink, CameraSubscriptions],
) -> None:
    """And the camera is not blamed any more for what nobody needs."""
    sink, cameras = both
    for number in range(10):
        cameras._on_raw("head", raw("depth"))
        cameras._on_compressed("head", whole(number))
    assert len(sink.images) == 10 - LOOKED_AT
    assert len(sink.reasons) == 1, "before the first compressed frame"
    assert cameras.rejected["head/image_raw"] == 10, "all are counted"


def test_where_both_are_good_one_is_decoded(
    both: tuple[Sink, CameraSubscriptions], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, cameras = both
    decoded: list[CompressedImage] = []
    monkeypatch.setattr(camera_subscriptions, "rgb_from_compressed", decoded.append)
    for number in range(10):
        cameras._on_raw("head", raw("rgb8"))
        cameras._on_compressed("head", whole(number))
    assert len(sink.images) == 10
    assert all(np.array_equal(image, scene(1)) for image in sink.images)
    assert not decoded


def test_a_camera_without_colour_is_told_of_once(
    both: tuple[Sink, CameraSubscriptions], capfd: pytest.CaptureFixture[str]
) -> None:
    _, cameras = both
    grey = Image(height=2, width=2, encoding="mono8", data=array.array("B", bytes(4)))
    for _ in range(5):
        cameras._on_raw("head", grey)
        cameras._on_raw("left_wrist", raw("rgb8"))
    text = capfd.readouterr().err
    assert text.count("head/image_raw: the picture has no colour") == 1
    assert "left_wrist" not in text
