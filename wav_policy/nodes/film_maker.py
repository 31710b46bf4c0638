"""Films the running system from its topics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rclpy.node import Node

from wav_policy.monitor.film import FPS, open_film
from wav_policy.nodes.monitor_feed import MonitorFeed
from wav_policy.nodes.runtime.timers import steady_timer


class FilmMaker:
    """Adds a frame to a film at its rate while the node spins.

    Args:
        node: gets subscriptions and a timer.
        file: .mp4, .gif, .rrd or .mcap.
        caption: what is going on, asked for every frame.
    """

    def __init__(self, node: Node, file: Path, caption: Callable[[], str]) -> None:
        self._feed = MonitorFeed(node)
        self._feed.open()
        self._film = open_film(file)
        self._caption = caption
        self._timer = steady_timer(node, 1.0 / FPS, self._add)
        self._node = node

    def close(self) -> None:
        """Finish the file."""
        self._node.destroy_timer(self._timer)
        self._feed.close()
        self._film.close()

    def _add(self) -> None:
        snapshot = self._feed.snapshot()
        if snapshot.real:
            self._film.add(snapshot, self._caption())
