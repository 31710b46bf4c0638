"""Runs a node as a process: until a signal asks it to end, and through callbacks that fail."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.executors import MultiThreadedExecutor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from wav_models.endings import WRONG_USE
from wav_models.signals import ignore_ends, on_end
from wav_policy.bringup.discovery import avoid_shared_memory, limit_to_this_host
from wav_policy.nodes.messages.limits import cut

N = TypeVar("N", bound=Node)


class PoolExecutor(MultiThreadedExecutor):
    """Ends its threads with it; rclpy's own goes on calling back into a node that is being destroyed, and a transition
    that meets a destroyed state machine kills the process."""

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
    shared_memory: bool = True,
) -> int:
    """Spin a node until the process is asked to end.

    A callback that fails, such as a lifecycle transition that does not exist in the present state (rclpy raises those
    out of the executor), is logged; the node and its own threads go on.

    Args:
        make_node: makes the node; called once ROS is up.
        close: brings the node's threads to rest and destroys it; nothing spins any more.
        on_signal: first thing after the signal, while callbacks may still be running.
        num_threads: of the executor.
        shared_memory: whether the middleware may use it; see `avoid_shared_memory`.

    Returns:
        Exit code: 0 after one of `END_SIGNALS`, `WRONG_USE` when a parameter or a parameter file is wrong.
    """
    ended = threading.Event()

    on_end(ended.set)
    node = start(make_node, limit_to_this_host if shared_memory else avoid_shared_memory)
    if node is None:
        return WRONG_USE
    executor = PoolExecutor(num_threads) if num_threads > 1 else SingleThreadedExecutor()
    executor.add_node(node)
    while not ended.is_set():
        with logging_failures(node):
            executor.spin_once(timeout_sec=_SPIN_PERIOD)
    on_signal(node)
    executor.shutdown()
    close(node)
    finish()
    return 0


@contextmanager
def logging_failures(node: Node) -> Iterator[None]:
    """Around `spin_once`: a callback that fails costs itself only, not the process."""
    try:
        yield
    except Exception as error:
        text = f"callback failed: {type(error).__name__}: {error}"
        node.get_logger().error(cut(text), throttle_duration_sec=1.0)


def start(make_node: Callable[[], N], limit_network: Callable[[], None] = limit_to_this_host) -> N | None:
    """ROS and the node; None, with the reason printed, when a parameter, a file of them or its argument is wrong."""
    try:
        limit_network()
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        node = make_node()
    except (ValueError, RCLError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        rclpy.try_shutdown()
        return None
    gc.freeze()  # of what is imported by now nothing becomes garbage: the collector need not look through it again
    return node


def finish() -> None:
    """Leave ROS. Ctrl-C reaches a launched node twice; Python's own end must not be cut short by the second."""
    gc.collect()  # a node that could not be made is nobody's to destroy, and must go before ROS does
    rclpy.try_shutdown()
    ignore_ends()
