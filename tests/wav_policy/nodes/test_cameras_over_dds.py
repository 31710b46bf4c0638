"""Three cameras of different rates, phases and transports over DDS, one of them reconnecting, into one observation.

Stamps are simulated, so that the machine's speed does not matter; the pixel value of a frame tells its stamp.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from wav_models.presets import WAV_TINY
from wav_models.types import FloatArray
from wav_policy.robot.joints import JOINT_DIM

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from rclpy.serialization import serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from wav_policy.nodes.messages.images import message_from_rgb, rgb_from_message  # noqa: E402
from wav_policy.nodes.messages.joint_state import seconds_to_stamp  # noqa: E402
from wav_policy.nodes.messages.limits import decode  # noqa: E402
from wav_policy.nodes.runtime.camera_subscriptions import CameraSubscriptions  # noqa: E402
from wav_policy.policy.observation import NotReady, ObservationBuffer  # noqa: E402

pytestmark = pytest.mark.ros

START = 100.0
PATIENCE = 20.0
MEMORY_AGE = -WAV_TINY.horizon.memory_offsets[0] / WAV_TINY.horizon.step_hz
GREY_PER_SECOND = 50.0


@dataclass
class Camera:
    """Rate [Hz], phase [s], size and transport of one camera, and its publisher while it is connected."""

    view: str
    rate: float
    phase: float
    size: tuple[int, int]
    compressed: bool
    node: Node
    number: int = 0

    def __post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        topic = f"{self.view}/image_raw" + ("/compressed" if self.compressed else "")
        kind = CompressedImage if self.compressed else Image
        self.publisher = self.node.create_publisher(kind, topic, qos_profile_sensor_data)

    def disconnect(self) -> None:
        self.node.destroy_publisher(self.publisher)

    @property
    def due(self) -> float:
        return START + self.phase + self.number / self.rate

    def message(self) -> Image | CompressedImage:
        rgb = np.full((*self.size, 3), round(GREY_PER_SECOND * (self.due - START)), np.uint8)
        stamp = seconds_to_stamp(self.due)
        if not self.compressed:
            return message_from_rgb(rgb, stamp)
        message = CompressedImage(format="png", data=cv2.imencode(".png", rgb)[1].tobytes())
        message.header.stamp = stamp
        return message


class Rig:
    def __init__(self) -> None:
        self.node, self.driver = Node("viewer"), Node("drivers")
        self.now = START
        self.buffer = ObservationBuffer(WAV_TINY.horizon, WAV_TINY.latent.image_size, clock=lambda: self.now)
        self.subscriptions = CameraSubscriptions(self.node, self.buffer, "auto")
        self.cameras = {
            "head": Camera("head", 30.0, 0.0, (48, 84), False, self.driver),
            "left_wrist": Camera("left_wrist", 15.0, 0.041, (48, 64), True, self.driver),
            "right_wrist": Camera("right_wrist", 60.0, 0.007, (64, 64), False, self.driver),
        }

    def run_until(self, end: float, without: str = "") -> None:
        """Every camera's frames in the order of their stamps; each is awaited, so none is lost on the way."""
        active = [camera for camera in self.cameras.values() if camera.view != without]
        while (camera := min(active, key=lambda c: c.due)).due <= end:
            self.publish(camera)
            camera.number += 1
        self.now = end
        self.buffer.add_joint_state(np.zeros(JOINT_DIM), end)

    def publish(self, camera: Camera) -> None:
        message, topic, due = camera.message(), f"{camera.view}/image_raw", camera.due
        self.now = due
        deadline = time.monotonic() + PATIENCE
        while camera.publisher.get_subscription_count() < 1:
            assert time.monotonic() < deadline, f"no subscription to {topic}"
            time.sleep(0.01)
        camera.publisher.publish(message)
        while abs(self.buffer.ages(due)[topic]) > 1e-3:
            rclpy.spin_once(self.node, timeout_sec=0.05)
            if time.monotonic() > deadline - 0.9 * PATIENCE:  # best effort: a frame may have been lost
                camera.publisher.publish(message)
            assert time.monotonic() < deadline, f"{topic} did not arrive"

    def stamps(self, now: float) -> FloatArray:
        """Seconds since START of every frame of an observation, shape [V, F]."""
        return self.buffer.assemble(now, "go").images[..., 0, 0, 0].astype(np.float64) / GREY_PER_SECOND

    def skip(self, view: str, until: float) -> None:
        camera = self.cameras[view]
        while camera.due <= until:
            camera.number += 1


@pytest.fixture
def rig() -> Iterator[Rig]:
    rclpy.init()
    rig = Rig()
    yield rig
    rig.node.destroy_node()
    rig.driver.destroy_node()
    rclpy.try_shutdown()


def test_memory_frames_are_those_a_recording_at_the_models_rate_would_have_held(rig: Rig) -> None:
    """Per camera the newest frame not newer than now, and than 0.8 s ago, at 15, 30 and 60 Hz; also after one of them
    was unplugged, which is named meanwhile."""
    rig.run_until(START + 1.5)
    _check_frames(rig, 1.5)
    rig.cameras["left_wrist"].disconnect()
    rig.run_until(START + 2.0, without="left_wrist")
    with pytest.raises(NotReady, match=r"left_wrist/image_raw: newest message is 0\.\d+ s old"):
        rig.stamps(START + 2.0)
    rig.skip("left_wrist", START + 2.0)
    rig.cameras["left_wrist"].connect()
    rig.run_until(START + 3.0)
    _check_frames(rig, 3.0)


def _check_frames(rig: Rig, now: float) -> None:
    newest = max(c.due - START - 1.0 / c.rate for c in rig.cameras.values())
    found = rig.stamps(START + now)
    for camera, (memory, current) in zip(rig.cameras.values(), found, strict=True):
        tolerance = 0.6 / GREY_PER_SECOND  # grey levels are whole
        for stamp, wanted in ((memory, newest - MEMORY_AGE), (current, newest)):
            number = np.floor((wanted - camera.phase) * camera.rate + 1e-6)
            assert stamp == pytest.approx(camera.phase + number / camera.rate, abs=tolerance), camera.view


@pytest.mark.parametrize(("encoding", "pictures"), [("rgb8", 0), ("bgr8", 1)])
def test_a_raw_frame_is_read_where_it_lies(encoding: str, pictures: int) -> None:
    """300 kB come in and are resized into the buffer: beside a picture that is converted under 6 kB are allocated."""
    buffer = ObservationBuffer(WAV_TINY.horizon, WAV_TINY.latent.image_size)
    rng = np.random.default_rng(0)
    frames = [message_from_rgb(rng.integers(0, 255, (240, 424, 3), np.uint8), seconds_to_stamp(0.0)) for _ in range(8)]
    for message in frames:
        message.encoding = encoding
    for number, data in enumerate([serialize_message(message) for message in frames]):
        if number == 4:  # everything is imported and warm
            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
        buffer.add_image("head", rgb_from_message(decode(Image, data)), START + number / 30.0)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert peak < pictures * 240 * 424 * 3 + 6000
