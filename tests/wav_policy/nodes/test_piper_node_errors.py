"""A transition of the driver that fails in a way nobody foresaw: the arms keep their power, and one can begin again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from rclpy.service import Service  # noqa: E402
from std_srvs.srv import SetBool, Trigger  # noqa: E402

from tests.wav_policy.kinematic_arm import KinematicArm  # noqa: E402
from wav_models.types import ActionChunk, FloatArray  # noqa: E402
from wav_policy.control.control_loop import ControlLoop  # noqa: E402
from wav_policy.nodes.messages.gateway_words import Wanted  # noqa: E402
from wav_policy.nodes.piper_node import PiperNode  # noqa: E402
from wav_policy.nodes.runtime.spin import PoolExecutor  # noqa: E402
from wav_policy.piper.bimanual import BimanualPiper  # noqa: E402
from wav_policy.sim.firmware import FaultSet, SimulatedArm  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def plants() -> list[KinematicArm]:
    return [KinematicArm(), KinematicArm()]


@pytest.fixture
def arms(tmp_path: Path, plants: list[KinematicArm]) -> Iterator[list[SimulatedArm]]:
    arms = [SimulatedArm(plant, tmp_path / side) for plant, side in zip(plants, ("left", "right"), strict=True)]
    for arm in arms:
        arm.start()
    yield arms
    for arm in arms:
        arm.stop()


@pytest.fixture
def node(tmp_path: Path, arms: list[SimulatedArm]) -> Iterator[PiperNode]:
    settings = {"can_interface": "slcan", "can_left": tmp_path / "left", "can_right": tmp_path / "right"}
    words = [word for name, value in settings.items() for word in ("-p", f"{name}:={value}")]
    rclpy.init(args=["--ros-args", *words, "-p", "control_rate:=100.0", "-p", "safety.collision.check:=false"])
    node = PiperNode()
    yield node
    node.close()
    rclpy.shutdown()


def state(node: PiperNode) -> str:
    return str(node._state_machine.current_state[1])


def fail(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("nobody foresaw this")


def test_the_arms_hold_and_the_driver_can_be_configured_again(
    node: PiperNode, plants: list[KinematicArm], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(PiperNode, "_compare_limits", fail)
        node.trigger_configure()
    assert state(node) == "unconfigured"
    assert "on_configure failed: ZeroDivisionError: nobody foresaw this" in capfd.readouterr().err
    node.trigger_configure()
    assert state(node) == "inactive", "the buses were left open"
    with monkeypatch.context() as broken:
        broken.setattr(ControlLoop, "engage", fail)
        node.trigger_activate()
    assert state(node) == "unconfigured"
    for _ in range(2):
        node.trigger_configure()
        node.trigger_activate()
        assert state(node) == "active"
        with monkeypatch.context() as broken:
            broken.setattr(ControlLoop, "park", fail)
            node.trigger_deactivate()
        assert state(node) == "unconfigured"
        assert all(plant.powered for plant in plants), "an arm fell"


@pytest.fixture
def active(node: PiperNode) -> PiperNode:
    node.trigger_configure()
    node.trigger_activate()
    assert state(node) == "active"
    return node


def test_a_start_with_an_arm_in_emergency_stop_says_what_helps_without_a_node(
    node: PiperNode, arms: list[SimulatedArm], capfd: pytest.CaptureFixture[str]
) -> None:
    """Who stopped the arms and ended the system meets this at the next start, which ends with it."""
    node.trigger_configure()
    assert node._arms is not None
    left = node._arms.arm("left")
    arms[0].faults = FaultSet.parse("emergency_stop")
    wait_until(lambda: left.status().is_stopped)
    node.trigger_activate()
    assert state(node) == "inactive"
    said = capfd.readouterr().err
    assert "left arm" in said
    assert "in emergency stop. Support the arms, then call piper/reset and piper/enable. If this ends the start" in said
    assert "switch their power off and on, and start again" in said
    arms[0].faults = FaultSet.parse("power_loss")
    time.sleep(0.2)
    arms[0].faults = FaultSet()
    wait_until(lambda: not left.status().is_stopped and not left.link.outage)
    node.trigger_activate()
    assert state(node) == "active"


def test_a_start_beside_another_master_says_what_helps_without_a_node(
    node: PiperNode, arms: list[SimulatedArm], capfd: pytest.CaptureFixture[str]
) -> None:
    node.trigger_configure()
    assert node._arms is not None
    left = node._arms.arm("left")
    arms[0].faults = FaultSet.parse("leader_on_bus")
    wait_until(lambda: left.status().leader_frames)
    node.trigger_activate()
    assert state(node) == "inactive"
    said = capfd.readouterr().err
    assert "two masters would fight" in said
    assert "nobody is left to call: once nothing else speaks on the bus, start again." in said
    arms[0].faults = FaultSet()
    node.trigger_cleanup()
    node.trigger_configure()
    node.trigger_activate()
    assert state(node) == "active"


def test_a_reset_brakes_arms_that_move(active: PiperNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with them, or with one of them only."""
    assert active._arms is not None
    assert active._loop is not None
    sent: list[float] = []
    write = active._arms.write

    def note(position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        sent.append(float(position[0]))
        return write(position, mute)

    reading = active._arms.read()
    assert reading is not None
    rows = np.tile(reading.position, (20, 1))
    rows[:, 0] += 0.1 * np.arange(1, 21)
    monkeypatch.setattr(active._arms, "write", note)
    active._loop.accept(ActionChunk(rows, time.monotonic(), 0.1))
    wait_until(lambda: len(sent) > 1 and sent[-1] > reading.position[0] + 0.5)
    assert active._on_reset(Trigger.Request(), Trigger.Response()).success
    steps = np.diff(sent)
    assert steps.max() > 0.005, "it moved"
    assert abs(steps[-1]) < 1e-4, "the last target is at rest"


def test_arms_that_come_to_hold_while_they_are_enabled_are_not_commanded(
    active: PiperNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal ends the node while piper/enable waits for the motors."""
    assert active._arms is not None
    enable = active._arms.enable
    monkeypatch.setattr(active._arms, "enable", lambda stopped: active.hold() or enable())
    answer = active._on_enable(SetBool.Request(data=True), SetBool.Response())
    assert (answer.success, answer.message) == (False, "deactivated meanwhile: the arms hold where they are")
    assert active._loop is not None
    assert not active._loop.state().engaged


def test_a_stop_does_not_wait_for_a_reset_that_waits_for_the_loop(active: PiperNode, arms: list[SimulatedArm]) -> None:
    assert active._loop is not None
    gate, answers = threading.Event(), []
    active._loop._thread.offer(lambda: gate.wait(10.0))
    resetting = threading.Thread(target=lambda: answers.append(active._on_reset(Trigger.Request(), Trigger.Response())))
    resetting.start()
    time.sleep(1.0)
    began = time.monotonic()
    stopping = threading.Thread(target=lambda: active._on_stop(Trigger.Request(), Trigger.Response()))
    stopping.start()
    while not all(arm.firmware._stopped for arm in arms):
        assert time.monotonic() - began < 0.5
        time.sleep(0.005)
    gate.set()
    stopping.join()
    resetting.join()
    assert not answers[0].success
    assert active._loop.stop_reason is not None


def test_a_stop_waits_for_no_other_service(active: PiperNode) -> None:
    groups = {service.srv_name.rpartition("/")[2]: service.callback_group for service in active._offered}
    others = [group for name, group in groups.items() if name != "stop"]
    assert groups["stop"] not in [*others, active.default_callback_group, active._reports]


@pytest.fixture
def ask(active: PiperNode) -> Iterator[Callable[[str], Any]]:
    """Calls a service of the node, which spins as in its own process; the answer is still to come."""
    executor = PoolExecutor(4)
    executor.add_node(active)
    caller = rclpy.create_node("caller")
    executor.add_node(caller)
    clients = {name: caller.create_client(Trigger, f"piper/{name}") for name in ("home", "hold", "reset", "stop")}
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    spinning = threading.Thread(target=spin)
    spinning.start()
    for client in clients.values():
        assert client.wait_for_service(20.0)
    yield lambda name: clients[name].call_async(Trigger.Request())
    ended.set()
    spinning.join()
    executor.shutdown()
    caller.destroy_node()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30.0
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class Journeys:
    """Motions home that last until they are let end, and how many of them and of those to park there were."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = self.parked = 0
        self.end = threading.Event()
        monkeypatch.setattr(ControlLoop, "move_to", lambda *_: self.travel())
        monkeypatch.setattr(ControlLoop, "park", lambda *_: self.park())

    def travel(self) -> bool:
        self.begun += 1
        return not self.end.wait(60.0)

    def park(self) -> bool:
        self.parked += 1
        return True


@pytest.mark.parametrize("end", ["hold", "stop"])
def test_what_was_asked_for_before_a_hold_or_a_stop_is_not_done_after_it(
    end: str, active: PiperNode, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody presses Home twice, then Reset, then wants all to end: while the first is under way the others wait."""
    journeys = Journeys(monkeypatch)
    asked = [ask("home")]
    wait_until(lambda: journeys.begun == 1)
    asked += [ask("home"), ask("reset")]
    time.sleep(1.0)
    ending = ask(end)
    wait_until(lambda: asked[1].done() and asked[2].done())
    journeys.end.set()
    wait_until(lambda: ending.done() and asked[0].done())
    assert [answer.result().success for answer in asked] == [False, False, False]
    assert [f"piper/{end}" in answer.result().message for answer in asked[1:]] == [True, True]
    assert journeys.begun == 1
    assert active._loop is not None
    assert (active._loop.stop_reason is not None) == (end == "stop")


@pytest.mark.parametrize("end", ["hold", "stop"])
def test_an_end_comes_though_who_waits_cannot_be_answered(
    end: str,
    active: PiperNode,
    arms: list[SimulatedArm],
    ask: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And before: the middleware may let an answer wait for whoever asked, and may fail to send it."""
    journeys = Journeys(monkeypatch)
    came: list[str] = []

    def noted(what: str, done: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments: (came.append(what), done(*arguments))[1]

    under_way = ask("home")
    wait_until(lambda: journeys.begun == 1)
    ask("home")
    ask("home")
    time.sleep(1.0)
    with monkeypatch.context() as broken:
        broken.setattr(Service, "send_response", noted("answer", fail))
        broken.setattr(BimanualPiper, "stop", noted("stop", BimanualPiper.stop))
        broken.setattr(ControlLoop, "hold", noted("hold", ControlLoop.hold))
        if end == "hold":
            assert active._on_hold(Trigger.Request(), Trigger.Response()).success
        else:  # on a busy machine the arms may report it late
            active._on_stop(Trigger.Request(), Trigger.Response())
            wait_until(lambda: all(arm.firmware._stopped for arm in arms))
        assert came[0] == end
        assert "answer" in came
    journeys.end.set()
    wait_until(under_way.done)
    time.sleep(0.5)
    assert journeys.begun == 1, "who waited behind the first one is passed over too"


def test_an_activation_that_was_asked_for_before_a_hold_powers_nothing_after_it(
    active: PiperNode, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, end = threading.Event(), threading.Event()
    powered: list[bool] = []

    def reset(*_: object) -> list[str]:
        begun.set()
        end.wait(60.0)
        return []

    active.trigger_deactivate()
    monkeypatch.setattr(BimanualPiper, "reset", reset)
    monkeypatch.setattr(BimanualPiper, "enable", lambda *_: powered.append(True) or (True, True))
    asked = ask("reset")
    assert begun.wait(30.0)
    active._on_wanted(Wanted(0, Transition.TRANSITION_ACTIVATE))
    holding = ask("hold")
    wait_until(holding.done)
    end.set()
    wait_until(lambda: asked.done() and not active._wanted)
    active._on_wanted(Wanted(1, Transition.TRANSITION_ACTIVATE, is_overtaken=True))
    time.sleep(0.5)
    assert not powered
    active._on_wanted(Wanted(2, Transition.TRANSITION_ACTIVATE))
    wait_until(lambda: bool(powered))


def test_a_deactivation_that_was_asked_for_before_a_hold_does_not_park_after_it(
    active: PiperNode, ask: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    journeys = Journeys(monkeypatch)
    ask("home")
    wait_until(lambda: journeys.begun == 1)
    active._on_wanted(Wanted(0, Transition.TRANSITION_DEACTIVATE))
    holding = ask("hold")
    wait_until(holding.done)
    journeys.end.set()
    wait_until(lambda: state(active) == "inactive")
    active.trigger_activate()
    active._on_wanted(Wanted(1, Transition.TRANSITION_DEACTIVATE, is_overtaken=True))
    wait_until(lambda: state(active) == "inactive")
    assert journeys.parked == 0
    active.trigger_activate()
    active._on_wanted(Wanted(2, Transition.TRANSITION_DEACTIVATE))
    wait_until(lambda: state(active) == "inactive")
    assert journeys.parked == 1
