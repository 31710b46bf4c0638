"""Runs a node as a process: until SIGINT or SIGTERM, and through callbacks that fail."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import rclpy
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from wav_policy.bringup.discovery import limit_to_this_host
from wav_policy.nodes.runtime.parameters import ParameterError

N = TypeVar("N", bound=Node)


class _Pool(MultiThreadedExecutor):
    """Ends its threads with it; rclpy's own goes on calling back into a node that is being destroyed."""

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        self._executor.shutdown(wait=True)
        return bool(super().shutdown(timeout_sec))


_SPIN_PERIOD = 0.1
"""How long a signal may wait to be noticed [s]."""


def run(
    make_node: Callable[[], N],
    close: Callable[[N], None],
    *,
    on_signal: Callable[[N], None] = lambda node: None,
    num_threads: int = 1,
) -> int:
    """Spin a node until the process is asked to end.

    A callback that fails, such as a lifecycle transition that does not exist in the present state (rclpy raises those
    out of the executor), is logged; the node and its own threads go on.

    Args:
        make_node: makes the node; called once ROS is up.
        close: brings the node's threads to rest and destroys it; nothing spins any more.
        on_signal: first thing after the signal, while callbacks may still be running.
        num_threads: of the executor.

    Returns:
        Exit code: 0 after SIGINT or SIGTERM, 1 when a parameter is wrong.
    """
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)
    limit_to_this_host()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make_node()
    except ParameterError as error:
        print(error, file=sys.stderr)
        rclpy.shutdown()
        return 1
    executor = _Pool(num_threads) if num_threads > 1 else SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        try:
            executor.spin_once(timeout_sec=_SPIN_PERIOD)
        except Exception as error:
            node.get_logger().error(f"callback failed: {type(error).__name__}: {error}")
    on_signal(node)
    executor.shutdown()
    close(node)
    rclpy.shutdown()
    # Ctrl-C reaches a launched node twice; Python's own end must not be cut short by the second.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return 0
