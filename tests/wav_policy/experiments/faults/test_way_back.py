"""Every hold has a way back that ends at moving arms, and the messages tell it: the simulated arms and `piper_node`.

The campaign walks the others, with the policy: `pytest -m faults`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from tests.wav_policy.nodes.arms_process import start_node
from wav_policy.experiments.faults.observer import Observer
from wav_policy.experiments.faults.way_back import is_following, walk_back
from wav_policy.monitor.snapshot import CONTROL

pytestmark = [pytest.mark.ros, pytest.mark.sim, pytest.mark.alone]

START_TIMEOUT = 90.0
PATIENCE = 4.0
SERVICE = "/piper_node/change_state"


@pytest.fixture(scope="module")
def observer(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Observer]:
    """Of arms that can be moved, in a world with gravity."""
    directory = tmp_path_factory.mktemp("way_back")
    command = [sys.executable, "-m", "wav_policy.nodes.sim_node", "--ros-args", "-p", "image_rate:=1.0"]
    for side in ("left", "right"):
        command += ["-p", f"can_{side}:={directory / side}"]
    simulation = subprocess.Popen(command, cwd=repository)
    piper_node, observer = None, Observer()
    try:
        assert observer.wait(lambda: all((directory / side).exists() for side in ("left", "right")), START_TIMEOUT)
        piper_node = start_node(directory, repository, directory / "log", ["-p", "control_rate:=100.0"])
        node = observer.client.node
        assert observer.wait(lambda: SERVICE in dict(node.get_service_names_and_types()), START_TIMEOUT)
        observer.client.configure("piper_node", START_TIMEOUT)
        observer.client.activate("piper_node", START_TIMEOUT)
        assert observer.wait(lambda: observer.says(CONTROL, "holding"), START_TIMEOUT)
        yield observer
    finally:
        observer.close()
        for process in filter(None, (piper_node, simulation)):
            process.terminate()
        for process in filter(None, (piper_node, simulation)):
            process.wait(timeout=30)


@pytest.fixture
def moving(observer: Observer) -> Iterator[Observer]:
    """The arms follow chunks about their home pose."""
    observer.client.trigger("piper/home", timeout=60.0)
    end = observer.swing()
    assert observer.wait(lambda: is_following(observer), 30.0), observer.message(CONTROL)
    yield observer
    end()


def emergency_stop(observer: Observer) -> Callable[[], None]:
    observer.client.trigger("piper/stop")
    return lambda: None


def arm_fault(side: str, fault: str) -> Callable[[Observer], Callable[[], None]]:
    def inject(observer: Observer) -> Callable[[], None]:
        observer.client.set_parameter("sim_node", f"fault.{side}", fault)
        return lambda: observer.client.set_parameter("sim_node", f"fault.{side}", "")

    return inject


@pytest.mark.parametrize(
    ("inject", "way_back"),
    [
        pytest.param(emergency_stop, ("piper/reset", "piper/enable"), id="piper/stop"),
        pytest.param(arm_fault("right", "power_loss"), ("piper/enable",), id="power lost"),
        pytest.param(arm_fault("left", "teach"), ("piper/enable",), id="teach button"),
        pytest.param(arm_fault("left", "collision 2"), ("piper/reset", "piper/enable"), id="collision"),
        pytest.param(arm_fault("left", "zero_lost 2"), ("piper/enable",), id="zero lost"),
        pytest.param(arm_fault("right", "silence"), (), id="silence"),
    ],
)
def test_the_messages_lead_back(
    moving: Observer, inject: Callable[[Observer], Callable[[], None]], way_back: tuple[str, ...]
) -> None:
    heal = inject(moving)
    moving.spin(1.5)
    moving.forget(CONTROL)
    assert moving.wait(lambda: CONTROL in moving.reports and not is_following(moving), 5.0), "it does not hold"
    heal()
    walk = walk_back(moving, PATIENCE, moving.resume_chunks)
    assert walk.arrived, walk
    assert set(walk.calls) <= {*way_back, "piper/home"}, walk
