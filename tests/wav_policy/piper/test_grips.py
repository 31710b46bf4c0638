"""What a gripper was told before counts as long as it can have held it: else it closes on whoever has freed it."""

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
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import EnableTimeoutError
from wav_policy.piper.frames import GRIPPER_ON, FrameId, GripperState
from wav_policy.piper.setpoints import setpoint_frames

LIMITS = replace(SafetyLimits(), collision=CollisionLimits(check=False))
CLOSED, FREED = 0.01, 0.06  # m


class Closed:
    """Two arms that were led until their grippers were closed; as piper_node calls the driver and the loop."""

    def __init__(self, rigs: list[Any], robot: BimanualPiper, loop: ControlLoop) -> None:
        self.rigs, self.robot, self.loop = rigs, robot, loop
        self.enable()
        reading = robot.read()
        assert reading is not None
        rows = np.tile(reading.position, (8, 1))
        rows[:, [6, 13]] = CLOSED
        sent = -np.inf

        def are_closed() -> bool:
            """Led as a policy leads: on a busy machine the arms may come to hold before the end of a chunk."""
            nonlocal sent
            if time.monotonic() - sent > 1.0:
                sent = time.monotonic()
                loop.accept(ActionChunk(rows, sent, 0.1))
            return all(abs(rig.plant.stroke - CLOSED) < 1e-5 for rig in rigs)

        rigs[0].wait_until(are_closed, 30.0)

    def enable(self) -> None:
        self.loop.disengage()
        assert self.loop.engage(self.robot.enable())

    def reset(self) -> None:
        self.loop.disengage()
        self.loop.trip("piper/reset")
        assert self.robot.reset() == []
        assert self.loop.reset()

    def free(self) -> None:
        """By hand; what it holds is taken out."""
        self.rigs[0].plant.stroke = FREED
        self.wait_for_left(FREED)

    def wait_for_left(self, stroke: float) -> None:
        def is_told() -> bool:
            reading = self.robot.left.read()
            return reading is not None and abs(reading.position[-1] - stroke) < 1e-3

        self.rigs[0].wait_until(is_told)


@pytest.fixture
def closed(make_rig: Callable[..., Any], tmp_path: Path) -> Iterator[Closed]:
    rigs = [make_rig(tmp_path / side) for side in ("left", "right")]
    robot = BimanualPiper("slcan", str(tmp_path / "left"), str(tmp_path / "right"), QUICK)
    with closing(robot):
        robot.connect()
        with closing(ControlLoop(robot, 100.0, LIMITS)) as loop:
            loop.start()
            yield Closed(rigs, robot, loop)


def trip(closed: Closed) -> None:
    closed.rigs[0].fail("gripper_trip")
    left = closed.robot.arm("left")
    closed.rigs[0].wait_until(lambda: any("tripped" in fault for fault in left.status().faults))
    closed.free()
    closed.reset()


def be_enabled_at_the_second_try(closed: Closed) -> None:
    """The other arm was not fit at the first one."""
    closed.loop.disengage()
    closed.robot.disable()
    closed.free()
    closed.rigs[1].fail("deaf 4")
    with pytest.raises(EnableTimeoutError, match="right arm"):
        closed.robot.enable()
    closed.rigs[1].fail("")


def be_opened_by_another_master(closed: Closed) -> None:
    closed.rigs[0].fail("leader_on_bus")
    closed.rigs[0].wait_until(lambda: closed.loop.stop_reason is not None)
    closed.rigs[0].fail("")
    time.sleep(0.1)
    opened = np.append(closed.rigs[0].plant.position, FREED)
    for identifier, data in setpoint_frames(opened, 1.0):
        closed.rigs[0].arm.firmware.on_frame(identifier, data)
    closed.wait_for_left(FREED)
    closed.reset()


def lose_its_power_alone(closed: Closed) -> None:
    """A loose plug: it says nothing but that it is off."""
    closed.loop.disengage()
    time.sleep(0.2)  # the last targets are on their way, and would switch it on
    closed.rigs[0].arm.firmware._gripper_on = False
    left = closed.robot.arm("left")
    closed.rigs[0].wait_until(lambda: left.status().gripper == "off, zeroed")
    closed.free()


@pytest.mark.parametrize(
    "let_go", [trip, lose_its_power_alone, be_enabled_at_the_second_try, be_opened_by_another_master]
)
def test_a_gripper_that_was_opened_meanwhile_does_not_close_when_the_arms_are_enabled(
    closed: Closed, let_go: Callable[[Closed], None]
) -> None:
    let_go(closed)
    closed.enable()
    time.sleep(0.3)
    assert closed.rigs[0].plant.stroke == pytest.approx(FREED, abs=1e-3)


@pytest.mark.parametrize("fault", ["gripper_off", "gripper_trip"])
def test_a_gripper_that_gets_its_power_back_while_it_is_commanded_does_not_close(closed: Closed, fault: str) -> None:
    """Every target would close it; nobody has called piper/enable. Then it follows again."""
    firmware, told = closed.rigs[0].arm.firmware, closed.robot.arm("left").status
    closed.rigs[0].wait_until(lambda: closed.loop.state().reason == "no_command")
    closed.rigs[0].fail(fault)
    closed.rigs[0].wait_until(lambda: told().gripper.startswith("off"))
    closed.free()
    time.sleep(0.1)  # the loop wants two readings that agree
    closed.rigs[0].fail("")
    firmware._gripper_tripped = False
    closed.rigs[0].wait_until(lambda: told().gripper.startswith("enabled"))
    time.sleep(0.3)
    assert closed.rigs[0].plant.stroke == pytest.approx(FREED, abs=1e-3)
    assert closed.rigs[1].plant.stroke == pytest.approx(CLOSED, abs=1e-4), "the other one holds on"
    reading = closed.robot.read()
    assert reading is not None
    rows = np.tile(reading.position, (8, 1))
    rows[:, 6] = CLOSED

    def closes() -> bool:
        closed.loop.accept(ActionChunk(rows, time.monotonic(), 0.1))
        return abs(closed.rigs[0].plant.stroke - CLOSED) < 1e-3

    closed.rigs[0].wait_until(closes)


def test_a_gripper_that_holds_something_keeps_it_through_a_reset_that_takes_no_power(closed: Closed) -> None:
    closed.rigs[0].plant.command = lambda position, stroke: None  # something 15 mm wide is in the left one
    closed.rigs[0].plant.stroke = 0.015
    closed.wait_for_left(0.015)
    closed.reset()
    for _ in range(2):
        closed.enable()
        closed.rigs[0].wait_until(lambda: closed.loop.state().reason == "no_command")
        target = closed.loop._newest_target
        assert target is not None
        assert target[[6, 13]] == pytest.approx(CLOSED, abs=1e-3)


@pytest.mark.parametrize("bit", [GripperState.MOTOR_HOT, GripperState.DRIVER_HOT, GripperState.UNDERVOLTAGE])
def test_a_gripper_that_is_only_hot_keeps_what_it_holds(
    closed: Closed, bit: GripperState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clearing it would switch it off for a moment."""
    firmware = closed.rigs[0].arm.firmware
    tell = firmware._gripper_state
    monkeypatch.setattr(firmware, "_gripper_state", lambda: tell() | bit)
    left = closed.robot.arm("left")
    closed.rigs[0].wait_until(lambda: any(fault.startswith("gripper: ") for fault in left.status().faults))
    assert not any("tripped" in fault for fault in left.status().faults)
    codes: list[int] = []
    obey = firmware.on_frame
    firmware.on_frame = lambda number, data: (
        codes.append(data[6]) if number == FrameId.GRIPPER_TARGET else None,
        obey(number, data),
    )
    closed.enable()
    closed.reset()
    closed.enable()
    closed.rigs[0].wait_until(lambda: codes)
    assert set(codes) == {GRIPPER_ON}
    target = closed.loop._newest_target
    assert target is not None
    assert target[6] == pytest.approx(CLOSED, abs=1e-3)
