"""A small world of topics and services around the monitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from wav_policy.nodes.messages.images import message_from_rgb
from wav_policy.nodes.runtime.diagnostics import ERROR, OK, WARN, status
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES


class Robot:
    """Publishes what the monitor shows, and answers its commands.

    Attributes:
        called: services and transitions, in the order of their calls.
        states: of the managed nodes.
        refuse: what every service answers instead of doing its work.
        meanwhile: what happens during a call.
        deaf: arms that do not hear the emergency stop.
        silent, cameras, joints: whether reports are missing, and whether pictures and joint states come.
    """

    def __init__(self) -> None:
        self.node = Node("around")
        self.called: list[str] = []
        self.states = {"piper_node": State.PRIMARY_STATE_ACTIVE, "policy_node": State.PRIMARY_STATE_INACTIVE}
        self.refuse = ""
        self.meanwhile: dict[str, Callable[[], None]] = {}
        self.instructions: list[str] = []
        self.brightness = 0
        self.silent, self.cameras, self.joints = False, True, True
        self.deaf: set[str] = set()
        self.stopped: set[str] = set()
        self.loop = ("following the chunk", OK, "", "")
        self._images = {v: self.node.create_publisher(Image, f"{v}/image_raw", qos_profile_sensor_data) for v in VIEWS}
        self._joints = self.node.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.node.create_subscription(String, "instruction", lambda m: self.instructions.append(m.data), 10)
        for service in ("piper/stop", "piper/hold", "piper/reset", "piper/home", "sim/reset"):
            self.node.create_service(Trigger, service, self._answer(service))
        self.node.create_service(SetBool, "piper/enable", self._answer("piper/enable"))
        for name in self.states:
            self.node.create_service(ChangeState, f"{name}/change_state", self._change(name))
            self.node.create_service(GetState, f"{name}/get_state", self._state(name))
        self.node.create_timer(0.05, self._publish)

    def _publish(self) -> None:
        self.brightness = (self.brightness + 10) % 250
        now = self.node.get_clock().now().to_msg()
        for publisher in self._images.values() if self.cameras else ():
            publisher.publish(message_from_rgb(np.full((24, 32, 3), self.brightness, np.uint8), now))
        if self.joints:
            self._joints.publish(JointState(name=list(JOINT_NAMES), position=[0.001 * self.brightness] * 14))
        if self.silent:
            return
        report = status("policy_node: planning", WARN, "not planning: <b>no</b> instruction", plan_ms_p50=12.3)
        message, level, reason, detail = self.loop
        loop = status("piper_node: control loop", level, message, reason=reason, detail=detail)
        self._diagnostics.publish(DiagnosticArray(status=[report, loop, *map(self._arm, ("left", "right"))]))

    def _arm(self, side: str) -> DiagnosticStatus:
        level, message, state = (
            (ERROR, "emergency stop", "EMERGENCY_STOP") if side in self.stopped else (OK, "enabled", "NORMAL")
        )
        return status(f"piper_node: {side} arm", level, message, state=state, feedback_age_ms=4.0, outage="")

    def _note(self, call: str) -> None:
        self.called.append(call)
        self.meanwhile.get(call, lambda: None)()

    def _answer(self, service: str) -> Callable[[Any, Any], Any]:
        def answer(request: Any, response: Any) -> Any:
            self._note(service)
            if service == "piper/stop" and not self.refuse:
                self.stopped = {"left", "right"} - self.deaf
            if service == "piper/reset" and not self.refuse:
                self.stopped = set()
            response.success, response.message = not self.refuse, self.refuse or "done"
            return response

        return answer

    def _change(self, name: str) -> Callable[[Any, Any], Any]:
        def change(request: Any, response: Any) -> Any:
            self._note(f"{name} {request.transition.id}")
            self.states[name] = State.PRIMARY_STATE_ACTIVE if request.transition.id == 3 else 2
            response.success = True
            return response

        return change

    def _state(self, name: str) -> Callable[[Any, Any], Any]:
        def state(request: Any, response: Any) -> Any:
            response.current_state.id = self.states[name]
            return response

        return state
