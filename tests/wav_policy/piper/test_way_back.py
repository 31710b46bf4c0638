"""Simulated arms, driver and control loop, called as piper_node calls them: what a hold names leads back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.piper.conftest import QUICK
from wav_models.types import ActionChunk
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import EnableTimeoutError

LIMITS = replace(SafetyLimits(), collision=CollisionLimits(check=False))


class Robot:
    """Two arms that follow a chunk."""

    def __init__(self, rigs: list[Any], arms: BimanualPiper, loop: ControlLoop) -> None:
        self.rigs, self.arms, self.loop = rigs, arms, loop
        self.enable()
        self.lead()

    def enable(self) -> None:
        self.loop.disengage()
        assert self.loop.engage(self.arms.enable())

    def reset(self) -> None:
        self.loop.disengage()
        self.loop.trip("piper/reset")
        assert self.arms.reset() == [], "nobody fell"
        assert self.loop.reset()

    def lead(self) -> None:
        """Until both first joints have moved."""
        before = [rig.plant.position[0] for rig in self.rigs]

        def moves() -> bool:
            reading = self.arms.read()
            if reading is not None and self.loop.state().reason == "no_command":
                rows = np.tile(reading.position, (8, 1))
                rows[:, (0, 7)] += 0.02 * np.arange(1, 9)[:, None]
                self.loop.accept(ActionChunk(rows, time.monotonic(), 0.1))
            return all(rig.plant.position[0] > was + 0.05 for rig, was in zip(self.rigs, before, strict=True))

        self.rigs[0].wait_until(moves)

    def wait_for(self, phase: Phase, *words: str) -> None:
        def says() -> bool:
            state = self.loop.state()
            return state.phase is phase and all(word in state.detail for word in words)

        self.rigs[0].wait_until(says)


@pytest.fixture
def robot(make_rig: Callable[..., Any], tmp_path: Path) -> Iterator[Robot]:
    rigs = [make_rig(tmp_path / side) for side in ("left", "right")]
    arms = BimanualPiper("slcan", str(tmp_path / "left"), str(tmp_path / "right"), QUICK)
    with closing(arms):
        arms.connect()
        with closing(ControlLoop(arms, 100.0, LIMITS)) as loop:
            loop.start()
            yield Robot(rigs, arms, loop)


@pytest.mark.parametrize("side", [0, 1])
def test_one_motor_without_power(robot: Robot, side: int) -> None:
    robot.rigs[side].fail("motor_off 4")
    robot.wait_for(Phase.RELEASED, "joint4 not enabled", "piper/enable")
    assert robot.rigs[1 - side].plant.powered, "the other arm holds"
    with pytest.raises(EnableTimeoutError, match="joint4 did not enable"):
        robot.enable()
    assert robot.rigs[1 - side].plant.powered
    robot.rigs[side].fail("")
    robot.enable()
    robot.lead()


@pytest.mark.parametrize("side", [0, 1])
def test_a_stall_that_stays(robot: Robot, side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = robot.rigs[side]
    monkeypatch.setattr(rig.arm.firmware._settings, "_clear_errors", lambda joints: rig.fail(""))
    rig.fail("stall 3")
    robot.wait_for(Phase.WAITING, "joint3: stalled", "piper/reset")
    robot.enable()
    robot.wait_for(Phase.WAITING, "joint3: stalled", "piper/reset")
    robot.reset()
    robot.enable()
    robot.lead()
    assert all(each.plant.powered for each in robot.rigs)
