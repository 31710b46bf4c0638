"""Managed node: two Piper arms over CAN, executing action chunks through the safety filter.

configure opens the buses, reads what the arms hold in flash and publishes joint_states; activate enables the arms and
follows action_chunk; deactivate moves to the safe pose and holds; clean-up closes the buses. The arms are never powered
off but by piper/enable false and piper/reset. A bus that fails is opened again by itself; see docs/driver.md.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from typing import Final

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.service import Service
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from wav_models.types import ActionChunk, FloatArray
from wav_policy.bringup.node_parameters import PiperNodeConfig
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.flash_check import fitted_limits, unfit_limits, wider_limits
from wav_policy.control.reach import Reach
from wav_policy.control.safety import SafetyLimits
from wav_policy.control.stamp_clock import StampClock
from wav_policy.nodes.arm_diagnostics import (
    describe_absent_arm,
    describe_arm,
    describe_listener,
    describe_loop,
    why_not_commanding,
)
from wav_policy.nodes.messages import chunk_topic, joint_state
from wav_policy.nodes.messages.gateway_words import Answer, Introduction, Overtaken, Wanted
from wav_policy.nodes.messages.instruction_topic import LATCHED_QOS
from wav_policy.nodes.messages.qos import SENSOR_DATA
from wav_policy.nodes.runtime.chunk_listener import ChunkListener
from wav_policy.nodes.runtime.diagnostics import Diagnostics
from wav_policy.nodes.runtime.goal_runner import Configured, GoalRunner
from wav_policy.nodes.runtime.lifecycle import ManagedNode
from wav_policy.nodes.runtime.parameters import Described, declare, describe
from wav_policy.nodes.runtime.priority import take_priority
from wav_policy.nodes.runtime.repeated_words import RepeatedWords
from wav_policy.nodes.runtime.spin import run
from wav_policy.piper.bimanual import BimanualPiper, JointReading
from wav_policy.piper.errors import (
    ArmFaultError,
    ArmInUseError,
    EmergencyStoppedError,
    LeaderArmError,
    PiperError,
    TeachModeError,
)
from wav_policy.robot.joints import SIDES
from wav_policy.robot.urdf import robot_urdf

DESCRIPTION_TOPIC = "robot_description"
_HOLD_TOLD_EVERY = 1.0  # s
_WITHOUT_A_NODE: Final[dict[type[PiperError], str]] = {
    **dict.fromkeys(
        (EmergencyStoppedError, ArmFaultError, TeachModeError), "support the arms, switch their power off and on, and "
    ),
    **dict.fromkeys((LeaderArmError, ArmInUseError), "once nothing else speaks on the bus, "),
}
"""What to do where the error ends the start, so that nobody is left to call piper/reset."""
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PiperNode(ManagedNode):
    """The skin over `BimanualPiper` and `ControlLoop`.

    It takes nothing from the network but calls of services that have no texts and no lists: what a service or a
    subscription receives is decoded while every other thread waits. `chunk_gateway` takes the rest.
    """

    def __init__(self) -> None:
        super().__init__(
            "piper_node",
            enable_communication_interface=False,
            start_parameter_services=False,
            parameter_overrides=[Parameter("start_type_description_service", value=False)],
        )
        self.config = declare(self, PiperNodeConfig)
        self._arms: BimanualPiper | None = None
        self._loop: ControlLoop | None = None
        self._active = False
        self._stop_reason: str | None = None  # of a loop that was closed while it was stopped
        self._num_stops = self._num_holds = 0
        self._stamps = StampClock(self._ros_time)
        self._unfit: dict[str, tuple[str, ...]] = {}
        self._holds_told: dict[str, float] = {}
        self._tell_hold = RepeatedWords(self.get_logger().warning)
        # Enable, reset, home and the transitions exclude each other; neither hold nor diagnostics wait for them, and a
        # stop waits for nothing.
        self._stops = MutuallyExclusiveCallbackGroup()
        self._holds = MutuallyExclusiveCallbackGroup()
        self._reports = MutuallyExclusiveCallbackGroup()
        self._joint_states: Publisher | None = None
        self._joint_targets: Publisher | None = None
        self._offered: list[Service] = []
        self._diagnostics: Diagnostics | None = None
        if self.config.publish_description:
            self.create_publisher(String, DESCRIPTION_TOPIC, LATCHED_QOS).publish(String(data=robot_urdf()))
        self._scheduling = "ordinary"
        self._wanted: deque[tuple[Wanted, int]] = deque()
        self._may_park = True
        self._wake = self.create_guard_condition(self._make_transitions)
        self._goals = GoalRunner(
            lambda: self._loop,
            Configured(
                np.array(self.config.home),
                self.config.home_speed,
                self.config.arm.gripper_effort,
                self._absent_arm()[0],
            ),
            self._stamps.translate,
            lambda order: self._listener.tell(order),
            self._note,
        )
        topic = self.resolve_topic_name(chunk_topic.CHUNK_TOPIC)
        self._listener = ChunkListener(
            topic,
            self.get_namespace(),
            self._on_chunk,
            self._reject,
            RepeatedWords(self.get_logger().warning),
            self._introduce,
            self._on_wanted,
            self._goals.hear,
            self._note,
        )

    def take_priority(self) -> PiperNode:
        """Before everything ordinary, as far as this user may; of the whole process, so not where others share it."""
        self._scheduling = take_priority(self.config.realtime_priority)
        self.get_logger().info(f"scheduling: {self._scheduling}")
        return self

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the buses, read feedback, offer topics and services."""
        config = self.config
        self._joint_states = self.create_publisher(JointState, "joint_states", SENSOR_DATA)
        self._joint_targets = self.create_publisher(JointState, "joint_targets", SENSOR_DATA)
        arms = BimanualPiper(
            config.can_interface,
            config.can_left,
            config.can_right,
            config.arm,
            time.monotonic,
            self._publish,
            (config.usb_left, config.usb_right),
            *self._absent_arm(),
        )
        self._arms = arms
        try:
            arms.connect()
            safety, reach = self._compare_limits(arms)
            self._listener.wait()
        except PiperError as error:
            self.get_logger().fatal(str(error))
            self.release()
            return FAILURE
        self._loop = ControlLoop(
            arms,
            config.control_rate,
            safety,
            config.chunking,
            on_fault=self._report_fault,
            on_target=self._publish_target,
            on_inhibit=self._report_inhibit,
            on_hold=self._report_hold,
            stamps=self._stamps,
            reach=reach,
        )
        if self._stop_reason is not None:
            self._loop.trip(self._stop_reason)
        self._loop.start()
        self._offered = [
            self.create_service(SetBool, "piper/enable", self._on_enable),
            self.create_service(Trigger, "piper/stop", self._on_stop, callback_group=self._stops),
            self.create_service(Trigger, "piper/hold", self._on_hold, callback_group=self._holds),
            self.create_service(Trigger, "piper/reset", self._on_reset),
            self.create_service(Trigger, "piper/home", self._on_home),
        ]
        self._offered += [
            self.create_service(SetBool, f"piper/{side}/reset", partial(self._on_forced_reset, side)) for side in SIDES
        ]
        self._diagnostics = Diagnostics(self, self._diagnose, callback_group=self._reports)
        for side, arm in arms.status().items():
            self.get_logger().info(f"{side} arm: firmware {arm.firmware or 'unknown'}, mode {arm.mode_name}")
            for remark in arm.firmware_remarks:
                self.get_logger().warning(f"{side} arm: {remark}")
        return SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Enable the arms and start commanding; they hold until a chunk comes."""
        self._active = True
        try:
            self._engage()
        except PiperError as error:
            self._active = False
            remedy = _WITHOUT_A_NODE.get(type(error), "") if "piper/reset" in str(error) else ""
            advice = f" If this ends the start, nobody is left to call: {remedy}start again." if remedy else ""
            self.get_logger().fatal(f"{error}{advice}")
            return FAILURE
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Move to the safe pose as far as that is possible, then hold under the arms' own control. Not where piper/hold
        was called while this waited: it stays where it is held."""
        asked = time.monotonic()
        loop, speed = self._loop, self.config.park_speed if self._may_park else 0.0
        if loop is not None and speed > 0.0:
            self.get_logger().info("parking: the arms move slowly to the safe pose")
            if loop.park(np.array(self.config.home), speed, asked):
                self.get_logger().info("parked: the arms are in the safe pose")
            else:
                why = loop.state().detail or "not commanding"
                self.get_logger().warning(f"not in the safe pose, holding where the arms are: {why}")
        self.hold()
        return super().on_deactivate(state)

    def hold(self) -> None:
        """Brake and stop commanding, whatever is going on; a motion home ends."""
        self._active = False
        if self._loop is not None:
            self._loop.disengage()

    def close(self) -> None:
        """Close the buses, arms holding, and destroy the node; in any state, also after its own shutdown."""
        self.release()
        self._listener.close()
        self._goals.close()
        self.destroy_node()

    def release(self) -> None:
        """Hold and close the buses; the arms keep their power."""
        self.hold()
        if self._loop is not None:
            self._loop.close()
            self._stop_reason = self._loop.stop_reason
        if self._diagnostics is not None:
            self._diagnostics.destroy()
        if self._arms is not None:
            self._arms.close()
        for service in self._offered:
            self.destroy_service(service)
        if self._joint_states is not None:
            self.destroy_publisher(self._joint_states)
        if self._joint_targets is not None:
            self.destroy_publisher(self._joint_targets)
        self._arms = self._loop = self._diagnostics = None
        self._joint_states = self._joint_targets = None
        self._offered = []

    # Transitions that the gateway is asked for

    def _introduce(self) -> Introduction:
        machine = self._state_machine
        clock = Described("use_sim_time", self.get_parameter("use_sim_time").value)
        return Introduction(
            self.get_name(),
            machine.current_state[0],
            tuple(machine.available_states),
            tuple(machine.transition_graph),
            tuple(asdict(described) for described in (clock, *describe(self.config))),
        )

    def _on_wanted(self, wanted: Wanted) -> None:
        self._wanted.append((wanted, self._num_holds))
        self._wake.trigger()

    def _make_transitions(self) -> None:
        while self._wanted:
            wanted, holds = self._wanted.popleft()
            is_held = wanted.is_overtaken or holds != self._num_holds
            self._may_park = not is_held
            success = False
            if is_held and wanted.transition == Transition.TRANSITION_ACTIVATE:
                self.get_logger().warning("not activated: piper/hold was called while this waited")
            else:
                success = self.make_transition(wanted.transition)
            self._listener.tell(Answer(wanted.number, success, self._state_machine.current_state[0]))

    # Topics

    def _publish(self, reading: JointReading) -> None:
        if self._joint_states is not None:
            stamp = joint_state.seconds_to_stamp(self._stamps.stamp(reading.stamp))
            message = joint_state.to_message(
                reading.position, stamp, velocities=reading.velocity, efforts=reading.effort
            )
            self._joint_states.publish(message)

    def _publish_target(self, target: FloatArray, now: float) -> None:
        """What the arms have just been told, for those who record it."""
        publisher = self._joint_targets
        if publisher is not None and publisher.get_subscription_count():
            publisher.publish(joint_state.to_message(target, joint_state.seconds_to_stamp(self._stamps.stamp(now))))

    def _on_chunk(self, chunk: ActionChunk) -> None:
        loop = self._loop
        if loop is not None:
            loop.accept(replace(chunk, stamp=self._stamps.translate(chunk.stamp)))

    def _reject(self, reason: str) -> None:
        loop = self._loop
        if loop is not None:
            loop.reject(reason)

    def _note(self, text: str) -> None:
        self.get_logger().info(text)

    def _report_inhibit(self, text: str) -> None:
        if text:
            self.get_logger().warning(f"holding: {text}")
        else:
            self.get_logger().info("the arms may be commanded again; holding until the next chunk")

    def _report_hold(self, reason: str, detail: str) -> None:
        """Once a second for each reason, and twice a minute in the same words: arms that touch something may begin to
        hold with every chunk."""
        now = time.monotonic()
        if now - self._holds_told.get(reason, -np.inf) >= _HOLD_TOLD_EVERY:
            self._holds_told[reason] = now
            self._tell_hold(f"holding: {reason}: {detail}")

    def _report_fault(self, fault: str) -> None:
        self.get_logger().error(f"control loop stopped: {fault}")

    # Services

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        def enable() -> str:
            self._engage()
            return "arms enabled and holding"

        def disable() -> str:
            loop, arms = self._connected()
            loop.disengage()
            arms.disable()
            return "motors are off: the arms are limp"

        return self._answer(response, enable if request.data else disable)

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def stop() -> str:
            loop, arms = self._connected()
            self._num_stops += 1
            with self._passing_over("piper/stop"):
                loop.trip("piper/stop")
                arms.stop()
            stopped = "emergency stop; to go on: support the arms, piper/reset, piper/enable"
            self.get_logger().warning(stopped)
            return stopped

        return self._answer(response, stop)

    def _on_hold(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        def hold() -> str:
            loop, _ = self._connected()
            self._num_holds += 1
            with self._passing_over("piper/hold"):
                loop.hold("held by request")
            return why_not_commanding(loop.state()) or "the arms hold"

        return self._answer(response, hold)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(response, self._reset)

    def _on_forced_reset(self, side: str, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        """True resets this arm alone, also where it reports no fault; false says what that means."""

        def reset() -> str:
            self._connected()[1].arm(side)
            if not request.data:
                raise PiperError(
                    f"nothing was done. A forced reset cuts the power of the {side} arm: IT FALLS, and drops what it "
                    f"holds. Support it, then call piper/{side}/reset with data true"
                )
            return self._reset(side)

        return self._answer(response, reset)

    def _reset(self, forced: str = "") -> str:
        loop, arms = self._connected()
        stops = self._num_stops
        loop.disengage()  # a trip alone does not brake, and of two arms one may need no reset
        loop.trip("piper/reset")

        def is_stopped_anew() -> bool:
            return self._num_stops != stops

        sides = arms.reset(is_stopped_anew, forced)
        if not loop.reset(is_stopped_anew):
            raise EmergencyStoppedError("stopped during the reset: support the arms and call piper/reset again")
        if not sides:
            return "no arm lost its power; call piper/enable to go on"
        return (
            f"{' and '.join(sides)} lost power; call piper/enable to go on, then piper/home if an arm lies on something"
        )

    def _on_home(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        asked = time.monotonic()

        def home() -> str:
            loop, _ = self._connected()
            if not loop.move_to(np.array(self.config.home), self.config.home_speed, asked):
                state = loop.state()
                why = why_not_commanding(state) or state.detail or "still on the way"
                raise PiperError(f"not at home: {why}")
            return "at home"

        return self._answer(response, home)

    @contextmanager
    def _passing_over(self, end: str) -> Iterator[None]:
        """Take what waits of the requests that move or power the arms before an end, so that it does not begin after it
        and undo it; refuse it after the end, for an answer may wait 0.1 s for whoever asked, or fail."""
        why = f"not done: {end} was called while this waited. Call it again if it is still wanted"
        self._listener.tell(Overtaken(why))
        waiting = []
        for service in self._offered:
            if service.callback_group is not self.default_callback_group:
                continue
            with suppress(Exception), service.handle:
                while (header := service.handle.service_take_request(service.srv_type.Request)[1]) is not None:
                    waiting.append((service, header))
        try:
            yield
        finally:
            for service, header in waiting:
                with suppress(Exception):
                    service.send_response(service.srv_type.Response(success=False, message=why), header)

    def _answer(
        self, response: SetBool.Response | Trigger.Response, action: Callable[[], str]
    ) -> SetBool.Response | Trigger.Response:
        """Fill in the outcome; `PiperError` becomes success = false with its message."""
        try:
            response.message, response.success = action(), True
        except PiperError as error:
            response.message, response.success = str(error), False
            self.get_logger().error(str(error))
        return response

    def _engage(self) -> None:
        loop, arms = self._connected()
        if not self._active:
            raise PiperError("piper_node is not active: activate it first")
        if loop.stop_reason is not None:
            raise PiperError(f"stopped ({loop.stop_reason}): support the arms and call piper/reset first")
        loop.disengage()
        stops = self._num_stops
        were_ready = arms.enable(lambda: self._num_stops != stops or not self._active)
        if not self._active:
            raise PiperError("deactivated meanwhile: the arms hold where they are")
        if not loop.engage(were_ready):
            raise PiperError(f"stopped meanwhile ({loop.stop_reason}): support the arms and call piper/reset first")

    def _connected(self) -> tuple[ControlLoop, BimanualPiper]:
        if self._loop is None or self._arms is None:
            raise PiperError("piper_node is not configured")
        return self._loop, self._arms

    def _absent_arm(self) -> tuple[str, FloatArray]:
        """Which arm is not there ("" when both are), and where it is taken to be: at home."""
        left, right = np.split(np.array(self.config.home), 2)
        absent: dict[str, tuple[str, FloatArray]] = {"left": ("right", right), "right": ("left", left)}
        return absent.get(self.config.arms, ("", left))

    def _compare_limits(self, arms: BimanualPiper) -> tuple[SafetyLimits, Reach]:
        """Report what the arms' flash would not let us do; nothing is written.

        Returns:
            The configured limits, the opening of the grippers narrowed to their stroke; how far the arms themselves go.
        """
        flashes = arms.read_flash()
        safety = fitted_limits(self.config.safety, flashes.values())
        self._unfit = {side: unfit_limits(flash, safety, arms.arm(side).channel) for side, flash in flashes.items()}
        for side, texts in self._unfit.items():
            for text in texts:
                self.get_logger().warning(f"{side} arm: {text}")
            for text in wider_limits(flashes[side], safety):
                self.get_logger().info(f"{side} arm: {text}")
        return safety, Reach.of(flashes)

    # Diagnostics

    def _diagnose(self) -> Iterator[DiagnosticStatus]:
        if self._loop is None or self._arms is None:
            return
        absent = self._absent_arm()[0]
        if absent:
            yield describe_absent_arm(absent, self.config.arms)
        yield describe_loop(self._loop.state(), self.config.control_rate, self._scheduling)
        yield describe_listener(self._listener.state)
        for side, arm in self._arms.status().items():
            yield describe_arm(side, arm, self.config.safety.max_measurement_age, self._unfit[side])

    def _ros_time(self) -> float:
        return float(self.get_clock().now().nanoseconds) * 1e-9


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong."""
    return run(
        lambda: PiperNode().take_priority(),
        PiperNode.close,
        on_signal=PiperNode.hold,
        num_threads=4,
        shared_memory=False,
    )


if __name__ == "__main__":
    sys.exit(main())
