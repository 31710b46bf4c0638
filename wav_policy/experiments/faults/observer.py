"""The campaign's eyes and hands on the running system: targets that were sent, /diagnostics, services, bad messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import ActionChunk, FloatArray
from wav_policy.experiments.faults.wall_time import in_our_time, wall_time
from wav_policy.nodes.clients.system_client import Report, SystemClient
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.instruction_topic import make_instruction_publisher
from wav_policy.nodes.messages.joint_state import positions_from_message, stamp_to_seconds
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.robot.joints import JOINT_DIM

_CHUNK_PERIOD = 0.2
_CHUNK_STEP = 0.1
_NUM_STEPS = 16
_SWING = 0.15
"""Amplitude of the campaign's own motion [rad]."""
_SWING_RATE = 2.0
"""Of the same [rad/s]; its greatest speed is the product: 0.3 rad/s."""
CHUNK_AHEAD = _CHUNK_STEP * _NUM_STEPS
"""For how long a chunk of the campaign's own motion can be executed [s]."""


class Observer:
    """A `SystemClient` that also keeps the targets and what was said, and can command the arms itself.

    Attributes:
        clock_offset: the system's wall clock minus ours [s]; times of targets and speeds are given in ours.
    """

    def __init__(self) -> None:
        self.client = SystemClient()
        self._targets: list[tuple[float, FloatArray]] = []
        self._speeds: list[tuple[float, FloatArray]] = []
        self._joints: FloatArray | None = None
        node = self.client.node
        node.create_subscription(JointState, "joint_targets", self._on_target, qos_profile_sensor_data)
        node.create_subscription(JointState, "joint_states", self._on_joints, qos_profile_sensor_data)
        node.create_subscription(JointState, "sim/joint_states", self._on_true_joints, qos_profile_sensor_data)
        self.chunks = node.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.OFFERED_QOS)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._instruction = make_instruction_publisher(node)
        self._heard: set[str] = set()
        self.clock_offset = 0.0
        self._swinging = threading.Event()
        self._middle: FloatArray = np.zeros(JOINT_DIM)
        self._paused = False
        self._delay = 0.0

    def close(self) -> None:
        """Leave the ROS domain."""
        self._swinging.clear()
        self.client.close()

    @property
    def reports(self) -> dict[str, Report]:
        """Newest entries of /diagnostics."""
        return self.client.reports

    @property
    def joints(self) -> FloatArray:
        """Newest measurement, shape [14]."""
        assert self._joints is not None
        return self._joints

    def spin(self, seconds: float) -> None:
        """Process messages for a while."""
        self.client.spin_until(lambda: False, seconds)

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Process messages until the condition holds; whether it does."""
        return self.client.spin_until(condition, timeout)

    def forget(self, entry: str) -> None:
        """Wait for a new report under this name."""
        self.client.reports.pop(entry, None)

    def says(self, entry: str, text: str) -> bool:
        """Whether the newest report under a name contains a text."""
        return text in self.message(entry)

    def message(self, entry: str) -> str:
        """The newest report under a name, "" without any."""
        return self.reports[entry].message if entry in self.reports else ""

    def listen_anew(self) -> None:
        """Forget what was `heard`."""
        self._heard.clear()

    @property
    def heard(self) -> str:
        """Every line of /diagnostics since `listen_anew`, once."""
        return "\n".join(sorted(self._heard))

    def say(self, instruction: str) -> None:
        """Publish an instruction."""
        self._instruction.publish(String(data=instruction))

    def targets(self, since: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """Times [T] and targets [T, 14] sent after `since`; what is older is forgotten."""
        return _since(self._targets, since)

    def speeds(self, since: float) -> tuple[FloatArray, FloatArray]:
        """Times [T] and true joint velocities [T, 14] in the simulator after `since`; what is older is forgotten."""
        return _since(self._speeds, since)

    def swing(self) -> Callable[[], None]:
        """Command a steady motion about where the arms are, until the returned function is called.

        A thread publishes a chunk every 0.2 s and asserts liveliness between, as `policy_node` does.
        """
        began = wall_time()
        self.resume_chunks()
        self._swinging.set()

        def command() -> None:
            due = 0.0
            while self._swinging.is_set():
                if time.monotonic() >= due and not self._paused:
                    due = time.monotonic() + _CHUNK_PERIOD
                    chunk = self.swing_chunk(self._middle, began)
                    self.publish(ActionChunk(chunk.positions, chunk.stamp - self._delay, chunk.step))
                self.chunks.assert_liveliness()
                time.sleep(chunk_topic.HEARTBEAT_PERIOD)

        thread = threading.Thread(target=command, daemon=True)
        thread.start()

        def end() -> None:
            self._swinging.clear()
            thread.join()

        return end

    def resume_chunks(self) -> None:
        """Send chunks of the own motion again, in time, about where the arms are now."""
        self._middle = self.joints.copy()
        self._paused, self._delay = False, 0.0

    def pause_chunks(self) -> None:
        """Send no more chunks of the own motion, but go on asserting liveliness."""
        self._paused = True

    def delay_chunks(self, seconds: float) -> None:
        """Stamp further chunks so much earlier: they come late."""
        self._delay = seconds

    def swing_chunk(self, start: FloatArray, began: float) -> ActionChunk:
        """1.6 s of the motion from now on; the time stamp is the system's."""
        now = wall_time()
        positions = np.tile(start, (_NUM_STEPS, 1))
        times = now - began + _CHUNK_STEP * np.arange(1, _NUM_STEPS + 1)
        positions[:, (0, 7)] += _SWING * np.sin(_SWING_RATE * times)[:, None]
        return ActionChunk(positions, now + self.clock_offset, _CHUNK_STEP)

    def publish(self, chunk: ActionChunk) -> None:
        """Send a chunk, good or bad."""
        self.chunks.publish(chunk_to_message(chunk))

    def flood(self, kind: Any, topic: str, message: Callable[[], Any], rate: float, seconds: float) -> int:
        """Publish on a topic as fast as asked for; how many were sent [rate in Hz].

        As another participant: one that knows the topic by its right type cannot publish a wrong one.
        """
        context = Context()
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = Node("flood", context=context)
        publisher = node.create_publisher(kind, topic, qos_profile_sensor_data)
        end, sent = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            publisher.publish(message())
            sent += 1
            self.wait(lambda: True, 0.0)
            time.sleep(1.0 / rate)
        node.destroy_node()
        rclpy.shutdown(context=context)
        return sent

    def _on_target(self, message: JointState) -> None:
        self._targets.append((self._time(message), positions_from_message(message)))

    def _on_true_joints(self, message: JointState) -> None:
        self._speeds.append((self._time(message), np.array(message.velocity)))

    def _time(self, message: JointState) -> float:
        """A message's stamp, in our time [s]."""
        return in_our_time(stamp_to_seconds(message.header.stamp), self.clock_offset, wall_time())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for entry in message.status:
            self._heard.update(f"{entry.name}: {text}" for text in _texts(entry))

    def _on_joints(self, message: JointState) -> None:
        if len(message.position) == JOINT_DIM:
            self._joints = positions_from_message(message)


def _texts(entry: DiagnosticStatus) -> Iterator[str]:
    """The message, and values that are words."""
    yield entry.message
    for pair in entry.values:
        if any(character.isalpha() for character in pair.value):
            yield f"{pair.key}: {pair.value}"


def _since(records: list[tuple[float, FloatArray]], since: float) -> tuple[FloatArray, FloatArray]:
    """Times [T] and rows [T, 14] of what is kept: the records from `since` on."""
    records[:] = [record for record in records if record[0] >= since]
    return np.array([stamp for stamp, _ in records]), np.array([row for _, row in records]).reshape(-1, JOINT_DIM)
