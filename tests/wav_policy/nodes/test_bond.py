"""Whoever manages a node by ROS's own `bond` learns that it lives, was deactivated, hangs or died.

The other side is bondpy, as it is published; without `bond` the node says nothing and misses nothing.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState  # noqa: E402

from tests.wav_policy.nodes.arms_process import Probe  # noqa: E402
from wav_policy.nodes.runtime.bond import Bond  # noqa: E402

pytestmark = pytest.mark.ros

NUMBERS = count()

MANAGED = """
import sys
from wav_policy.nodes.runtime.lifecycle import ManagedNode
from wav_policy.nodes.runtime.spin import run

class Managed(ManagedNode):
    def release(self):
        pass

run(lambda: Managed(sys.argv[1], namespace="robot1"), Managed.destroy_node)
"""


class Managed:
    """A node in a process. Each has another name: one that was killed is on the graph for some seconds more."""

    def __init__(self, probe: Probe, name: str) -> None:
        self.probe = probe
        self.name = name
        self.process = subprocess.Popen([sys.executable, "-c", MANAGED, name])

    def change(self, transition: int) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        assert self.probe.call(ChangeState, f"/robot1/{self.name}/change_state", request).success


@pytest.fixture
def managed(probe: Probe) -> Iterator[Managed]:
    node = Managed(probe, f"managed{next(NUMBERS)}")
    yield node
    node.process.kill()
    node.process.wait()


@contextmanager
def managing(managed: Managed) -> Iterator[Any]:
    """A bond as nav2's manager has it, but for a shorter timeout; of a node of its own, which it leaves in pieces."""
    pytest.importorskip("bond")
    manager = rclpy.create_node("manager", namespace="robot1")
    bond = pytest.importorskip("bondpy.bondpy").Bond(manager, "bond", managed.name)
    bond.set_heartbeat_timeout(2.0)
    bond.set_heartbeat_period(0.1)
    bond.start()
    managed.probe.executor.add_node(manager)
    try:
        yield bond
    finally:
        managed.probe.executor.remove_node(manager)
        bond.shutdown()
        manager.destroy_node()


@pytest.fixture
def formed(probe: Probe, managed: Managed) -> Iterator[Any]:
    """The bond of an active node."""
    with managing(managed) as bond:
        managed.change(Transition.TRANSITION_CONFIGURE)
        probe.spin(1.0)
        assert bond.sister_instance_id is None, "no bond before it is active"
        managed.change(Transition.TRANSITION_ACTIVATE)
        probe.wait_until(lambda: bond.sister_instance_id is not None)
        probe.spin(3.0)
        assert not bond.is_broken()
        yield bond


@pytest.mark.parametrize(
    ("end", "least"),
    [
        (lambda managed: managed.change(Transition.TRANSITION_DEACTIVATE), 0.0),
        (lambda managed: managed.change(Transition.TRANSITION_ACTIVE_SHUTDOWN), 0.0),
        (lambda managed: managed.process.kill(), 1.0),
        (lambda managed: managed.process.send_signal(signal.SIGSTOP), 1.0),
    ],
    ids=["deactivated", "shut down", "killed", "frozen"],
)
def test_an_end_breaks_the_bond(
    probe: Probe, managed: Managed, formed: Any, end: Callable[[Managed], None], least: float
) -> None:
    end(managed)
    began = time.monotonic()
    probe.wait_until(formed.is_broken)
    took = time.monotonic() - began
    assert took >= least, "by the timeout"
    assert least or took < 1.5, "by word"


def test_active_again_is_another_bond(probe: Probe, managed: Managed, formed: Any) -> None:
    managed.change(Transition.TRANSITION_DEACTIVATE)
    probe.wait_until(formed.is_broken)
    with managing(managed) as again:
        managed.change(Transition.TRANSITION_ACTIVATE)
        probe.wait_until(lambda: again.sister_instance_id is not None)
        assert again.sister_instance_id != formed.sister_instance_id
        assert not again.is_broken()


class Node:
    """What a bond needs of one."""

    def __init__(self) -> None:
        self.said: list[Any] = []
        self.warnings: list[str] = []
        self.refuses = False

    def create_publisher(self, kind: Any, topic: str, depth: int) -> Any:
        if self.refuses:
            raise RuntimeError("access denied")
        assert topic == "bond"
        return SimpleNamespace(publish=self.said.append)

    def create_timer(self, period: float, callback: Callable[[], None], **_: Any) -> Any:
        assert 0.0 < period <= 0.25
        return callback

    def destroy_timer(self, timer: Any) -> None:
        pass

    def get_name(self) -> str:
        return "managed"

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: SimpleNamespace(to_msg=lambda: "now"))

    def get_logger(self) -> Any:
        return SimpleNamespace(warning=self.warnings.append)


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    status = SimpleNamespace(Status=lambda **fields: SimpleNamespace(header=SimpleNamespace(), **fields))
    monkeypatch.setitem(sys.modules, "bond", SimpleNamespace(msg=status))
    monkeypatch.setitem(sys.modules, "bond.msg", status)


def test_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    node: Any = Node()
    bond = Bond(node)
    bond.end()
    assert node.said == []
    for _ in range(2):
        bond.begin()
        bond.begin()
        bond.end()
        bond.end()
    first, last, other, _ = node.said
    assert [said.active for said in node.said] == [True, False, True, False]
    assert (first.id, first.heartbeat_period) == ("managed", 0.1)
    assert first.instance_id == last.instance_id != other.instance_id


def test_without_the_package_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bond.msg", None)
    node: Any = Node()
    bond = Bond(node)
    bond.begin()
    bond.end()
    assert node.said == node.warnings == []


def test_a_node_that_may_not_have_one_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    node: Any = Node()
    node.refuses = True
    bond = Bond(node)
    bond.begin()
    bond.end()
    assert node.warnings == ["no bond: RuntimeError: access denied"]
