"""Node that writes /diagnostics into the scene of RViz, which has no display of its own for it."""

from __future__ import annotations

import sys
import time
from typing import Final

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from wav_policy.bringup.node_parameters import DiagnosticMarkersConfig
from wav_policy.monitor.snapshot import ERROR, OK, WARN, StatusReport
from wav_policy.nodes.messages.diagnostic_array import reports_from_message
from wav_policy.nodes.messages.subscribing import subscribe
from wav_policy.nodes.runtime.parameters import declare
from wav_policy.nodes.runtime.spin import run
from wav_policy.nodes.runtime.timers import steady_timer
from wav_policy.robot.description import WORLD

TOPIC: Final = "diagnostics/markers"
_COLOURS: Final = {OK: (0.3, 0.9, 0.4), WARN: (1.0, 0.8, 0.1), ERROR: (1.0, 0.3, 0.3)}
_UNKNOWN: Final = (0.7, 0.7, 0.7)
_HEIGHT: Final = 0.025
"""Of a line [m]."""


class DiagnosticMarkers(Node):
    """One line of text per entry, coloured by its level."""

    def __init__(self) -> None:
        super().__init__("diagnostic_markers")
        self.config = declare(self, DiagnosticMarkersConfig)
        self._reports: dict[str, tuple[float, StatusReport]] = {}
        self._publisher = self.create_publisher(MarkerArray, TOPIC, 1)
        subscribe(self, DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        steady_timer(self, 1.0 / self.config.rate, self._publish)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now, reports = time.monotonic(), reports_from_message(message, self.get_namespace())
        self._reports |= {name: (now, report) for name, report in reports.items()}

    def _publish(self) -> None:
        now = time.monotonic()
        markers = []
        for line, (name, (heard, report)) in enumerate(sorted(self._reports.items())):
            silent = now - heard > self.config.silence
            text = f"{name}: {'silent' if silent else report.message}"
            markers.append(self._line(line, text, _UNKNOWN if silent else _COLOURS.get(report.level, _UNKNOWN)))
        self._publisher.publish(MarkerArray(markers=markers))

    def _line(self, number: int, text: str, rgb: tuple[float, float, float]) -> Marker:
        marker = Marker(ns="diagnostics", id=number, type=Marker.TEXT_VIEW_FACING, text=text)
        marker.header.frame_id, marker.header.stamp = WORLD, self.get_clock().now().to_msg()
        position = marker.pose.position
        position.x, position.y, top = self.config.position
        position.z = top - 1.4 * _HEIGHT * number
        marker.pose.orientation.w, marker.scale.z = 1.0, _HEIGHT
        marker.color = ColorRGBA(r=rgb[0], g=rgb[1], b=rgb[2], a=1.0)
        return marker


def main() -> int:
    """Run the node until a signal asks it to end. Exit code 1 when a parameter is wrong."""
    return run(DiagnosticMarkers, DiagnosticMarkers.destroy_node)


if __name__ == "__main__":
    sys.exit(main())
