"""Robots of one ROS domain share /diagnostics; each hears its own."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

from wav_policy.nodes.messages.diagnostic_array import prefix, reports_from_message

pytestmark = pytest.mark.ros

NAMES = ("piper_node: left arm", "robot1/piper_node: left arm", "robot1/left/piper_node: left arm", "camera: a/b")
OWN = {
    "/": {"piper_node: left arm", "camera: a/b"},
    "/robot1": {"piper_node: left arm"},
    "/robot1/left": {"piper_node: left arm"},
    "/robot": set(),
}


@pytest.mark.parametrize("namespace", OWN)
def test_entries_of_other_namespaces_are_not_ours(namespace: str) -> None:
    message = DiagnosticArray(status=[DiagnosticStatus(name=name, message=name) for name in NAMES])
    reports = reports_from_message(message, namespace)
    assert set(reports) == OWN[namespace]
    assert all(report.message == prefix(namespace) + name for name, report in reports.items())
