"""Timers that no clock can stop or hurry."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType  # noqa: TID251 - of steady time
from rclpy.node import Node
from rclpy.timer import Timer


def steady_timer(
    node: Node, period: float, callback: Callable[[], None], callback_group: CallbackGroup | None = None
) -> Timer:
    """Calls back every `period` [s] of real time. rclpy's own default follows ROS time: it stands still while `/clock`
    does, and for an hour after the wall clock was set back by one."""
    clock = Clock(clock_type=ClockType.STEADY_TIME)
    return node.create_timer(period, callback, callback_group=callback_group, clock=clock)
