"""What a policy node has below it and around it: a policy without networks, the robot and the user."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from wav_models.data.images import resize_image
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY, ModelConfig
from wav_models.types import ActionChunk, ImageArray, Observation, Plan, PlanRound
from wav_policy.nodes.messages.images import message_from_rgb
from wav_policy.nodes.messages.instruction_topic import LATCHED_QOS
from wav_policy.nodes.policy_node import PolicyNode
from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.imagined_futures import ImaginedFutures
from wav_policy.policy.imagined_motion import ImaginedMotion
from wav_policy.policy.planning_effort import PlanCost
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES
from wav_policy.sim.read_noise import ReadNoise

POSITIONS = np.linspace(0.1, 1.4, JOINT_DIM)
NOISE = ReadNoise(24 * 32 * 3)
PATIENCE = 30.0
"""For machines that are busy with other things [s]."""


class FakePolicy:
    """Holds still at the measured state; remembers what it was asked."""

    def __init__(self) -> None:
        self.config: ModelConfig = WAV_TINY
        self.planner = PlannerConfig(
            num_iterations=1, num_video_samples=2, num_value_samples=1, num_video_elites=1, num_value_elites=1
        )
        self.cost = PlanCost(0.0)
        self.num_rounds = 1
        self.description = "no networks"
        self.observations: list[Observation] = []
        self.num_resets = 0
        self.seconds = 0.0
        self.committed: list[CommittedMotion | None] = []
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()
        self.planning = threading.Event()

    def plan(
        self,
        observation: Observation,
        *,
        seed: int = 0,
        deadline: float | None = None,
        committed: CommittedMotion | None = None,
    ) -> Plan:
        self.planning.set()
        self.go_on.wait(PATIENCE)
        time.sleep(self.seconds)
        self.committed.append(committed)
        self.planning.clear()
        if self.error is not None:
            raise self.error
        self.observations.append(observation)
        rows = np.tile(observation.joint_state, (self.config.horizon.action_horizon, 1))
        result = PlanRound(np.array([1.0, 2.0]), np.ones((2, 1)), np.array([0.5, 0.7]), 0.001)
        rounds, stop_reason = (result,) * self.num_rounds, "completed" if self.num_rounds else "deadline"
        chunk = ActionChunk(rows, observation.stamp, 1.0 / self.config.horizon.step_hz)
        return Plan(chunk, np.full(16, 0.25), rounds, stop_reason, {"video": 0.001}, seed, future=object())

    def imagine(self, plan: Plan) -> ImageArray:
        frames = np.zeros((3, len(self.config.horizon.future_offsets), 4, 6, 3), np.uint8)
        frames[1] = 100
        return frames

    def futures(self, plan: Plan) -> ImaginedFutures:
        images = np.stack([np.full((4, 6, 3), grey, np.uint8) for grey in (60, 200)])
        return ImaginedFutures(images, plan.rounds[-1].video_score, plan.rounds[-1].mean_value, 1)

    def alternatives(self, plan: Plan, count: int) -> tuple[ImaginedMotion, ...]:
        return (ImaginedMotion(plan.chunk, plan.values - 0.25),) * min(count, 1)

    def reset(self) -> None:
        self.num_resets += 1

    def warm_up(self, instruction: str = "") -> PlanCost:
        return self.cost

    fit_image = staticmethod(resize_image)

    def close(self) -> None:
        pass


class Outside:
    """The robot and the user: publishes what the node needs, notes what it says."""

    def __init__(self) -> None:
        self.node = Node("outside")
        self.chunks: list[JointTrajectory] = []
        self.imagined: list[Image] = []
        self.diagnostics: dict[str, Any] = {}
        self.views: tuple[str, ...] = VIEWS
        self.joint_names = list(JOINT_NAMES)
        self.joint_positions = POSITIONS.tolist()
        self.make_image: Callable[[str], Image] = lambda view: message_from_rgb(
            NOISE(np.full((24, 32, 3), 50, np.uint8)), self.node.get_clock().now().to_msg()
        )
        self._images = {
            view: self.node.create_publisher(Image, f"{view}/image_raw", qos_profile_sensor_data) for view in VIEWS
        }
        self.compressed = {
            view: self.node.create_publisher(CompressedImage, f"{view}/image_raw/compressed", qos_profile_sensor_data)
            for view in VIEWS
        }
        self._joints = self.node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self.instruction = self.node.create_publisher(String, "instruction", LATCHED_QOS)
        self.node.create_subscription(JointTrajectory, "action_chunk", self.chunks.append, 10)
        self.node.create_subscription(Image, "imagined/left_wrist/image_raw", self.imagined.append, 10)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._note, 10)
        self._change_state = self._transition_client()
        self._get_state = self.node.create_client(GetState, "policy_node/get_state")
        self.node.create_timer(0.02, self._publish)

    def _transition_client(self) -> Any:
        return self.node.create_client(ChangeState, "policy_node/change_state")

    def _publish(self) -> None:
        for view in self.views:
            self._images[view].publish(self.make_image(view))
        message = JointState(name=self.joint_names, position=self.joint_positions)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(message)

    def _note(self, message: DiagnosticArray) -> None:
        for entry in message.status:
            self.diagnostics[entry.name] = entry

    def change(self, transition: int) -> bool:
        if not self._change_state.wait_for_service(5.0):  # Fast DDS misses one now and then: ros2/rmw_fastrtps#792
            self.node.destroy_client(self._change_state)
            self._change_state = self._transition_client()
            self._change_state.wait_for_service(5.0)
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(id=transition)))
        wait_for(future.done, "the transition")
        return bool(future.result().success)

    def state(self) -> int:
        future = self._get_state.call_async(GetState.Request())
        wait_for(future.done, "the state")
        return int(future.result().current_state.id)

    def activate(self) -> None:
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)

    @property
    def planning(self) -> str:
        entry = self.diagnostics.get("policy_node: planning")
        return "" if entry is None else entry.message

    def value(self, key: str) -> str:
        pairs = {pair.key: pair.value for pair in self.diagnostics["policy_node: planning"].values}
        return pairs[key]

    @property
    def reported(self) -> set[str]:
        return {pair.key for pair in self.diagnostics["policy_node: planning"].values}

    def await_chunks(self, number: int = 2) -> JointTrajectory:
        """The last of that many new chunks."""
        known = len(self.chunks)
        wait_for(lambda: len(self.chunks) >= known + number, lambda: f"{number} chunks; it says: {self.planning}")
        return self.chunks[-1]

    def await_message(self, text: str) -> None:
        wait_for(lambda: text in self.planning, lambda: f"{text!r}; it says: {self.planning!r}")

    def await_silence(self) -> None:
        """No chunk for a while, however long the ones under way take."""
        time.sleep(0.2)
        known = len(self.chunks)
        time.sleep(0.6)
        assert len(self.chunks) == known


def wait_for(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        told = what if isinstance(what, str) else what()
        assert time.monotonic() < deadline, f"waited {PATIENCE} s for {told}"
        time.sleep(0.01)


@contextmanager
def running_node(policy: FakePolicy) -> Iterator[Outside]:
    """A policy node with an instruction, unconfigured, and what is around it, both spinning."""
    overrides = {"instruction": "put the bowl away", "replan_interval": 1, "imagine_rate": 20.0}
    parameters = [Parameter(name, value=value) for name, value in overrides.items()]
    node = PolicyNode(lambda config: policy, parameter_overrides=parameters)
    around = Outside()
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    executors[0].add_node(node)
    executors[1].add_node(around.node)
    threads = [threading.Thread(target=executor.spin, daemon=True) for executor in executors]
    for thread in threads:
        thread.start()
    yield around
    policy.go_on.set()
    for executor, thread in zip(executors, threads, strict=True):
        executor.shutdown()
        thread.join(PATIENCE)
    node.close()
    around.node.destroy_node()
    assert not [thread.name for thread in threading.enumerate() if thread.name in ("planning", "imagination")]
