from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.node import Node  # noqa: E402

from wav_policy.nodes.runtime.lifecycle import ManagedNode  # noqa: E402
from wav_policy.nodes.runtime.spin import PoolExecutor  # noqa: E402

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


class Managed(ManagedNode):
    def release(self) -> None:
        pass


@pytest.mark.parametrize(
    "last", [Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN], ids=["deactivated", "shut down"]
)
def test_it_shows_that_it_is_alive_while_it_is_active(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    said: list[str] = []
    bond = SimpleNamespace(begin=lambda: said.append("alive"), end=lambda: said.append("over"))
    monkeypatch.setattr("wav_policy.nodes.runtime.lifecycle.Bond", lambda node: bond)
    rclpy.init()
    managed = Managed("managed", start_parameter_services=False)
    assert managed.make_transition(Transition.TRANSITION_CONFIGURE)
    assert said == []
    assert managed.make_transition(Transition.TRANSITION_ACTIVATE)
    assert said == ["alive"]
    assert managed.make_transition(last)
    assert said == ["alive", "over"]
    managed.destroy_node()
    rclpy.shutdown()


def test_a_transition_under_way_is_over_before_its_node_can_be_destroyed() -> None:
    """One that met a destroyed state machine would kill the process."""
    rclpy.init()
    managed = Managed("managed", start_parameter_services=False)
    begun, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def configure() -> None:
        begun.set()
        go_on.wait(30.0)
        managed.make_transition(Transition.TRANSITION_CONFIGURE)
        over.set()

    wake = managed.create_guard_condition(configure)
    executor = PoolExecutor(2)
    executor.add_node(managed)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    wake.trigger()
    assert begun.wait(30.0)
    threading.Timer(0.3, go_on.set).start()
    executor.shutdown()
    assert over.is_set()
    spinning.join()
    managed.destroy_node()
    rclpy.shutdown()
