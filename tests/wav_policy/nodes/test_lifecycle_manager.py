"""The way up and down, seen from the managed nodes: who is parked, and who is only held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from lifecycle_msgs.msg import State, Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from wav_policy.nodes.lifecycle_manager import BringUpError, LifecycleManager  # noqa: E402

pytestmark = pytest.mark.ros

ACTIVE, INACTIVE = State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE
DEACTIVATE, CLEANUP = Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_CLEANUP
SHUTDOWN = Transition.TRANSITION_ACTIVE_SHUTDOWN


class Managed:
    """Nodes that note what they are asked for."""

    def __init__(self, states: dict[str, int]) -> None:
        self.node = Node("managed")
        self.asked: list[tuple[str, int]] = []
        for name, state in states.items():
            self.node.create_service(GetState, f"{name}/get_state", self._say(state))
            self.node.create_service(ChangeState, f"{name}/change_state", self._obey(name))

    def _say(self, state: int) -> Callable[[Any, Any], Any]:
        def say(request: Any, response: Any) -> Any:
            response.current_state.id = state
            return response

        return say

    def _obey(self, name: str) -> Callable[[Any, Any], Any]:
        def obey(request: Any, response: Any) -> Any:
            self.asked.append((name, request.transition.id))
            response.success = True
            return response

        return obey


@pytest.fixture
def way_up() -> Iterator[Callable[..., list[str]]]:
    """What a manager of these nodes says on /diagnostics once it has brought them up; no event of theirs reaches it."""
    rclpy.init()
    probe = Node("probe")
    manager = LifecycleManager(parameter_overrides=[Parameter("node_names", value=["piper_node", "policy_node"])])
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=executor.spin, daemon=True)
    said: list[str] = []

    def hear(message: DiagnosticArray) -> None:
        said.extend(status.message for status in message.status)

    def bring_up(**states: int) -> list[str]:
        executor.add_node(Managed(states).node)
        probe.create_subscription(DiagnosticArray, "/diagnostics", hear, 10)
        executor.add_node(probe)
        thread.start()
        manager.bring_up()
        said.clear()
        deadline = time.monotonic() + 30.0
        while not said and time.monotonic() < deadline:
            rclpy.spin_once(manager, timeout_sec=0.1)
        return said

    yield bring_up
    executor.shutdown()
    thread.join(10.0)
    manager.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def way_down() -> Iterator[Callable[..., list[tuple[str, int]]]]:
    """What nodes in these states are asked for by a manager of `piper_node` and `policy_node`."""
    rclpy.init()
    manager = LifecycleManager(
        parameter_overrides=[
            Parameter("node_names", value=["piper_node", "policy_node"]),
            Parameter("gone_timeout", value=3.0),
        ]
    )
    executor = SingleThreadedExecutor()
    thread = threading.Thread(target=executor.spin, daemon=True)

    def bring_down(orderly: bool, **states: int) -> list[tuple[str, int]]:
        managed = Managed(states)
        executor.add_node(managed.node)
        thread.start()
        manager.bring_down(orderly=orderly)
        return managed.asked

    yield bring_down
    executor.shutdown()
    thread.join(10.0)
    manager.destroy_node()
    rclpy.shutdown()


def test_nodes_whose_events_came_too_early_are_known_to_be_active(way_up: Callable[..., list[str]]) -> None:
    assert way_up(piper_node=INACTIVE, policy_node=INACTIVE)[0] == "all nodes active"


def test_an_orderly_stop_parks(way_down: Callable[..., list[tuple[str, int]]]) -> None:
    assert way_down(True, piper_node=ACTIVE, policy_node=ACTIVE) == [
        ("policy_node", DEACTIVATE),
        ("policy_node", CLEANUP),
        ("piper_node", DEACTIVATE),
        ("piper_node", CLEANUP),
    ]


def test_a_managed_node_that_is_gone_ends_in_a_hold(way_down: Callable[..., list[tuple[str, int]]]) -> None:
    assert way_down(True, piper_node=ACTIVE) == [("piper_node", SHUTDOWN)]


def test_a_bring_up_that_failed_ends_in_a_hold(way_down: Callable[..., list[tuple[str, int]]]) -> None:
    assert way_down(False, piper_node=ACTIVE, policy_node=INACTIVE) == [
        ("policy_node", CLEANUP),
        ("piper_node", SHUTDOWN),
    ]


def test_a_callback_that_fails_does_not_end_the_manager() -> None:
    """Its end is that of the whole system."""
    rclpy.init()
    manager = LifecycleManager(parameter_overrides=[Parameter("node_names", value=["piper_node"])])
    failed: list[int] = []

    def fail() -> None:
        failed.append(len(failed))
        if len(failed) > 3:
            manager.interrupt()
        raise ValueError("200 is not a valid Type")

    manager.create_timer(0.01, fail)
    try:
        manager.wait()
        assert len(failed) >= 4
    finally:
        manager.destroy_node()
        rclpy.shutdown()


def test_a_parameter_of_no_type_is_refused() -> None:
    rclpy.init()
    manager = LifecycleManager(parameter_overrides=[Parameter("node_names", value=["piper_node"])])
    node = Node("nonsense")
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    client = node.create_client(SetParameters, "lifecycle_manager/set_parameters")
    thread = threading.Thread(target=manager.wait)
    try:
        thread.start()
        assert client.wait_for_service(30.0)
        parameters = [ParameterMessage(name="node_names", value=ParameterValue(type=200))]
        future = client.call_async(SetParameters.Request(parameters=parameters))
        executor.spin_until_future_complete(future, 30.0)
        (result,) = future.result().results
        assert not result.successful
        assert "type 200" in result.reason
        assert thread.is_alive()
    finally:
        manager.interrupt()
        thread.join(30.0)
        executor.shutdown()
        node.destroy_node()
        manager.destroy_node()
        rclpy.shutdown()


def test_who_only_asks_for_a_service_is_not_taken_for_the_one_who_offers_it() -> None:
    """The graph names both alike: the first start of a simulation failed for it."""
    rclpy.init()
    values = {"ready_services": ["sim/reset"], "appear_timeout": 2.0}
    manager = LifecycleManager(parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])
    node = Node("asks")
    try:
        node.create_client(Trigger, "sim/reset")
        with pytest.raises(BringUpError, match="sim/reset did not appear within 2 s"):
            manager.bring_up()
        assert "/sim/reset" in dict(manager.get_service_names_and_types())
        node.create_service(Trigger, "sim/reset", lambda request, response: response)
        manager.bring_up()
    finally:
        node.destroy_node()
        manager.destroy_node()
        rclpy.shutdown()
