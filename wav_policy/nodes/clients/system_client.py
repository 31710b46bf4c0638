"""A running system seen from outside: what it says on /diagnostics, its chunks and its services. Hides ROS."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.nodes.clients import leading
from wav_policy.nodes.messages.chunk_topic import LEADERS
from wav_policy.nodes.messages.diagnostic_array import reports_from_message
from wav_policy.nodes.messages.subscribing import subscribe

SERVICE_TIMEOUT = 10.0
ENABLE_TIMEOUT: Final = 30.0
"""[s]"""
_FOUND_WITHIN: Final = 1.0
"""A node of this project that is there has been found [s]."""

WORLD: Final = "sim_node: world"
"""What the simulation says on /diagnostics."""


class ServiceError(RuntimeError):
    """A service does not exist, does not answer or refuses; the message names it."""


@dataclass(frozen=True)
class Report:
    """The newest entry of /diagnostics under one name."""

    message: str
    values: dict[str, str]

    def number(self, key: str) -> float | None:
        """A value as a number; None when it is not reported."""
        return float(self.values[key]) if key in self.values else None


class SystemClient:
    """Watches and steers the nodes of one system. Signals stay with the caller.

    Args:
        namespace: of the system in this ROS domain; "" for the root.
        tell: called with what is waited for, where a service is not there at once.

    Attributes:
        reports: newest entries of /diagnostics by name, such as "policy_node: planning".
        chunk_ages: age of every `action_chunk` on arrival: now minus the time of the observation it stems from [s].
    """

    def __init__(self, namespace: str = "", tell: Callable[[str], None] = lambda text: None) -> None:
        self._tell = tell
        limit_to_this_host()
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)  # the command line is not for ROS
        self.node = Node("wav_client", namespace=namespace, start_parameter_services=False)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.reports: dict[str, Report] = {}
        self.chunk_ages: list[float] = []
        subscribe(self.node, DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        subscribe(self.node, JointTrajectory, "action_chunk", self._on_chunk, 1)

    def close(self) -> None:
        """Leave the ROS domain."""
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown()

    def spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Process messages until the condition holds; False when it does not within `timeout` [s]."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._executor.spin_once(timeout_sec=0.1)
        return True

    def trigger(self, service: str, timeout: float = SERVICE_TIMEOUT) -> str:
        """Call a std_srvs/Trigger service and return its message.

        Raises:
            ServiceError: see the class.
        """
        return self._agreed(service, self._call(Trigger, service, Trigger.Request(), timeout))

    def halt(self) -> list[str]:
        """Let the arms brake and hold, and go on holding: whoever of this project leads them stops.

        Returns:
            Who that is.

        Raises:
            ServiceError: of what was not done; the rest was tried all the same.
        """
        leaders, failures = leading.halt(self)
        if failures:
            raise ServiceError("; ".join(failures))
        return leaders

    def start(self) -> list[str]:
        """Enable the arms and let whoever of this project is there lead them.

        Returns:
            Who that is.

        Raises:
            ServiceError: see the class; nobody begins to lead arms that are not enabled.
        """
        return leading.start(self)

    def brake(self) -> None:
        """Let the arms hold until the next chunk."""
        self.trigger("piper/hold")

    def enable(self) -> None:
        """Give the arms power."""
        self.switch("piper/enable", True, ENABLE_TIMEOUT)

    def leaders(self) -> list[str]:
        """Nodes of this project that are there to tell the arms what to do."""
        clients = {name: self.node.create_client(ChangeState, f"{name}/change_state") for name in LEADERS}
        try:
            self.spin_until(lambda: all(client.service_is_ready() for client in clients.values()), _FOUND_WITHIN)
            return [name for name, client in clients.items() if client.service_is_ready()]
        finally:
            for client in clients.values():
                self.node.destroy_client(client)

    def is_active(self, node: str) -> bool:
        """Whether a managed node is active."""
        response = self._call(GetState, f"{node}/get_state", GetState.Request(), SERVICE_TIMEOUT)
        return bool(response.current_state.id == State.PRIMARY_STATE_ACTIVE)

    def lay_out(self, seed: int) -> Callable[[], bool]:
        """Have the simulation, which has been heard, lay out its task anew.

        Returns:
            Whether it is heard about the new layout: what it said before is of an older one, whose success and time
            are not meant, even where the seed is the same.

        Raises:
            ServiceError: see the class.
        """
        before = self.reports[WORLD].values["resets"]
        self.set_parameter("sim_node", "next_seed", seed)
        self.trigger("sim/reset")

        def is_heard() -> bool:
            told = self.reports[WORLD].values
            return told["resets"] != before and told["seed"] == str(seed)

        return is_heard

    def switch(self, service: str, on: bool, timeout: float = SERVICE_TIMEOUT) -> str:
        """Call a std_srvs/SetBool service and return its message.

        Raises:
            ServiceError: see the class.
        """
        return self._agreed(service, self._call(SetBool, service, SetBool.Request(data=on), timeout))

    @staticmethod
    def _agreed(service: str, response: Any) -> str:
        if not response.success:
            raise ServiceError(f"{service} refused: {response.message}")
        return str(response.message)

    def set_parameter(self, node: str, name: str, value: Any) -> None:
        """Set a parameter of another node.

        Raises:
            ServiceError: see the class.
        """
        request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
        result = self._call(SetParameters, f"{node}/set_parameters", request, SERVICE_TIMEOUT).results[0]
        if not result.successful:
            raise ServiceError(f"{node} refused {name} = {value!r}: {result.reason}")

    def configure(self, node: str, timeout: float = SERVICE_TIMEOUT) -> None:
        """Configure a managed node; as the further transitions:

        Raises:
            ServiceError: see the class.
        """
        self._change_state(node, Transition.TRANSITION_CONFIGURE, "configure", timeout)

    def activate(self, node: str, timeout: float = ENABLE_TIMEOUT) -> None:
        """Activate a managed node."""
        self._change_state(node, Transition.TRANSITION_ACTIVATE, "activate", timeout)

    def deactivate(self, node: str, timeout: float = SERVICE_TIMEOUT) -> None:
        """Deactivate a managed node."""
        self._change_state(node, Transition.TRANSITION_DEACTIVATE, "deactivate", timeout)

    def clean_up(self, node: str, timeout: float = SERVICE_TIMEOUT) -> None:
        """Let a managed node release what it holds."""
        self._change_state(node, Transition.TRANSITION_CLEANUP, "clean up", timeout)

    def _change_state(self, node: str, transition: int, verb: str, timeout: float) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._call(ChangeState, f"{node}/change_state", request, timeout).success:
            raise ServiceError(f"{node} did not {verb}; its own message says why")

    def _call(self, kind: Any, service: str, request: Any, timeout: float) -> Any:
        client = self.node.create_client(kind, service)
        try:
            is_found = self.spin_until(client.service_is_ready, _FOUND_WITHIN)
            if not is_found:
                self._tell(f"looking for {client.service_name}")
            if not is_found and not self.spin_until(client.service_is_ready, min(timeout, SERVICE_TIMEOUT)):
                domain = os.environ.get("ROS_DOMAIN_ID") or "0"
                raise ServiceError(
                    f"there is no service {client.service_name} in ROS domain {domain} ({self._who_is_there()})"
                )
            future = client.call_async(request)
            if not self.spin_until(future.done, timeout):
                raise ServiceError(f"{service} did not answer within {timeout:g} s")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def _who_is_there(self) -> str:
        """Nodes by their full names, whose namespace may be another one; of one that hangs the graph may not know."""
        found = {f"{namespace.rstrip('/')}/{name}" for name, namespace in self.node.get_node_names_and_namespaces()}
        others = sorted(found - {self.node.get_fully_qualified_name()})
        if not others:
            return "no node is there; `wav up` starts a system"
        return f"nodes: {', '.join(others)}; it is offered once piper_node is configured, and not seen where that hangs"

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for name, report in reports_from_message(message, self.node.get_namespace()).items():
            self.reports[name] = Report(report.message, dict(report.values))

    def _on_chunk(self, message: JointTrajectory) -> None:
        stamp = message.header.stamp
        now = self.node.get_clock().now().nanoseconds * 1e-9
        self.chunk_ages.append(now - stamp.sec - stamp.nanosec * 1e-9)
