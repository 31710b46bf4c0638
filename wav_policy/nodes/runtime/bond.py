"""Heartbeats for whoever manages the node, nav2's lifecycle manager for one: its side of a bond of ROS's `bond`.

There is one direction only. Who manages notices within its timeout that the node is gone or hangs; the node hears
nothing, as nodes of nav2 do nothing either when their manager is gone.
"""

from __future__ import annotations

import uuid
from importlib import import_module
from typing import Any, Final

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node

from wav_policy.nodes.runtime.timers import steady_timer

TOPIC: Final = "bond"
"""In the namespace of the node, where nav2's manager looks too."""

_PERIOD: Final = 0.1
"""Between two heartbeats [s], as nav2's nodes have it."""
_TIMEOUT: Final = 4.0
"""After which the other side should miss them [s]; told for whoever compares, the other side has its own."""


class Bond:
    """As long as it is alive it says so; nothing where `bond` is not installed.

    Args:
        node: it speaks for, under its name.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher: Any = None
        self._timer: Any = None
        try:
            self._status = import_module("bond.msg").Status
            self._publisher = node.create_publisher(self._status, TOPIC, 1)
        except ImportError:
            return
        except Exception as error:  # whatever it is (SROS 2 does not allow it), the node is needed without it
            node.get_logger().warning(f"no bond: {type(error).__name__}: {error}")
            return
        self._own_group = MutuallyExclusiveCallbackGroup()  # a service that takes its time is no death
        self._instance = ""

    def begin(self) -> None:
        """Alive, from now on."""
        if self._publisher is not None and self._timer is None:
            self._instance = str(uuid.uuid4())
            self._timer = steady_timer(self._node, _PERIOD, lambda: self._say(True), self._own_group)
            self._say(True)

    def end(self) -> None:
        """Say that it is over, which is no death that nobody foresaw."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._say(False)

    def _say(self, is_active: bool) -> None:
        status = self._status(
            id=self._node.get_name(),
            instance_id=self._instance,
            active=is_active,
            heartbeat_timeout=_TIMEOUT,
            heartbeat_period=_PERIOD,
        )
        status.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(status)
