"""What no node of ours would send, sent over the network to nodes of ours."""

from __future__ import annotations

import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint  # noqa: E402

from tests.wav_policy.nodes import stop_latency  # noqa: E402
from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402
from wav_models.types import ImageArray  # noqa: E402
from wav_policy.nodes.messages.instruction_topic import (  # noqa: E402
    make_instruction_publisher,
    subscribe_instruction,
)
from wav_policy.nodes.messages.limits import MAX_PIXELS  # noqa: E402
from wav_policy.nodes.runtime.camera_subscriptions import CameraSubscriptions  # noqa: E402
from wav_policy.robot.joints import JOINT_NAMES  # noqa: E402

pytestmark = pytest.mark.ros

HOSTILE = {
    "names": JointTrajectory(joint_names=[f"x{i}" for i in range(30_000)]),
    "few names": JointTrajectory(joint_names=[f"x{i}" for i in range(300)]),
    "rows": JointTrajectory(joint_names=list(JOINT_NAMES), points=[JointTrajectoryPoint()] * 100_000),
    "few rows": JointTrajectory(joint_names=list(JOINT_NAMES), points=[JointTrajectoryPoint()] * 300),
    "numbers": JointTrajectory(points=[JointTrajectoryPoint(positions=[0.0] * 500_000)]),
}


@pytest.fixture(scope="module")
def probe() -> Iterator[Probe]:
    rclpy.init()
    yield Probe()
    rclpy.shutdown()


def test_the_arms_hold_after_a_hostile_chunk_and_follow_the_next_good_one(
    probe: Probe, repository: Path, tmp_path: Path
) -> None:
    robot = Robot(tmp_path, repository)
    try:
        for arm in robot.arms:
            arm.start()
        assert probe.change_state(Transition.TRANSITION_CONFIGURE)
        assert probe.change_state(Transition.TRANSITION_ACTIVATE)
        probe.wait_until(lambda: probe.chunks.get_subscription_count() == 1)
        for name, message in HOSTILE.items():
            probe.lead(robot.position, 0.1, lambda: probe.messages().get(LOOP) == "following the chunk", rows=20)
            probe.chunks.publish(message)
            probe.wait_until(lambda: "refused" in probe.value(LOOP, "rejected_chunk"))
            assert "holding" in probe.messages()[LOOP], name
            assert all(len(pair.value) < 1100 for pair in probe.diagnostics[LOOP].values)
            answer = probe.trigger("piper/hold")
            assert answer.success, answer.message
        assert robot.process.poll() is None
        assert len(robot.log.read_text()) < 20_000
    finally:
        robot.close()


def test_an_instruction_that_is_too_long_leaves_the_one_in_force(probe: Probe) -> None:
    said: list[str] = []
    subscription = subscribe_instruction(probe.node, said.append)
    publisher = make_instruction_publisher(probe.node)
    try:
        probe.wait_until(lambda: publisher.get_subscription_count() == 1)
        for text in ("first", "a" * 1001, "b" * 10_000_000, "last"):
            publisher.publish(String(data=text))
            probe.spin(0.5)
        probe.wait_until(lambda: "last" in said)
        assert said == ["first", "last"]
    finally:
        probe.node.destroy_subscription(subscription)
        probe.node.destroy_publisher(publisher)


class Sink:
    """Notes what became of the pictures."""

    def __init__(self) -> None:
        self.rejected: list[str] = []
        self.accepted: list[Any] = []

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        self.accepted.append(rgb.shape)

    def reject_image(self, view: str, reason: str) -> None:
        self.rejected.append(reason)


def test_a_picture_that_is_none_is_that_cameras_fault(probe: Probe) -> None:
    sink = Sink()
    cameras = CameraSubscriptions(probe.node, sink, "auto")
    raw = probe.node.create_publisher(Image, "head/image_raw", qos_profile_sensor_data)
    packed = probe.node.create_publisher(CompressedImage, "head/image_raw/compressed", qos_profile_sensor_data)
    messages = [
        (raw, Image(height=60_000, width=60_000, encoding="rgb8")),
        (raw, Image(height=2, width=2, encoding="x" * 3000, data=array.array("B", bytes(12)))),
        (raw, Image(height=1, width=1, encoding="rgb8", data=array.array("B", bytes(9 * MAX_PIXELS)))),
        (packed, CompressedImage(format="png", data=array.array("B", b"\x89PNG\r\n\x1a\n" + bytes(100)))),
        (packed, CompressedImage(format="jpeg", data=array.array("B", b"\xff\xd8\xff" + bytes(100)))),
    ]
    try:
        for publisher in (raw, packed):
            probe.wait_until(lambda: publisher.get_subscription_count() == 1)  # noqa: B023
        cameras._last_raw["head"] = float("-inf")
        for number, (publisher, message) in enumerate(messages, start=1):
            cameras._last_raw["head"] = float("-inf")
            publisher.publish(message)
            probe.wait_until(lambda: len(sink.rejected) >= number)  # noqa: B023
        assert sink.accepted == []
        assert cameras.rejected["head/image_raw"] == len(messages)
        assert all(len(reason) < 1100 for reason in sink.rejected)
    finally:
        cameras.destroy()
        probe.node.destroy_publisher(raw)
        probe.node.destroy_publisher(packed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flood", ["chunks", "names 5000", "names 30000", "rows 1000", "rows 20000", "one row of 6000000"]
)
def test_a_stop_is_not_kept_waiting(flood: str, probe: Probe) -> None:
    """Needs the machine to itself."""
    found = stop_latency.run([flood], 20.0)[flood]
    assert found["p99.9_ms"] < 20.0, found
    assert found["hz"] > 190.0, found
