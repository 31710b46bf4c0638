from __future__ import annotations

import time

import pytest

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402

from wav_policy.nodes.runtime.lifecycle import ManagedNode  # noqa: E402

pytestmark = pytest.mark.ros


def wait_for_transitions(probe: Node, offered: bool) -> bool:
    """Whether somebody offers the managed node's transitions in the end."""
    deadline = time.monotonic() + 10.0
    while True:
        found = "/managed/change_state" in (name for name, _ in probe.get_service_names_and_types())
        if found == offered or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_destroyed_node_has_no_services_left_to_the_garbage_collector() -> None:
    """It would destroy them when ROS has gone."""
    rclpy.init()
    probe = Node("probe", start_parameter_services=False)
    managed = ManagedNode("managed", start_parameter_services=False)
    assert wait_for_transitions(probe, True)
    managed.destroy_node()
    assert not wait_for_transitions(probe, False)
    probe.destroy_node()
    rclpy.shutdown()
