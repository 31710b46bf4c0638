"""Node that brings managed nodes up in order and down in reverse order, as nav2's lifecycle manager does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import State, Transition, TransitionEvent
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.node import Node
from std_srvs.srv import Trigger

from wav_models.endings import WRONG_USE
from wav_models.signals import on_end
from wav_policy.bringup.node_parameters import ManagerConfig
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.runtime.diagnostics import OK, WARN, Diagnostics, status
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.spin import finish, logging_failures, start

_VERBS: Final = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_CLEANUP: "clean up",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "shut down",
}

_STATES: Final = {
    Transition.TRANSITION_CONFIGURE: "inactive",
    Transition.TRANSITION_ACTIVATE: "active",
    Transition.TRANSITION_DEACTIVATE: "inactive",
    Transition.TRANSITION_CLEANUP: "unconfigured",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "finalized",
}
"""Of a node after a transition that succeeded."""


class BringUpError(RuntimeError):
    """A managed node did not appear or refused a transition; the message says which."""


class LifecycleManager(Node):
    """Drives the lifecycle services of the nodes named in its parameters."""

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("lifecycle_manager", **node_arguments)
        self.config = declare(self, ManagerConfig)
        self._interrupted = False
        self._service_clients: dict[str, Any] = {}
        self._states = dict.fromkeys(self.config.node_names, "unknown")
        for name in self.config.node_names:
            subscribe(self, TransitionEvent, f"{name}/transition_event", self._follow(name), 10)
        self._diagnostics = Diagnostics(self, self._report, period=1.0)

    def interrupt(self) -> None:
        """Ask `bring_up` and `wait` to end; safe in a signal handler."""
        self._interrupted = True

    def bring_up(self) -> None:
        """Configure all nodes in order, then activate all in order.

        Raises:
            BringUpError: a node did not appear in time or refused.
        """
        for service in self.config.ready_services:
            self._await_service(service)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            for name in self.config.node_names:
                if self._interrupted:
                    return
                self._await_lifecycle(name)
                self._change(name, transition, self.config.transition_timeout)
        self.get_logger().info(f"all nodes active: {', '.join(self.config.node_names)}")

    def wait(self) -> None:
        """Spin until interrupted."""
        while not self._interrupted:
            with logging_failures(self):
                rclpy.spin_once(self, timeout_sec=0.2)

    def bring_down(self, *, orderly: bool) -> None:
        """Bring the nodes down in reverse order; those that are gone are passed over.

        Args:
            orderly: somebody asked for it, so piper_node may be deactivated, which parks the arms. Otherwise, and
                where a node is gone, active nodes are shut down instead: the arms brake and hold where they are.
        """
        self._interrupted = False
        states = {name: self._current_state(name) for name in reversed(self.config.node_names)}
        orderly = orderly and State.PRIMARY_STATE_UNKNOWN not in states.values()
        for name, state in states.items():
            for transition in _way_down(state, orderly):
                try:
                    self._change(name, transition, self.config.stop_timeout)
                except BringUpError as error:
                    self.get_logger().error(str(error))
                    break

    def _current_state(self, name: str) -> int:
        """Primary state of a node; unknown when it is gone."""
        response = self._call(GetState, f"{name}/get_state", GetState.Request(), self.config.gone_timeout)
        return int(State.PRIMARY_STATE_UNKNOWN if response is None else response.current_state.id)

    def _await_service(self, service: str) -> None:
        """Somebody answers it: the graph names a service that has clients only, too."""
        self._await(self._client(Trigger, service).service_is_ready, service)

    def _await_lifecycle(self, name: str) -> None:
        """It answers: the graph names a service for some seconds after its process was killed, too."""
        self._await(lambda: self._current_state(name) != State.PRIMARY_STATE_UNKNOWN, name)

    def _await(self, condition: Callable[[], bool], name: str) -> None:
        if not self._spin_until(condition, self.config.appear_timeout) and not self._interrupted:
            raise BringUpError(f"{name} did not appear within {self.config.appear_timeout:g} s")

    def _change(self, name: str, transition: int, timeout: float) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        response = self._call(ChangeState, f"{name}/change_state", request, timeout)
        if self._interrupted:
            return
        if response is None:
            raise BringUpError(f"{name} did not {_VERBS[transition]} within {timeout:g} s")
        if not response.success:
            raise BringUpError(f"{name} did not {_VERBS[transition]}; its own message says why")
        self._states[name] = _STATES[transition]  # the event may have come before the two sides knew each other

    def _call(self, kind: Any, service: str, request: Any, timeout: float) -> Any:
        """The response, or None when there is none in time or the manager was interrupted."""
        client = self._client(kind, service)
        if not self._spin_until(client.service_is_ready, timeout):
            return None
        future = client.call_async(request)
        return future.result() if self._spin_until(future.done, timeout) else None

    def _client(self, kind: Any, service: str) -> Any:
        """One client per service: a request sent before the two sides know each other is lost."""
        if service not in self._service_clients:
            self._service_clients[service] = self.create_client(kind, service)
        return self._service_clients[service]

    def _spin_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if self._interrupted or time.monotonic() > deadline:
                return condition()
            with logging_failures(self):
                rclpy.spin_once(self, timeout_sec=0.1)
        return True

    def _follow(self, name: str) -> Callable[[TransitionEvent], None]:
        def note(event: TransitionEvent) -> None:
            self._states[name] = event.goal_state.label

        return note

    def _report(self) -> Sequence[DiagnosticStatus]:
        waiting = [name for name, state in self._states.items() if state != "active"]
        message = f"not active: {', '.join(waiting)}" if waiting else "all nodes active"
        return [status("lifecycle_manager: nodes", WARN if waiting else OK, message, **self._states)]


def _way_down(state: int, orderly: bool) -> tuple[int, ...]:
    """Transitions that bring a node down from a primary state."""
    if state == State.PRIMARY_STATE_INACTIVE:
        return (Transition.TRANSITION_CLEANUP,)
    if state != State.PRIMARY_STATE_ACTIVE:
        return ()
    if orderly:
        return Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
    return (Transition.TRANSITION_ACTIVE_SHUTDOWN,)


def main() -> int:
    """Exit code 1 when the nodes could not be brought up, `WRONG_USE` when a parameter is wrong."""
    manager = start(LifecycleManager)
    if manager is None:
        return WRONG_USE
    on_end(manager.interrupt)
    orderly = False
    try:
        manager.bring_up()
        manager.wait()
        orderly = True
        return 0
    except BringUpError as error:
        manager.get_logger().fatal(f"bring-up failed: {error}")
        return 1
    finally:
        manager.bring_down(orderly=orderly)
        finish()


if __name__ == "__main__":
    sys.exit(main())
