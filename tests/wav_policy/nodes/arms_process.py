"""piper_node's process over simulated arms, and a robot user who knows the ROS contract and nothing else."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_models.types import ActionChunk, FloatArray
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.sim.firmware import SimulatedArm

LOOP = "piper_node: control loop"


class Probe:
    """A robot user: knows the ROS contract and nothing else."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("probe")
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.clients: dict[str, Any] = {}
        self.joint_states: list[JointState] = []
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.node.create_subscription(JointState, "joint_states", self.joint_states.append, qos_profile_sensor_data)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 10)
        self.chunks = self.make_chunk_publisher()

    def make_chunk_publisher(self) -> Any:
        """Liveliness is asserted by the middleware."""
        return self.node.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.REQUESTED_QOS)

    def _note(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({entry.name: entry for entry in message.status})

    def spin(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def wait_until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"timed out; diagnostics: {self.messages()}"
            self.executor.spin_once(timeout_sec=0.02)

    def messages(self) -> dict[str, str]:
        return {name: entry.message for name, entry in self.diagnostics.items()}

    def value(self, name: str, key: str) -> str:
        return next(pair.value for pair in self.diagnostics[name].values if pair.key == key)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.clients.get(name) or self.node.create_client(kind, name)
        self.clients[name] = client
        self.wait_until(client.service_is_ready, timeout=30.0)
        future = client.call_async(request)
        self.wait_until(future.done, timeout=20.0)
        return future.result()

    def change_state(self, transition: int) -> bool:
        """Once somebody answers: a node that was killed is on the graph for some seconds more."""
        client = self.node.create_client(GetState, "piper_node/get_state")
        answered = False
        deadline = time.monotonic() + 40.0
        while not answered:
            assert time.monotonic() < deadline, "piper_node does not answer"
            future = client.call_async(GetState.Request())
            self.executor.spin_until_future_complete(future, timeout_sec=1.0)
            answered = future.done()
        self.node.destroy_client(client)
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.call(ChangeState, "piper_node/change_state", request).success)

    def trigger(self, name: str) -> Any:
        return self.call(Trigger, name, Trigger.Request())

    def enable(self, on: bool = True) -> Any:
        return self.call(SetBool, "piper/enable", SetBool.Request(data=on))

    def send_chunk(self, start: FloatArray, joint0: float, rows: int = 10) -> None:
        """An even motion of the first joint by `joint0` [rad] over `rows` tenths of a second."""
        positions = np.tile(start, (rows, 1))
        positions[:, 0] += joint0 * np.arange(1, rows + 1) / rows
        self.chunks.publish(chunk_to_message(ActionChunk(positions, time.time(), 0.1)))

    def lead(self, start: FloatArray, joint0: float, until: Callable[[], bool], rows: int = 10) -> None:
        """Send a chunk as `send_chunk`, again and again."""
        self.repeat(lambda: self.send_chunk(start, joint0, rows), until, 1.5 + 0.1 * rows)

    def repeat(self, send: Callable[[], None], until: Callable[[], bool], period: float = 1.5) -> None:
        """Send as a policy does, every `period` [s]: with a late sign of life a chunk is dropped."""
        sent = -np.inf

        def arrived() -> bool:
            nonlocal sent
            if not until() and time.monotonic() - sent > period:
                sent = time.monotonic()
                send()
            return until()

        self.wait_until(arrived)


class Robot:
    """Two simulated arms and the node's process, which is started here unless one is given."""

    def __init__(
        self,
        directory: Path,
        repository: Path,
        extra: Sequence[str] = (),
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.plants = KinematicArm(), KinematicArm()
        self.arms = [
            SimulatedArm(plant, directory / side) for plant, side in zip(self.plants, ("left", "right"), strict=True)
        ]
        gc.freeze()  # as tests/conftest.py: what was imported since must not silence the arms either
        self.log = directory / "piper_node.log"
        self.process = process or start_node(directory, repository, self.log, extra)

    @property
    def position(self) -> FloatArray:
        return np.concatenate([np.append(plant.position, plant.stroke) for plant in self.plants])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for arm in self.arms:
            arm.stop()


def node_command(directory: Path, repository: Path) -> list[str]:
    command = [sys.executable, "-m", "wav_policy.nodes.piper_node", "--ros-args"]
    for name in ("piper.yaml", "safety.yaml"):
        command += ["--params-file", str(repository / "config" / name)]
    for name, value in (
        ("can_interface", "slcan"),
        ("can_left", directory / "left"),
        ("can_right", directory / "right"),
    ):
        command += ["-p", f"{name}:={value}"]
    return command


def start_node(directory: Path, repository: Path, log: Path, extra: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    command = node_command(directory, repository)
    with log.open("wb") as output:
        return subprocess.Popen([*command, *extra], cwd=repository, stdout=output, stderr=subprocess.STDOUT)
