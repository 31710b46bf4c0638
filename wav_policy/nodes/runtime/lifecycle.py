"""Managed nodes that say why a transition failed, answer every request, and show that they are alive."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy._rclpy_pybind11 import RCLError
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from wav_policy.nodes.runtime.bond import Bond

_CALLBACKS: Final = ("on_configure", "on_activate", "on_deactivate", "on_cleanup", "on_shutdown", "on_error")

_TRIGGERS: Final = {
    Transition.TRANSITION_CONFIGURE: "trigger_configure",
    Transition.TRANSITION_ACTIVATE: "trigger_activate",
    Transition.TRANSITION_DEACTIVATE: "trigger_deactivate",
    Transition.TRANSITION_CLEANUP: "trigger_cleanup",
    Transition.TRANSITION_UNCONFIGURED_SHUTDOWN: "trigger_shutdown",
    Transition.TRANSITION_INACTIVE_SHUTDOWN: "trigger_shutdown",
    Transition.TRANSITION_ACTIVE_SHUTDOWN: "trigger_shutdown",
}


class ManagedNode(LifecycleNode):
    """rclpy takes an exception in a transition for a mere ERROR: here it is logged before. And it leaves who asks for
    a transition that is impossible in the present state without an answer: here that is False. Active ones have a
    `Bond`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in _CALLBACKS:
            setattr(cls, name, _logging(getattr(cls, name)))

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        self._bond = Bond(self)
        if (service := getattr(self, "_service_change_state", None)) is not None:
            service.callback = self._answering(service.callback)

    def destroy_node(self) -> None:
        """With the state machine and its services.

        rclpy leaves these to the garbage collector, which may come when ROS has gone, and then waits for ever.
        """
        super().destroy_node()
        self._state_machine.destroy_when_not_in_use()

    def release(self) -> None:
        """Give back what `on_configure` made: in any state, also when nothing is there."""
        raise NotImplementedError

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Be alive for whoever manages the node."""
        result = super().on_activate(state)
        self._bond.begin()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """As it was before."""
        self._bond.end()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, from any state."""
        self._bond.end()
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """The same, after a transition that failed in a way nobody foresaw; then it can be configured again."""
        self._bond.end()
        self.release()
        return TransitionCallbackReturn.SUCCESS

    def make_transition(self, transition: int) -> bool:
        """Whether a transition, of lifecycle_msgs/Transition, was possible and went well."""
        try:
            made = getattr(self, _TRIGGERS[transition])()
        except (RCLError, KeyError) as error:
            self._warn_impossible(transition, error)
            return False
        return bool(made == TransitionCallbackReturn.SUCCESS)

    def _answering(
        self, callback: Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]
    ) -> Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]:
        def answer(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return callback(request, response)
            except RCLError as error:
                self._warn_impossible(request.transition.id, error)
                return ChangeState.Response(success=False)

        return answer

    def _warn_impossible(self, transition: int, error: Exception) -> None:
        why = str(error).split(", at ")[0]
        self.get_logger().warning(f"transition {transition} refused: {why}", throttle_duration_sec=1.0)


def _logging(
    callback: Callable[[Any, LifecycleState], TransitionCallbackReturn],
) -> Callable[[Any, LifecycleState], TransitionCallbackReturn]:
    @wraps(callback)
    def logged(self: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return callback(self, state)
        except Exception as error:
            self.get_logger().fatal(f"{callback.__name__} failed: {type(error).__name__}: {error}")
            raise

    return logged
