"""teleop_node between leaders whose position is given and followers that are told, or not, by a piper_node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import qos_profile_sensor_data  # noqa: E402
from sensor_msgs.msg import JointState  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from wav_models.types import FloatArray  # noqa: E402
from wav_policy.nodes import teleop_node  # noqa: E402
from wav_policy.nodes.messages import chunk_topic, joint_state  # noqa: E402
from wav_policy.nodes.messages.trajectory import chunk_from_message  # noqa: E402
from wav_policy.teleoperation.following import State  # noqa: E402

pytestmark = pytest.mark.ros


class Leader:
    """In the place of a `LeaderReader`."""

    fault, num_frames, num_garbled = "", 1, 0

    def __init__(self, side: str, interface: str, channel: str, usb_serial: str) -> None:
        self.side = side
        self.position = np.full(7, 0.01)

    def open(self) -> None: ...

    def close(self) -> None: ...


class Stage:
    """The node, and followers that stay at `follower`; `commanded`: whether joint_targets tells them to."""

    def __init__(self) -> None:
        self.teleop = teleop_node.TeleopNode()
        self.followers = Node("followers")
        self.joint_states, self.joint_targets = (
            self.followers.create_publisher(JointState, topic, qos_profile_sensor_data)
            for topic in ("joint_states", "joint_targets")
        )
        self.followers.create_subscription(
            JointTrajectory, chunk_topic.CHUNK_TOPIC, self._on_chunk, chunk_topic.REQUESTED_QOS
        )
        self.followers.create_timer(0.02, self._publish)
        self.follower = np.full(14, 0.01)
        self.sag = np.zeros(14)
        self.commanded = True
        self.goals: list[FloatArray] = []
        self._executor = SingleThreadedExecutor()
        for node in (self.teleop, self.followers):
            self._executor.add_node(node)
        self.teleop.trigger_configure()
        self.teleop.trigger_activate()

    def _on_chunk(self, message: JointTrajectory) -> None:
        self.goals.append(chunk_from_message(message).positions[-1])

    def _publish(self) -> None:
        now = joint_state.seconds_to_stamp(self.teleop._ros_time())
        self.joint_states.publish(joint_state.to_message(self.follower - self.sag, now))
        if self.commanded:
            self.joint_targets.publish(joint_state.to_message(self.follower, now))

    def lead_to(self, joint1: float) -> None:
        for reader in self.teleop._readers:
            reader.position = np.array([joint1, *reader.position[1:]])

    def spin_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30.0
        while not condition():
            assert time.monotonic() < deadline, self.teleop._following.reason
            self._executor.spin_once(timeout_sec=0.02)

    @property
    def state(self) -> State:
        return self.teleop._following.state

    def close(self) -> None:
        self._executor.shutdown()
        self.teleop.close()
        self.followers.destroy_node()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """Under another name of the topic, which a larger system may give it."""
    monkeypatch.setattr(teleop_node, "LeaderReader", Leader)
    rclpy.init(args=["--ros-args", "--remap", f"{chunk_topic.CHUNK_TOPIC}:=plans"])
    stage = Stage()
    yield stage
    stage.close()
    rclpy.shutdown()


def test_after_enable_the_followers_are_not_sent_to_a_leader_that_has_moved(stage: Stage) -> None:
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    stage.commanded = False  # piper/stop, piper/reset
    stage.spin_until(lambda: stage.state == State.HOLDING)
    assert "piper_node does not command the followers" in stage.teleop._following.reason
    for joint in np.linspace(0.01, 0.56, 6):
        stage.lead_to(float(joint))
        before = time.monotonic()
        stage.spin_until(lambda before=before: time.monotonic() > before + 0.05)  # type: ignore[misc]
    stage.goals.clear()
    stage.commanded = True  # piper/enable
    stage.spin_until(lambda: len(stage.goals) > 20)
    assert stage.state != State.FOLLOWING
    assert np.abs(np.stack(stage.goals) - stage.follower).max() < 0.11  # the leash


def test_who_else_commands_the_arms_is_told_and_followed_by_nobody(stage: Stage) -> None:
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    stage.followers.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, 1)
    stage.spin_until(lambda: stage.state == State.HOLDING)
    assert "another node commands the arms" in stage.teleop._following.reason


def test_joints_that_cannot_be_used_are_named(stage: Stage) -> None:
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    broken = joint_state.to_message(np.full(14, np.nan), stage.followers.get_clock().now().to_msg())
    stage.teleop._on_joints("joint_targets", broken)
    stage.teleop._tick()
    assert stage.state == State.HOLDING
    assert stage.teleop._following.reason == "joint_targets: left_joint1 is nan"


def test_joints_of_something_else_on_the_same_topic_are_nobodys_fault(stage: Stage) -> None:
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    wheels = JointState(name=["wheel_left", "wheel_right"], position=[0.0, 0.0])
    stage.teleop._on_joints("joint_states", wheels)
    stage.teleop._tick()
    assert stage.state == State.FOLLOWING
    stage.teleop._heard["joint_states"].clear()
    stage.teleop._on_joints("joint_states", wheels)
    assert "only other joints: wheel_left, wheel_right" in stage.teleop._fault()


def test_a_follower_whose_leader_is_not_there_stays_where_it_was_told_to_be(stage: Stage) -> None:
    """arms:=left, in teleoperation and in recordings of it. An arm that sags under its load does not sag on."""
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    stage.teleop._readers.pop()
    stage.teleop.config = replace(stage.teleop.config, arms="left")
    told = {pair.key: pair.value for entry in stage.teleop._report() for pair in entry.values}
    assert "arms:=left" in told["right_leader"]
    assert "left_leader" not in told
    stage.sag[7:13] = 0.02
    stage.goals.clear()
    stage.spin_until(lambda: len(stage.goals) > 20)
    assert stage.state == State.FOLLOWING
    np.testing.assert_allclose(stage.goals[-1], stage.follower)


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_leader_that_jumped_is_followed_again_whatever_the_wall_clock_says(
    stage: Stage, step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.spin_until(lambda: stage.state == State.FOLLOWING)
    before, ros_time = time.monotonic(), stage.teleop._ros_time
    stage.lead_to(0.5)
    stage.spin_until(lambda: "jumped" in stage.teleop._following.reason)
    stage.teleop._stamps._ros_time = lambda: ros_time() + step
    monkeypatch.setattr(stage.teleop, "_ros_time", stage.teleop._stamps._ros_time)
    stage.spin_until(lambda: stage.state != State.HOLDING)
    assert time.monotonic() - before > 0.5, "not before it is calm"
