"""What the monitor costs: processor time of its process, robot and browser in other processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from tests.wav_policy.nodes.fake_browser import browser

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import Image, JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from wav_models.types import ActionChunk  # noqa: E402
from wav_policy.cli.demo_page import DemoPage  # noqa: E402
from wav_policy.nodes.messages.images import message_from_rgb  # noqa: E402
from wav_policy.nodes.messages.trajectory import chunk_to_message  # noqa: E402
from wav_policy.robot.cameras import IMAGE_SIZES, VIEWS  # noqa: E402
from wav_policy.robot.joints import JOINT_NAMES  # noqa: E402
from wav_policy.robot.model import home_positions  # noqa: E402

pytestmark = [pytest.mark.ros, pytest.mark.slow]

CAMERA_RATE, JOINT_RATE, PLAN_RATE, IMAGINED_RATE = 30.0, 200.0, 5.0, 2.0
WINDOW = 10.0
LIMIT = 0.10
"""Of one core, at 10 Hz with three views."""


class Robot:
    """Publishes at a robot's rates pictures, joints and plans that never repeat."""

    def __init__(self) -> None:
        self.node = Node("busy_robot")
        generator = np.random.default_rng(0)
        self._pictures = {
            view: [generator.integers(0, 255, (h // 8, w // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)] * 1
            for view, (h, w) in IMAGE_SIZES.items()
        }
        self._count = 0
        make = self.node.create_publisher
        self._images = {view: make(Image, f"{view}/image_raw", qos_profile_sensor_data) for view in VIEWS}
        self._imagined = {view: make(Image, f"imagined/{view}/image_raw", 1) for view in VIEWS}
        self._joints = make(JointState, "joint_states", qos_profile_sensor_data)
        self._chunks = make(JointTrajectory, "action_chunk", 1)
        self.node.create_timer(1.0 / CAMERA_RATE, self._publish_images)
        self.node.create_timer(1.0 / IMAGINED_RATE, self._publish_imagined)
        self.node.create_timer(1.0 / JOINT_RATE, self._publish_joints)
        self.node.create_timer(1.0 / PLAN_RATE, self._publish_chunk)

    def _publish_images(self) -> None:
        self._count += 1
        for view, publisher in self._images.items():
            picture = np.roll(self._pictures[view][0], self._count, axis=1)
            publisher.publish(message_from_rgb(picture, self.node.get_clock().now().to_msg()))

    def _publish_imagined(self) -> None:
        for publisher in self._imagined.values():
            picture = np.full((64, 64, 3), self._count % 250, np.uint8)
            publisher.publish(message_from_rgb(picture, self.node.get_clock().now().to_msg()))

    def _positions(self) -> np.ndarray:
        return np.asarray(home_positions() + 0.2 * np.sin(time.monotonic()))

    def _publish_joints(self) -> None:
        self._joints.publish(JointState(name=list(JOINT_NAMES), position=self._positions().tolist()))

    def _publish_chunk(self) -> None:
        rows = np.tile(self._positions(), (16, 1)) + np.linspace(0, 0.2, 16)[:, None]
        stamp = self.node.get_clock().now().nanoseconds * 1e-9
        self._chunks.publish(chunk_to_message(ActionChunk(rows, stamp, 0.1)))


@pytest.fixture
def robot() -> Iterator[None]:
    rclpy.init()
    robot = Robot()
    executor = SingleThreadedExecutor()
    executor.add_node(robot.node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield
    executor.shutdown()
    thread.join()
    robot.node.destroy_node()
    rclpy.shutdown()


def share_of_a_core(process: psutil.Process, seconds: float) -> float:
    before, start = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - start)


def test_a_tenth_of_a_core_while_watched_and_next_to_nothing_else(robot: None) -> None:
    page = DemoPage.choose(0)
    node = subprocess.Popen(
        [sys.executable, "-m", "wav_policy.nodes.monitor", "--ros-args", "-p", f"port:={page.port}"]
    )
    try:
        deadline = time.monotonic() + 90
        while not page.is_up() and time.monotonic() < deadline:
            time.sleep(0.5)
        process = psutil.Process(node.pid)
        time.sleep(3.0)
        unwatched = share_of_a_core(process, WINDOW / 2)
        with browser(page.url) as tab:
            reader = threading.Thread(target=tab.read, args=(WINDOW + 6.0,))
            reader.start()
            time.sleep(4.0)
            watched = share_of_a_core(process, WINDOW)
            reader.join()
            rate = tab.num_pictures / (WINDOW + 6.0) / (3 + 3 * IMAGINED_RATE / 10)
        print(f"monitor: {100 * watched:.1f} % of a core watched ({rate:.1f} Hz), {100 * unwatched:.1f} % unwatched")
        assert rate > 5.0
        assert unwatched < 0.03
        assert watched < LIMIT
    finally:
        node.terminate()
        node.wait(30)
