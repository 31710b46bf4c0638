"""Cameras, joints and an instruction in; `action_chunk` out. A managed node: nothing is planned before activation.

The model is loaded and warmed up on configure, the topics are created on configure and released on clean-up. Planning
runs in its own thread (`PlanningWorker`) while the last chunk is executed.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import JointState
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import Observation, Plan
from wav_policy.bringup.node_parameters import PolicyNodeConfig
from wav_policy.bringup.parameter_files import ParameterError
from wav_policy.nodes.imagination import ImaginationPublisher
from wav_policy.nodes.messages import chunk_topic
from wav_policy.nodes.messages.instruction_topic import subscribe_instruction
from wav_policy.nodes.messages.joint_state import (
    JointNamesError,
    JointPicker,
    OtherJointsError,
)
from wav_policy.nodes.messages.subscribing import subscribe, why_silent
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.nodes.runtime.camera_subscriptions import CameraSubscriptions
from wav_policy.nodes.runtime.diagnostics import ERROR, OK, WARN, Diagnostics, status
from wav_policy.nodes.runtime.heartbeat import Heartbeat
from wav_policy.nodes.runtime.lifecycle import ManagedNode
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.polling import DrainingThread, NeverCalled
from wav_policy.nodes.runtime.spin import run
from wav_policy.policy.chunk_continuation import ChunkContinuation
from wav_policy.policy.observation import JOINT_TOPIC, ObservationBuffer
from wav_policy.policy.planning_effort import PlanCost
from wav_policy.policy.planning_worker import PlanningWorker, Policy, PolicyError
from wav_policy.policy.remote.remote_policy import RemotePolicy

_HANG_TIME: Final = 1.0
"""An executor that does nothing for so long hears no instruction and no transition: the arms hold [s]."""


def load_policy(config: PolicyNodeConfig) -> Policy:
    """The checkpoint's policy with the planner parameters that the node overrides."""
    from wav_models.checkpoint import load_planner_config
    from wav_models.configuration import with_assignments
    from wav_models.engines.select import EngineOptions
    from wav_policy.policy.wav_policy import WAVPolicy

    if config.policy:
        return RemotePolicy.open(config.policy, Path(config.policy_mapping) if config.policy_mapping else None)
    if not config.checkpoint:
        raise ParameterError("parameters 'checkpoint' and 'policy' are empty; give a checkpoint directory or a server")
    stored = load_planner_config(Path(config.checkpoint))
    planner = stored.with_samples(config.num_video_samples or None, config.num_value_samples or None)
    if config.num_iterations >= 0:
        planner = dataclasses.replace(planner, num_iterations=config.num_iterations)
    if config.deadline > 0.0:
        planner = dataclasses.replace(planner, deadline=config.deadline)
    planner = with_assignments(planner, config.planner.split(), "parameter 'planner'")
    return WAVPolicy.load(
        config.checkpoint,
        engine=config.engine,
        planner=planner,
        num_threads=config.num_threads or None,
        dtype=config.dtype,
        pretrained=Path(config.pretrained) if config.pretrained else None,
        options=EngineOptions(
            providers=tuple(filter(None, config.providers.replace(" ", "").split(","))),
            compile=config.compile,
            cuda_graphs=config.cuda_graphs,
        ),
        prepare=get_logger("policy_node").warning if config.make_graphs else None,
    )


@dataclass
class _Running:
    """What exists between configure and clean-up."""

    buffer: ObservationBuffer
    continuation: ChunkContinuation
    cameras: CameraSubscriptions
    joints: JointPicker
    heartbeat: Heartbeat
    worker: PlanningWorker
    imagination: ImaginationPublisher | None
    publisher: Any
    subscriptions: list[Any]
    captures: DrainingThread


class PolicyNode(ManagedNode):
    """Plans with a policy from live topics.

    Args:
        make_policy: called on configure.
        **node_arguments: of rclpy's Node.

    Raises:
        ParameterError: a parameter is unknown or has an impossible value.
    """

    def __init__(self, make_policy: Callable[[PolicyNodeConfig], Policy] = load_policy, **node_arguments: Any) -> None:
        super().__init__("policy_node", **node_arguments)
        self.config = declare(self, PolicyNodeConfig)
        self._make_policy = make_policy
        self._instruction = self.config.instruction
        self._running: _Running | None = None
        self._active = False
        self._fault: str | None = None
        self._diagnostics = Diagnostics(self, self._report_planning, self._report_observation)
        self.get_logger().info("ready to be configured")

    # Life cycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy, warm it up, create the topics. Stays unconfigured, with the reason logged, if that fails."""
        policy = None
        try:
            policy = self._make_policy(self.config)
            cost = self._warm_up(policy)
            self._running = self._start(policy)
        except Exception as error:  # every way a checkpoint, engine or configuration can fail ends here
            if policy is not None:
                policy.close()
            self._fault = f"cannot configure: {error}"
            self.get_logger().error(self._fault)
            self.get_logger().debug(traceback.format_exc())
            return TransitionCallbackReturn.FAILURE
        self._fault = None
        if cost is None:
            return TransitionCallbackReturn.SUCCESS
        self.get_logger().info(f"loaded {policy.config.name}; a plan took {1e3 * cost.total:.0f} ms")
        self.get_logger().info(f"engine: {policy.description}")
        if (shortage := cost.shortage(policy.planner, policy.description)) is not None:
            self.get_logger().warning(shortage)
        return TransitionCallbackReturn.SUCCESS

    def _warm_up(self, policy: Policy) -> PlanCost | None:
        """None for a policy elsewhere that does not answer yet: it is asked again once plans are wanted."""
        try:
            return policy.warm_up(self._instruction)
        except PolicyError as error:
            self.get_logger().warning(f"{error}. The arms hold until it answers")
            return None

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start planning as at the beginning of an episode."""
        assert self._running is not None
        result = super().on_activate(state)
        self._running.buffer.reset()
        self._active = True
        self._running.worker.activate()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop planning; a plan in flight is dropped."""
        assert self._running is not None
        self._active = False
        self._running.worker.deactivate()
        if self._running.imagination is not None:
            self._running.imagination.clear()
        return super().on_deactivate(state)

    def close(self) -> None:
        """End the threads, say so on /diagnostics and destroy the node."""
        self.release()
        self._diagnostics.destroy()
        self.destroy_node()

    def _start(self, policy: Policy) -> _Running:
        model = policy.config
        views = model.embodiment.view_names
        rows = model.horizon.action_horizon
        if self.config.replan_interval >= rows:
            raise ParameterError(
                f"replan_interval is {self.config.replan_interval}, a chunk of {model.name} has {rows} rows: at most "
                f"{rows - 1} fit, or the arms would wait for the next one"
            )
        buffer = ObservationBuffer(
            model.horizon, model.latent.image_size, self.config.observation, self._now, views, policy.fit_image
        )
        unhandled = NeverCalled()  # by the executor: some 300 messages a second cost it a third of a core
        cameras = CameraSubscriptions(self, buffer, self.config.image_transport, unhandled, views)
        joints = subscribe(
            self,
            JointState,
            JOINT_TOPIC,
            self._on_joint_state,
            qos_profile_sensor_data,
            buffer.reject_joint_state,
            callback_group=unhandled,
        )
        interval = (self.config.replan_interval or model.horizon.num_execute_steps) / model.horizon.step_hz
        continuation = ChunkContinuation(self.config.continuation, model.horizon)
        return _Running(
            buffer=buffer,
            continuation=continuation,
            cameras=cameras,
            joints=JointPicker(self.config.observation.max_joint_age),
            publisher=self.create_lifecycle_publisher(
                JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.OFFERED_QOS
            ),
            subscriptions=[joints, subscribe_instruction(self, self._on_instruction)],
            imagination=self._make_imagination(policy, buffer) if self._imagines else None,
            heartbeat=Heartbeat(self._assert_liveliness),
            worker=PlanningWorker(
                policy,
                self._observe,
                lambda: buffer.require_fresh(self._now()),
                self._deliver,
                interval=interval,
                continuation=continuation,
                clock=self._now,
                seed=self.config.seed,
                report_error=lambda text: self.get_logger().error(text, throttle_duration_sec=5.0),
            ),
            captures=DrainingThread(self, [*cameras.subscriptions, joints]),
        )

    @property
    def _imagines(self) -> bool:
        return self.config.imagine_rate > 0.0 and not self.config.policy

    def _make_imagination(self, policy: Policy, buffer: ObservationBuffer) -> ImaginationPublisher:
        return ImaginationPublisher(
            self,
            policy,
            lambda: buffer.assemble(self._now(), self._instruction),
            rate=self.config.imagine_rate,
            num_alternatives=self.config.imagine_alternatives,
        )

    def release(self) -> None:
        """Release policy and topics."""
        self._active = False
        if self._running is not None:
            self._running.worker.deactivate()  # from here on it delivers nothing
        running, self._running = self._running, None
        if running is None:
            return
        running.captures.close()
        running.heartbeat.close()
        running.worker.close()
        running.worker.policy.close()
        if running.imagination is not None:
            running.imagination.destroy()
        running.cameras.destroy()
        for subscription in running.subscriptions:
            self.destroy_subscription(subscription)
        self.destroy_lifecycle_publisher(running.publisher)

    # Data in and out

    def _now(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def _on_joint_state(self, message: JointState) -> None:
        """Called from the thread of the captures."""
        running = self._running
        if running is None:
            return
        try:
            state = running.joints.take(message)
        except OtherJointsError as error:
            running.buffer.note_joint_state(str(error))
            return
        except JointNamesError as error:
            running.buffer.reject_joint_state(str(error))
            return
        running.buffer.add_joint_state(state.positions, state.stamp)

    def _on_instruction(self, instruction: str) -> None:
        if instruction == self._instruction:
            return
        self._instruction = instruction
        self.get_logger().info(f"instruction: {instruction!r}")
        if self._running is not None:
            self._running.worker.restart()

    def _observe(self) -> Observation:
        """Called from the planning thread."""
        running = self._running
        assert running is not None
        return running.buffer.assemble(self._now(), self._instruction)

    def _deliver(self, plan: Plan) -> None:
        """Called from the planning thread, only while active."""
        running = self._running
        assert running is not None
        running.publisher.publish(chunk_to_message(plan.chunk))
        if running.imagination is not None:
            running.imagination.show(plan)

    def _assert_liveliness(self) -> None:
        """Tell the arms that the chunk in force still stands; they hold soon after this stops."""
        running = self._running
        if running is None or not self._active or time.monotonic() - self._diagnostics.looked > _HANG_TIME:
            return
        if running.worker.stands and running.buffer.is_fresh(self._now()):
            running.publisher.assert_liveliness()

    # Diagnostics

    def _report_planning(self) -> Sequence[DiagnosticStatus]:
        name = "policy_node: planning"
        running = self._running
        if running is None:
            return [status(name, ERROR if self._fault else OK, self._fault or "not configured")]
        worker = running.worker
        values: dict[str, Any] = {
            "failed": worker.statistics.failed,
            "dropped": worker.statistics.dropped,
            "instruction": self._instruction,
            "engine": running.worker.policy.description,
            "continuation": running.continuation.method,
            "frozen_rows": running.continuation.num_frozen,
            **worker.statistics.percentiles(),
            **worker.effort.values(),
            **(_describe(worker.last_plan) if worker.last_plan is not None else {}),
        }
        if not self._active:
            return [status(name, OK, "inactive", **values)]
        if worker.blocked is not None:
            return [status(name, ERROR if worker.failing else WARN, f"not planning: {worker.blocked}", **values)]
        if not worker.stands:
            return [status(name, WARN, "the next chunk is overdue: the arms hold until it comes", **values)]
        if (complaint := worker.effort.complaint) is not None:
            return [status(name, WARN, complaint, **values)]
        return [status(name, OK, worker.effort.summary, **values)]

    def _report_observation(self) -> Sequence[DiagnosticStatus]:
        running = self._running
        if running is None:
            return []
        ages = running.buffer.ages(self._now())
        silent = [f"{topic}: {why}" for topic in ages if math.isinf(ages[topic]) and (why := self._why_silent(topic))]
        dropped = {f"{topic} stamps not believed": count for topic, count in running.buffer.dropped().items()}
        values = {f"{topic} age": age for topic, age in ages.items()} | running.cameras.counts() | dropped
        level, text = (WARN, ", ".join(silent)) if silent else (OK, "ages in seconds")
        return [status("policy_node: observation", level, text, **values)]

    def _why_silent(self, topic: str) -> str:
        captures = () if self._running is None else self._running.captures.subscriptions
        return why_silent(self, [each for each in captures if each.topic.removesuffix("/compressed") == topic])


def _describe(plan: Plan) -> dict[str, Any]:
    """Scores and outcome of a plan for /diagnostics."""
    described: dict[str, Any] = {
        "stop_reason": plan.stop_reason,
        "seed": plan.seed,
    }
    if plan.values.size:  # a remote policy predicts none
        described["predicted_value"] = float(plan.values.mean())
    if plan.rounds:
        described["score"] = float(plan.rounds[-1].video_score.max())
        described["mean_value"] = float(plan.rounds[-1].mean_value.mean())
    return described


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong."""
    return run(PolicyNode, PolicyNode.close)


if __name__ == "__main__":
    sys.exit(main())
