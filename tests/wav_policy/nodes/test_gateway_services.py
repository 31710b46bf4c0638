"""Lifecycle and parameter services of piper_node, which its gateway answers, whatever is sent there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import State, Transition, TransitionEvent  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetAvailableStates, GetAvailableTransitions, GetState  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterValue  # noqa: E402
from rcl_interfaces.srv import (  # noqa: E402
    DescribeParameters,
    GetParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from tests.wav_policy.nodes.arms_process import LOOP, Probe, Robot  # noqa: E402
from tests.wav_policy.nodes.test_chunk_gateway import INTRODUCTION  # noqa: E402
from wav_policy.nodes.messages.gateway_words import Answer, Wanted  # noqa: E402
from wav_policy.nodes.service_desk import ServiceDesk  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory, repository: Path, probe: Probe) -> Iterator[Robot]:
    """Unconfigured."""
    robot = Robot(tmp_path_factory.mktemp("arms"), repository, ["-p", "control_rate:=100.0"])
    for arm in robot.arms:
        arm.start()
    yield robot
    robot.close()


def state(probe: Probe) -> str:
    return str(probe.call(GetState, "piper_node/get_state", GetState.Request()).current_state.label)


def want(probe: Probe, number: int = 0, label: str = "") -> bool:
    request = ChangeState.Request(transition=Transition(id=number, label=label))
    return bool(probe.call(ChangeState, "piper_node/change_state", request).success)


def test_every_request_for_a_transition_is_answered(robot: Robot, probe: Probe) -> None:
    """By id and by label, possible or not."""
    events: list[TransitionEvent] = []
    subscription = probe.node.create_subscription(TransitionEvent, "piper_node/transition_event", events.append, 10)
    probe.wait_until(lambda: subscription.get_publisher_count() > 0, 30.0)
    probe.spin(0.5)  # the publisher knows of it a little later
    assert state(probe) == "unconfigured"
    for impossible in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP, 0, 10, 200):
        assert not want(probe, impossible)
    assert not want(probe, label="deactivate")
    assert not want(probe, label="nonsense")
    assert state(probe) == "unconfigured"
    assert want(probe, label="configure")
    assert state(probe) == "inactive"
    assert not want(probe, Transition.TRANSITION_CONFIGURE)
    assert want(probe, Transition.TRANSITION_ACTIVATE)
    assert not want(probe, label="cleanup")
    assert state(probe) == "active"
    assert want(probe, label="deactivate")
    assert want(probe, Transition.TRANSITION_CLEANUP)
    assert state(probe) == "unconfigured"
    passed = ("configuring", "inactive", "activating", "active", "deactivating", "inactive", "cleaningup")
    probe.wait_until(lambda: len(events) > len(passed))
    assert [event.goal_state.label for event in events] == [*passed, "unconfigured"]


def test_requests_that_come_at_once_are_answered_in_turn(robot: Robot, probe: Probe) -> None:
    client = probe.node.create_client(ChangeState, "piper_node/change_state")
    probe.wait_until(client.service_is_ready)
    wanted = (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP)
    answers = [client.call_async(ChangeState.Request(transition=Transition(id=number))) for number in wanted]
    probe.wait_until(lambda: all(answer.done() for answer in answers), 30.0)
    assert [answer.result().success for answer in answers] == [True, False, True]


def test_states_and_transitions_are_told(robot: Robot, probe: Probe) -> None:
    states = probe.call(GetAvailableStates, "piper_node/get_available_states", GetAvailableStates.Request())
    labels = {found.label for found in states.available_states}
    assert labels >= {"unconfigured", "inactive", "active", "finalized", "errorprocessing"}
    kind = GetAvailableTransitions
    here = probe.call(kind, "piper_node/get_available_transitions", kind.Request()).available_transitions
    assert {found.transition.label for found in here} == {"configure", "shutdown"}
    assert {found.start_state.id for found in here} == {State.PRIMARY_STATE_UNCONFIGURED}
    graph = probe.call(kind, "piper_node/get_transition_graph", kind.Request()).available_transitions
    assert len(graph) > 15


def test_parameters_are_described_and_cannot_be_set(robot: Robot, probe: Probe) -> None:
    listed = probe.call(ListParameters, "piper_node/list_parameters", ListParameters.Request()).result.names
    assert {"control_rate", "safety.velocity", "use_sim_time"} <= set(listed)
    names = ["control_rate", "park_speed", "home"]
    described = probe.call(
        DescribeParameters, "piper_node/describe_parameters", DescribeParameters.Request(names=names)
    )
    rate, park, home = described.descriptors
    assert "targets per second" in rate.description
    assert (rate.floating_point_range[0].from_value, rate.floating_point_range[0].to_value) == (10.0, 500.0)
    assert rate.additional_constraints.startswith("a number from 10 to 500")
    assert park.floating_point_range[0].from_value == 0.0
    assert not home.floating_point_range
    values = probe.call(GetParameters, "piper_node/get_parameters", GetParameters.Request(names=names)).values
    assert values[0].double_value == 100.0
    assert len(values[2].double_array_value) == 14
    parameter = Parameter(name="control_rate", value=ParameterValue(type=3, double_value=400.0))
    request = SetParameters.Request(parameters=[parameter])
    (result,) = probe.call(SetParameters, "piper_node/set_parameters", request).results
    assert not result.successful


NONSENSE = [
    Parameter(name="use_sim_time", value=ParameterValue(type=1, bool_value=True)),
    Parameter(name="control_rate", value=ParameterValue(type=200)),
]


@pytest.mark.parametrize("kind", [SetParameters, SetParametersAtomically])
def test_a_parameter_of_no_type_is_refused_and_ends_nothing(robot: Robot, probe: Probe, kind: Any) -> None:
    """rclpy raises it in whoever spins the node: that was the end of the gateway, and so a hold."""
    (gateway,) = psutil.Process(robot.process.pid).children()
    name = "set_parameters" if kind is SetParameters else "set_parameters_atomically"
    answer = probe.call(kind, f"piper_node/{name}", kind.Request(parameters=NONSENSE))
    results = answer.results if kind is SetParameters else [answer.result, answer.result]
    assert [result.successful for result in results] == [False, False]
    assert "control_rate has a value of type 200" in results[1].reason
    assert state(probe) == "unconfigured"
    assert gateway.is_running()


def test_the_clock_that_piper_node_was_started_with_cannot_be_set(robot: Robot, probe: Probe) -> None:
    """It would be the gateway's only, and piper_node's would stay."""
    request = SetParameters.Request(parameters=NONSENSE[:1])
    (result,) = probe.call(SetParameters, "piper_node/set_parameters", request).results
    assert not result.successful
    assert "read-only" in result.reason


FLOODS: dict[str, tuple[Any, str, Any]] = {
    "label": (ChangeState, "change_state", ChangeState.Request(transition=Transition(id=200, label="x" * 20_000_000))),
    "parameters": (
        SetParameters,
        "set_parameters",
        SetParameters.Request(parameters=[Parameter(name=f"x{i}") for i in range(20_000)]),
    ),
    "names": (GetParameters, "get_parameters", GetParameters.Request(names=[f"x{i}" for i in range(50_000)])),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_huge_request_costs_piper_node_nothing_and_is_answered(robot: Robot, probe: Probe, flood: str) -> None:
    kind, service, request = FLOODS[flood]
    client = probe.node.create_client(kind, f"piper_node/{service}")
    probe.wait_until(client.service_is_ready, 30.0)
    node = psutil.Process(robot.process.pid)
    before, since = node.cpu_times(), time.monotonic()
    answer = client.call_async(request)
    probe.wait_until(answer.done, 30.0)
    after, duration = node.cpu_times(), time.monotonic() - since
    assert after.user + after.system - before.user - before.system < 0.05 + 0.1 * duration, "unconfigured, it idles"
    probe.node.destroy_client(client)
    assert state(probe) == "unconfigured"


def test_who_asks_again_after_the_gateway_died_is_answered(robot: Robot, probe: Probe) -> None:
    assert want(probe, label="configure")
    assert want(probe, label="activate")
    (gateway,) = psutil.Process(robot.process.pid).children()
    gateway.kill()
    client = probe.node.create_client(GetState, "piper_node/get_state")
    deadline = time.monotonic() + 30.0
    label = ""
    while label != "active":
        assert time.monotonic() < deadline
        answer = client.call_async(GetState.Request())
        probe.spin(1.0)
        label = answer.result().current_state.label if answer.done() else ""
    probe.wait_until(lambda: probe.messages()[LOOP].startswith("holding"))
    assert want(probe, label="shutdown")
    assert state(probe) == "finalized"


def test_an_answer_to_the_desk_before_is_not_taken_for_one_of_ours(probe: Probe) -> None:
    """piper_node goes on with what a gateway wanted that died, and answers the next one."""
    client = probe.node.create_client(ChangeState, f"{INTRODUCTION.name}/change_state")
    asked: list[Wanted] = []
    for _ in range(2):
        node = rclpy.create_node("desk")
        desk = ServiceDesk(node, INTRODUCTION, asked.append)
        known = len(asked)
        probe.wait_until(client.service_is_ready)
        future = client.call_async(ChangeState.Request(transition=Transition(id=INTRODUCTION.graph[0][0])))
        probe.wait_until(lambda desk=desk, known=known: desk.serve() or len(asked) > known)  # type: ignore[misc]
        desk.hear(Answer(asked[0].number, known == 0, INTRODUCTION.state))
        probe.spin(0.3)
        assert future.done() == (known == 0)
        node.destroy_node()


def test_what_was_asked_for_before_a_hold_is_told_so(probe: Probe) -> None:
    """Transitions that waited in the gateway, behind another one too, and one that was asked for afterwards."""
    node, asked = rclpy.create_node("desk"), list[Wanted]()
    desk = ServiceDesk(node, INTRODUCTION, asked.append)
    client = probe.node.create_client(ChangeState, f"{INTRODUCTION.name}/change_state")
    probe.wait_until(client.service_is_ready)

    def ask() -> None:
        client.call_async(ChangeState.Request(transition=Transition(id=INTRODUCTION.graph[0][0])))
        probe.spin(0.3)

    def serve(count: int) -> list[bool]:
        probe.wait_until(lambda: desk.serve() or len(asked) == count)  # type: ignore[func-returns-value]
        desk.hear(Answer(asked[-1].number, False, INTRODUCTION.state))
        return [wanted.is_overtaken for wanted in asked]

    ask()
    assert serve(1) == [False]
    ask()
    desk.serve()
    ask()
    desk.overtake()
    ask()
    assert serve(2) == [False, False], "it had been passed on; piper_node knows"
    assert serve(3)[2:] == [True]
    assert serve(4)[2:] == [True, False]
    node.destroy_node()
