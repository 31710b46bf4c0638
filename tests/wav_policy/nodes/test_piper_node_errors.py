"""A transition of the driver that fails in a way nobody foresaw: the arms keep their power, and one can begin again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy")

from wav_policy.control.control_loop import ControlLoop  # noqa: E402
from wav_policy.nodes.piper_node import PiperNode  # noqa: E402
from wav_policy.sim.firmware import SimulatedArm  # noqa: E402
from wav_policy.sim.firmware.kinematic_arm import KinematicArm  # noqa: E402

pytestmark = pytest.mark.ros


@pytest.fixture
def plants(tmp_path: Path) -> Iterator[list[KinematicArm]]:
    plants = [KinematicArm(), KinematicArm()]
    arms = [SimulatedArm(plant, tmp_path / side) for plant, side in zip(plants, ("left", "right"), strict=True)]
    for arm in arms:
        arm.start()
    yield plants
    for arm in arms:
        arm.stop()


@pytest.fixture
def node(tmp_path: Path, plants: list[KinematicArm]) -> Iterator[PiperNode]:
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
