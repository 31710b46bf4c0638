"""What a node says about itself on /diagnostics: at a steady rate, and at once when something changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from wav_policy.nodes.messages.diagnostic_array import prefix
from wav_policy.nodes.messages.limits import cut
from wav_policy.nodes.runtime.timers import steady_timer

OK: Final = DiagnosticStatus.OK
WARN: Final = DiagnosticStatus.WARN
ERROR: Final = DiagnosticStatus.ERROR
STALE: Final = DiagnosticStatus.STALE


def status(name: str, level: bytes, message: str, /, **values: Any) -> DiagnosticStatus:
    """One entry of /diagnostics.

    Args:
        name: "node: part", such as "piper_node: left arm".
        level: OK, WARN, ERROR or STALE.
        message: one line for a human.
        values: key-value pairs; floats are rounded to six significant digits.

    `Diagnostics` puts the namespace before the name. Texts are cut to `MAX_TEXT`: some stem from others' messages.
    """
    pairs = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(name=name, level=level, message=cut(message), values=pairs)


class Diagnostics:
    """Publishes what the sources report: every `period`, and within `check_period` of a new level or message.

    Args:
        node: owner of publisher and timer.
        *sources: called from the node's executor; each returns the entries of one part of the node.
        period: time between unchanged reports [s].
        check_period: time between looks for changes [s].
        callback_group: of the timer; the node's own if None, so that a slow callback there silences the reports.

    Attributes:
        looked: when the node's executor last let it look for changes, monotonic [s].
    """

    def __init__(
        self,
        node: Node,
        *sources: Callable[[], Iterable[DiagnosticStatus]],
        period: float = 0.5,
        check_period: float = 0.1,
        callback_group: CallbackGroup | None = None,
    ) -> None:
        self._node = node
        self._sources = sources
        self._period = period
        self._last_published = float("-inf")
        self._last_levels: list[tuple[str, bytes, str]] = []
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._publishing = Lock()
        self._is_destroyed = False
        self.looked = time.monotonic()
        self._timer = steady_timer(node, check_period, self._check, callback_group)

    def publish(self) -> None:
        """Report now, whatever has changed."""
        with self._publishing:
            self._report()

    def _report(self) -> None:
        self._send([entry for source in self._sources for entry in source()])

    def destroy(self) -> None:
        """Say the last word and release timer and publisher."""
        self._node.destroy_timer(self._timer)
        with self._publishing:
            self._report()
            self._is_destroyed = True
            self._node.destroy_publisher(self._publisher)

    def _check(self) -> None:
        self.looked = time.monotonic()
        with self._publishing:
            if self._is_destroyed:
                return
            entries = [entry for source in self._sources for entry in source()]
            due = time.monotonic() - self._last_published >= self._period
            if due or _levels(entries) != self._last_levels:
                self._send(entries)

    def _send(self, entries: list[DiagnosticStatus]) -> None:
        self._last_published = time.monotonic()
        self._last_levels = _levels(entries)
        namespace = prefix(self._node.get_namespace())
        for entry in entries:
            entry.hardware_id = f"{namespace}{entry.hardware_id or entry.name.partition(':')[0]}"
            entry.name = f"{namespace}{entry.name}"
        message = DiagnosticArray(status=entries)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def _levels(entries: Iterable[DiagnosticStatus]) -> list[tuple[str, bytes, str]]:
    return [(entry.name, entry.level, entry.message) for entry in entries]


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else cut(str(value))
