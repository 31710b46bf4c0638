"""What the simulation does by itself, each in a thread of its own: physics, cameras, and how the joints really move."""

from __future__ import annotations

import array
import random
import threading
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, JointState

from wav_models.types import ImageArray
from wav_policy.nodes.messages.images import message_from_rgb
from wav_policy.nodes.messages.qos import SENSOR_DATA
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS
from wav_policy.robot.description import Camera, camera_frame, cameras
from wav_policy.robot.joints import JOINT_NAMES
from wav_policy.sim.cameras import Cameras
from wav_policy.sim.firmware import SimulatedArm
from wav_policy.sim.read_noise import ReadNoise
from wav_policy.sim.ticks import ticks

if TYPE_CHECKING:
    from wav_policy.sim.world import World

_WINDOW: Final = 2.0
"""Over which rates are measured [s]."""

_JOINT_PERIOD: Final = 0.02


class SimWorker(threading.Thread):
    """Calls `work()` every `period` [s] until stopped; an exception in it is kept in `fault` and ends the thread."""

    def __init__(self, name: str, period: float) -> None:
        super().__init__(name=name, daemon=True)
        self.fault: BaseException | None = None
        self._period = period
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        try:
            self.prepare()
            for _ in ticks(self._period, self._stopping):
                self.work()
        except Exception as error:
            self.fault = error

    def prepare(self) -> None:
        """What must happen in the thread itself before the first `work`."""

    def work(self) -> None:
        """One turn."""
        raise NotImplementedError


class Physics(SimWorker):
    """Advances world and arms together, as fast as the clock on the wall or slower.

    Args:
        world: of the arms.
        arms: have their turn after every step, so that they tell of each where they have got to.
        period: of a step and of the arms' ticks [s].
    """

    def __init__(self, world: World, arms: Collection[SimulatedArm], period: float) -> None:
        super().__init__("physics", period)
        self._world = world
        self._arms = arms
        self._window_start = time.monotonic()
        self._advanced = 0.0
        self.real_time_factor = 1.0

    def work(self) -> None:
        self._world.step(self._period)
        for arm in self._arms:
            arm.turn()
        now = time.monotonic()
        self._advanced += self._period
        if now - self._window_start >= _WINDOW:
            self.real_time_factor = self._advanced / (now - self._window_start)
            self._window_start, self._advanced = now, 0.0


class JointFeed(SimWorker):
    """Publishes how the joints really move, past arms, buses and driver; nothing while nobody listens."""

    def __init__(self, node: Node, world: World) -> None:
        super().__init__("joints", _JOINT_PERIOD)
        self._node = node
        self._world = world
        self._publisher = node.create_publisher(JointState, "sim/joint_states", SENSOR_DATA)

    def work(self) -> None:
        if self._publisher.get_subscription_count() == 0:
            return
        with self._world.lock:
            position, velocity = self._world.joint_positions, self._world.joint_velocities
        message = JointState(name=list(JOINT_NAMES), position=position.tolist(), velocity=velocity.tolist())
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


class CameraFeed(SimWorker):
    """Renders all views from one snapshot of the world and publishes them, with read noise and the snapshot's time."""

    def __init__(self, node: Node, world: World, rate: float) -> None:
        super().__init__("cameras", 1.0 / rate)
        self._node = node
        self._world = world
        self._state = world.snapshot()
        self._noise = ReadNoise(3 * max(height * width for height, width in IMAGE_SIZES.values()))
        self._publishers = {view: node.create_publisher(Image, f"{view}/image_raw", SENSOR_DATA) for view in VIEWS}
        self._infos = {camera.view: camera_info(camera) for camera in cameras()}
        self._calibrations = {
            view: node.create_publisher(CameraInfo, f"{view}/camera_info", SENSOR_DATA) for view in VIEWS
        }
        self._window_start = time.monotonic()
        self._count = 0
        self._last: dict[str, Image] = {}
        self._jpegs: dict[str, Publisher] = {}
        self._rng = random.Random(0)
        self.faults: dict[str, str] = {}
        """By view; see `wav_policy.sim.camera_faults`."""
        self.rate = rate
        self.seconds = 0.0

    def prepare(self) -> None:
        self._cameras = Cameras(self._world.model)

    def work(self) -> None:
        start = time.monotonic()
        stamp = self._node.get_clock().now().to_msg()
        self._world.snapshot(self._state)
        for view, publisher in self._publishers.items():
            message = self._picture(view)
            if message is not None:
                message.header.stamp = stamp
                to = self._compressed(view) if isinstance(message, CompressedImage) else publisher
                to.publish(message)
                if self._calibrations[view].get_subscription_count():
                    self._infos[view].header.stamp = stamp
                    self._calibrations[view].publish(self._infos[view])
        self.seconds += 0.1 * (time.monotonic() - start - self.seconds)
        self._count += 1
        if start - self._window_start >= _WINDOW:
            self.rate = self._count / (start - self._window_start)
            self._window_start, self._count = start, 0

    def _compressed(self, view: str) -> Publisher:
        """Made when it is needed first: a topic without anything to come would be taken for a camera's."""
        if view not in self._jpegs:
            topic = f"{view}/image_raw/compressed"
            self._jpegs[view] = self._node.create_publisher(CompressedImage, topic, SENSOR_DATA)
        return self._jpegs[view]

    def _picture(self, view: str) -> Image | CompressedImage | None:
        """What the camera sends now; None if nothing."""
        fault = self.faults.get(view)
        if fault == "dropped":
            return None
        if fault == "frozen" and view in self._last:
            return self._last[view]
        image = self._noise(self._cameras.render(view, self._state))
        if fault == "damaged_jpeg":
            return damaged_jpeg_message(image, camera_frame(view), self._rng)
        shown = np.ascontiguousarray(image[::3, ::3]) if fault == "odd_size" else image
        message = message_from_rgb(shown, Time(), camera_frame(view))
        if fault == "odd_encoding":
            message.encoding = "rgba8"
        self._last[view] = message
        return message

    def run(self) -> None:
        super().run()
        if hasattr(self, "_cameras"):
            self._cameras.close()


def camera_info(camera: Camera) -> CameraInfo:
    """Of a pinhole without distortion, for pictures of the size in `IMAGE_SIZES`."""
    height, width = IMAGE_SIZES[camera.view]
    focal, x, y = camera.focal_length(height), 0.5 * width, 0.5 * height
    info = CameraInfo(height=height, width=width, distortion_model="plumb_bob", d=[0.0] * 5)
    info.header.frame_id = camera.frame
    info.k = [focal, 0.0, x, 0.0, focal, y, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [focal, 0.0, x, 0.0, 0.0, focal, y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return info


def damaged_jpeg_message(image: ImageArray, frame: str, rng: random.Random) -> CompressedImage:
    """uint8 RGB [H, W, 3] as a JPEG of which some hundred bytes in the middle are lost, as over a bad USB cable."""
    jpeg = bytearray(cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    begin = rng.randrange(len(jpeg) // 3, len(jpeg) // 2)
    del jpeg[begin : begin + rng.randrange(50, 300)]
    message = CompressedImage(format="jpeg", data=array.array("B", jpeg))
    message.header.frame_id = frame
    return message
