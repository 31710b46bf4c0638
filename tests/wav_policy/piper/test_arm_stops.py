"""A stop: sent whatever the bus does, confirmed or told to be not, and nothing powered after it."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.errors import (
    BusLostError,
    EmergencyStoppedError,
    StopUnconfirmedError,
)
from wav_policy.sim.firmware import SimulatedArm

QUICK = ArmConfig(connect_timeout=1.0, enable_timeout=0.5, feedback_timeout=0.3)


def test_a_stop_that_was_not_sent_or_not_heard_is_no_success(rig: Any) -> None:
    with pytest.raises(BusLostError, match=r"left arm.*was not sent.*power switch"):
        rig.driver.stop()
    rig.driver.connect()
    rig.driver.enable()
    rig.fail("silence")
    began = time.monotonic()
    with pytest.raises(StopUnconfirmedError, match=r"left arm.*does not report it.*power switch"):
        rig.driver.stop()
    assert time.monotonic() - began < 1.0


class RefusingBus:
    """In place of a link's `transmit`: takes nothing the first `refusals` times.

    Attributes:
        attempts: names of the arms, in the order of the attempts; shared.
    """

    def __init__(self, arm: PiperArm, refusals: float, attempts: list[str]) -> None:
        self.attempts = attempts
        self._side = arm.side
        self._refusals = refusals
        self._transmit = arm.link.transmit

    def __call__(self, frames: list[Any]) -> None:
        self.attempts.append(self._side)
        if self.attempts.count(self._side) <= self._refusals:
            raise BusLostError(f"{self._side} arm: the bus takes no frames: No buffer space available")
        self._transmit(frames)


def test_a_stop_that_a_full_queue_refuses_is_sent_again(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.driver.connect()
    rig.driver.enable()
    bus = RefusingBus(rig.driver, 3, [])
    monkeypatch.setattr(rig.driver.link, "transmit", bus)
    rig.driver.stop()
    assert rig.driver.status().is_stopped
    assert len(bus.attempts) >= 4


def test_both_arms_are_told_to_stop_before_a_full_queue_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = BimanualPiper("slcan", "l", "r")
    attempts: list[str] = []
    confirmed: list[str] = []
    for arm, refusals in zip(robot.arms, (2, math.inf), strict=True):
        monkeypatch.setattr(arm.link, "transmit", lambda frames: None)
        monkeypatch.setattr(arm.link, "transmit", RefusingBus(arm, refusals, attempts))
        monkeypatch.setattr(arm, "confirm_stop", lambda arm=arm: confirmed.append(arm.side))
    began = time.monotonic()
    with pytest.raises(BusLostError, match=r"right arm.*No buffer space.*was not sent.*power switch"):
        robot.stop()
    assert time.monotonic() - began < 1.0
    assert attempts[:6] == ["left", "right", "left", "right", "left", "right"]
    assert attempts.count("left") == 3, "not again once it was taken"
    assert attempts.count("right") > 5
    assert confirmed == ["left"]


def test_a_stop_does_not_wait_for_a_bus_that_is_being_reopened(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does that of the other arm, which comes after it."""
    rig.driver.connect()
    ended, end = threading.Event(), rig.driver.link.reader.stop
    monkeypatch.setattr(rig.driver.link.reader, "stop", lambda: (ended.wait(5.0), end()))
    closing = threading.Thread(target=rig.driver.link._stop_reading)
    closing.start()
    try:
        began = time.monotonic()
        assert isinstance(rig.driver.try_stop(), BusLostError)
        assert time.monotonic() - began < 0.5
    finally:
        ended.set()
        closing.join()


def test_nothing_is_powered_after_a_stop_that_an_arm_has_not_told(tmp_path: Path) -> None:
    """It may not have reached that arm."""
    left, right = KinematicArm(), KinematicArm()
    with SimulatedArm(left, tmp_path / "l"), SimulatedArm(right, tmp_path / "r"):
        robot = BimanualPiper("slcan", str(tmp_path / "l"), str(tmp_path / "r"), QUICK)
        robot.connect()
        with pytest.raises(EmergencyStoppedError, match=r"stopped while it was being enabled.*piper/reset"):
            robot.enable(lambda: left.powered and robot.left.status().is_enabled)
        assert not right.powered
        robot.close()


def test_a_reset_that_waits_for_the_bus_does_not_undo_a_stop_that_comes_meanwhile(rig: Any) -> None:
    """The arm still tells the stop before it, so the new one is confirmed at once."""
    rig.driver.connect()
    rig.driver.enable()
    rig.driver.stop()
    stopped_anew, refused = threading.Event(), []

    def reset() -> None:
        with pytest.raises(EmergencyStoppedError, match=r"stopped during the reset") as error:
            rig.driver.reset(stopped_anew.is_set)
        refused.append(error.value)

    resetting = threading.Thread(target=reset)
    with rig.driver.link._lock:
        resetting.start()
        time.sleep(0.3)
        stopped_anew.set()
    resetting.join()
    assert refused
    time.sleep(0.2)
    assert rig.plant.powered, "the arm was reset"


def test_a_stop_that_comes_behind_a_reset_is_told_as_such_and_at_once(
    rig: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.driver.stop()
    stopped_anew = threading.Event()
    monkeypatch.setattr(rig.arm.firmware, "_reset", stopped_anew.set)  # the stop behind it undoes what it does
    began = time.monotonic()
    with pytest.raises(EmergencyStoppedError, match=r"stopped during the reset.*piper/reset again"):
        rig.driver.reset(stopped_anew.is_set)
    assert time.monotonic() - began < 0.8 * rig.driver.config.enable_timeout
