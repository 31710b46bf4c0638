"""Lifecycle transitions that say why they failed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, TypeVar

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

N = TypeVar("N", bound=type[LifecycleNode])
Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]

_TRANSITIONS: Final = ("on_configure", "on_activate", "on_deactivate", "on_cleanup", "on_shutdown", "on_error")


def log_failures(node: N) -> N:
    """Class decorator: an exception in a transition is logged before rclpy takes it for a mere ERROR."""
    for name in _TRANSITIONS:
        setattr(node, name, _logging(getattr(node, name)))
    return node


def _logging(transition: Transition) -> Transition:
    @wraps(transition)
    def logged(self: LifecycleNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(self, state)
        except Exception as error:
            self.get_logger().fatal(f"{transition.__name__} failed: {type(error).__name__}: {error}")
            raise

    return logged
