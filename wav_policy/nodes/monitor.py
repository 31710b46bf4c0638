"""Node that serves one page: what the robot does, sees and imagines, and the buttons. See docs/monitor.md."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from rclpy.node import Node

from wav_policy.bringup.node_parameters import MonitorConfig
from wav_policy.bringup.parameter_files import ParameterError
from wav_policy.monitor.operator_bar import OperatorBar
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.server import Address, PageServer, ServerError
from wav_policy.monitor.snapshot import CONTROL
from wav_policy.nodes.monitor_commands import RosCommander
from wav_policy.nodes.monitor_feed import MonitorFeed
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.spin import run
from wav_policy.nodes.runtime.timers import steady_timer

_LOOK_PERIOD: Final = 1.0
"""Between looks for who offers services [s]."""
_STATUS_PERIOD: Final = 0.2
"""Of the operator's bar, which takes a second of silence for a fault [s]."""


class Monitor(Node):
    """The skin over `OperatorBar` and `MonitorPage`.

    Args:
        **node_arguments: of rclpy's Node.

    Raises:
        ParameterError: a parameter is wrong, or the page cannot be served there.
    """

    def __init__(self, **node_arguments: Any) -> None:
        super().__init__("monitor", **node_arguments)
        config = declare(self, MonitorConfig)
        token_file = Path(config.token_file) if config.token_file else None
        self.commander = RosCommander(self)
        self._feed = MonitorFeed(self)
        self.bar = OperatorBar(self.commander, self._feed.hear)
        self._page = MonitorPage(self.commander)
        self._title = self.get_namespace().strip("/")
        try:
            self._server = PageServer(Address.choose(config.host, config.port, token_file), self._page, self.bar)
        except ServerError as error:
            raise ParameterError(f"monitor: {error}") from error
        self.url = self._server.url
        self._available: frozenset[str] = frozenset()
        steady_timer(self, _LOOK_PERIOD, self._look_for_services)
        steady_timer(self, _STATUS_PERIOD, self._tell_status)
        steady_timer(self, 1.0 / config.rate, self._update)
        address, _, query = self.url.partition("?")
        self.get_logger().info(f"the page is at {address}")
        if query:  # logs are read by others: /rosout, ~/.ros/log
            print(f"the page with its token is at {self.url}", flush=True)

    def close(self) -> None:
        """Disconnect the browsers and destroy the node."""
        self._server.close()
        self.bar.close()
        self._page.close()
        self.destroy_node()

    def _update(self) -> None:
        if not self._page.watched:
            self._feed.close()
            return
        self._feed.open()
        self._page.show(self._feed.snapshot(self._available, self._title))

    def _tell_status(self) -> None:
        if self.bar.watched:
            self.bar.show(self._feed.is_silent(CONTROL), self._available)

    def _look_for_services(self) -> None:
        if self.bar.watched or self._page.watched:
            self._available = self.commander.available()


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong or the port is taken."""
    return run(Monitor, Monitor.close)


if __name__ == "__main__":
    sys.exit(main())
