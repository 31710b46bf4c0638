"""Managed node: two leader arms, each on its own bus, command the followers through the same door as the policy.

It publishes short action chunks; `piper_node` executes them behind its safety filter like any other. The followers go
slowly to the leaders before they follow, and hold when a leader's bus is lost or a leader jumps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from wav_models.types import FloatArray
from wav_policy.bringup.node_parameters import TeleopNodeConfig
from wav_policy.control.stamp_clock import StampClock
from wav_policy.nodes.messages import chunk_topic, joint_state
from wav_policy.nodes.messages.qos import SENSOR_DATA
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.messages.trajectory import chunk_to_message
from wav_policy.nodes.runtime.diagnostics import OK, WARN, Diagnostics, status
from wav_policy.nodes.runtime.lifecycle import ManagedNode
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.polling import NeverCalled, drain
from wav_policy.nodes.runtime.spin import run
from wav_policy.nodes.runtime.timers import steady_timer
from wav_policy.piper.errors import PiperError
from wav_policy.policy.observation import JOINT_TOPIC
from wav_policy.policy.stream_buffer import StampLimits, StreamBuffer
from wav_policy.robot.joints import JOINT_NAMES, SIDES, first_not_finite
from wav_policy.teleoperation.following import Following, Joints, State
from wav_policy.teleoperation.leader_reader import LeaderReader

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
LEADER_TOPIC = "leader/joint_states"
TARGET_TOPIC = "joint_targets"
_LEFT_OUT = "absent: teleop_node runs with arms:={}; its follower stays where it was told to be"
_KEPT = 0.1
"""Of what the followers do only the newest counts [s]."""


class TeleopNode(ManagedNode):
    """The skin over `LeaderReader` and `Following`."""

    def __init__(self) -> None:
        super().__init__("teleop_node")
        self.config = declare(self, TeleopNodeConfig)
        self._following = Following(self.config.following)
        self._stamps = StampClock(self._ros_time)
        self._readers: list[LeaderReader] = []
        limits = StampLimits(max_age=1.0, max_ahead=self.config.following.max_follower_age)
        self._heard: dict[str, StreamBuffer[FloatArray]] = {
            topic: StreamBuffer(topic, _KEPT, limits) for topic in (JOINT_TOPIC, TARGET_TOPIC)
        }
        max_apart = self.config.following.max_follower_age
        self._pickers = {topic: joint_state.JointPicker(max_apart) for topic in self._heard}
        self._active = False
        self._chunks: Publisher | None = None
        self._leader: Publisher | None = None
        self._joints: list[Subscription] = []
        self._timer: Timer | None = None
        self._offered: list[Service] = []
        self._told = self._following.state
        self._diagnostics = Diagnostics(self, self._report)

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the leaders' buses and listen; commands nothing."""
        config = self.config
        adapters = (config.can_left, config.usb_left), (config.can_right, config.usb_right)
        for side, (channel, usb_serial) in zip(SIDES, adapters, strict=True):
            if not self._has_leader(side):
                continue
            reader = LeaderReader(side, config.can_interface, channel, usb_serial)
            try:
                reader.open()
            except PiperError as error:
                self.get_logger().fatal(str(error))
                self.release()
                return FAILURE
            self._readers.append(reader)
        self._chunks = self.create_publisher(JointTrajectory, chunk_topic.CHUNK_TOPIC, chunk_topic.OFFERED_QOS)
        self._leader = self.create_publisher(JointState, LEADER_TOPIC, SENSOR_DATA)
        unhandled = NeverCalled()  # by the executor: some 400 messages a second are too many for it
        self._joints = [
            subscribe(
                self,
                JointState,
                topic,
                partial(self._on_joints, topic),
                qos_profile_sensor_data,
                self._heard[topic].reject,
                callback_group=unhandled,
            )
            for topic in (JOINT_TOPIC, TARGET_TOPIC)
        ]
        self._offered = [
            self._offer("teleop/engage", self._engage),
            self._offer("teleop/release", self._following.release),
        ]
        self._timer = steady_timer(self, 1.0 / config.following.rate, self._tick)
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Follow as soon as that is safe."""
        self._active = True
        self._following.engage()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let the followers hold."""
        self._active = False
        self._following.release()
        return super().on_deactivate(state)

    def close(self) -> None:
        """Close the buses and destroy the node."""
        self.release()
        self._diagnostics.destroy()
        self.destroy_node()

    def release(self) -> None:
        """Close the buses, release the topics."""
        self._active = False
        self._following.release()
        if self._timer is not None:
            self.destroy_timer(self._timer)
        for reader in self._readers:
            reader.close()
        for service in self._offered:
            self.destroy_service(service)
        for subscription in self._joints:
            self.destroy_subscription(subscription)
        for publisher in (self._chunks, self._leader):
            if publisher is not None:
                self.destroy_publisher(publisher)
        self._timer = self._chunks = self._leader = None
        self._readers, self._offered, self._joints = [], [], []

    def _has_leader(self, side: str) -> bool:
        return self.config.arms in ("both", side)

    def _offer(self, name: str, action: Callable[[], None]) -> Service:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                action()
                response.success, response.message = True, self._following.reason
            except PiperError as error:
                response.success, response.message = False, str(error)
            return response

        return self.create_service(Trigger, name, answer)

    def _engage(self) -> None:
        if not self._active:
            raise PiperError("teleop_node is not active: activate it first")
        self._following.engage()

    # Topics

    def _on_joints(self, topic: str, message: JointState) -> None:
        heard = self._heard[topic]
        try:
            positions, _, stamp = self._pickers[topic].take(message)
        except joint_state.OtherJointsError as error:
            heard.note(str(error))
            return
        except joint_state.JointNamesError as error:
            heard.reject(str(error))
            return
        if (bad := first_not_finite(positions)) is not None:
            heard.reject(f"{JOINT_NAMES[bad]} is {positions[bad]}")
            return
        if heard.admits(stamp, self._ros_time()):
            heard.append(stamp, positions)

    def _ros_time(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def _newest(self, topic: str) -> Joints | None:
        """Its time in monotonic time [s]."""
        heard = self._heard[topic].latest
        return None if heard is None else heard._replace(stamp=self._stamps.translate(heard.stamp))

    def _tick(self) -> None:
        if not self._active or self._chunks is None or self._leader is None:
            return
        drain(self, self._joints)
        now = time.monotonic()
        measured, target = self._newest(JOINT_TOPIC), self._newest(TARGET_TOPIC)
        leader = self._leader_position(target or measured)
        chunk = self._following.step(now, leader, self._fault(), measured, target)
        if chunk is not None:
            self._chunks.publish(chunk_to_message(replace(chunk, stamp=self._stamps.stamp(chunk.stamp))))
        if leader is not None and self._following.state == State.FOLLOWING:
            stamp = joint_state.seconds_to_stamp(self._stamps.stamp(now))
            self._leader.publish(joint_state.to_message(leader, stamp))
        self._tell()

    def _leader_position(self, followers: Joints | None) -> FloatArray | None:
        """Of both, shape [14]; None while one is not known.

        Args:
            followers: where they were told to be: there, too, is a leader that is not there. Not where they are: an arm
                that sags under its load would be told to stay there, and sag on.
        """
        if followers is None:
            return None
        positions = dict(zip(SIDES, np.split(followers.value, len(SIDES)), strict=True))
        for reader in self._readers:
            position = reader.position
            if position is None:
                return None
            positions[reader.side] = position
        return np.concatenate([positions[side] for side in SIDES])

    def _fault(self) -> str:
        for reader in self._readers:
            if fault := reader.fault:
                return fault
        if self.count_publishers(self.resolve_topic_name(chunk_topic.CHUNK_TOPIC)) > 1:
            return "another node commands the arms on action_chunk: stop it first (the policy?)"
        now, max_age = self._ros_time(), self.config.following.max_follower_age
        for topic, heard in self._heard.items():
            if fault := heard.fault and (heard.fault if heard.unusable else heard.staleness(now, max_age)):
                return f"{topic}: {fault}"
        return ""

    # Reports

    def _tell(self) -> None:
        """Log what changed, once."""
        following = self._following
        if following.state != self._told:
            self._told = following.state
            text = f"{following.state.value}: {following.reason}" if following.reason else following.state.value
            self.get_logger().info(text)

    def _report(self) -> Iterator[DiagnosticStatus]:
        following = self._following
        if not self._readers:
            yield status("teleop_node: following", OK, "not configured")
            return
        values = {
            "reason": following.reason,
            "distance": "unknown" if following.distance is None else following.distance,
            **{f"{topic} stamps not believed": heard.num_dropped for topic, heard in self._heard.items()},
            **{f"{reader.side}_frames": reader.num_frames for reader in self._readers},
            **{f"{reader.side}_garbled": reader.num_garbled for reader in self._readers},
            **{f"{side}_leader": _LEFT_OUT.format(self.config.arms) for side in SIDES if not self._has_leader(side)},
        }
        is_well = following.state in (State.FOLLOWING, State.RELEASED)
        message = following.state.value if is_well else f"{following.state.value}: {following.reason}"
        yield status("teleop_node: following", OK if is_well else WARN, message, **values)


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong."""
    return run(TeleopNode, TeleopNode.close, shared_memory=False)


if __name__ == "__main__":
    sys.exit(main())
