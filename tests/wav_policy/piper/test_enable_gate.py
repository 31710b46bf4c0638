"""Enabling moves nothing, whatever the flash holds: it is refused where the firmware would."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_policy.piper.enable_gate import TOLERANCE, why_not_enable
from wav_policy.piper.errors import FlashLimitsError
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.sim.firmware import Flash

ANGLE = st.floats(-7.0, 7.0)


def flash_with(lower: tuple[float | None, ...], upper: tuple[float | None, ...], speed: float = 3.0) -> FlashLimits:
    return FlashLimits(lower, upper, (speed,) * 6, (5.0,) * 6, 0.07, (1,) * 6, (500,) * 4)


@given(st.lists(st.tuples(ANGLE, ANGLE, ANGLE), min_size=6, max_size=6))
def test_what_is_let_through_moves_less_than_the_tolerance(joints: list[tuple[float, float, float]]) -> None:
    """The firmware clamps the position that is sent back to it: lower limit first, as it does."""
    lower, upper, position = (tuple(column) for column in zip(*joints, strict=True))
    if why_not_enable(flash_with(lower, upper), np.array(position), "can0"):
        return
    moved = [abs(min(max(q, low), high) - q) for low, high, q in zip(lower, upper, position, strict=True)]
    assert max(moved) <= TOLERANCE


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6), st.lists(st.floats(0.01, 3.0), min_size=6, max_size=6))
def test_an_arm_inside_its_limits_is_never_refused(shares: list[float], widths: list[float]) -> None:
    lower = tuple(-width for width in widths)
    position = np.array([low + share * 2 * width for low, share, width in zip(lower, shares, widths, strict=True)])
    assert why_not_enable(flash_with(lower, tuple(widths)), position, "can0") == ""


def test_limits_that_were_not_told_are_not_judged() -> None:
    assert why_not_enable(flash_with((None,) * 6, (None,) * 6), np.full(6, 2.0), "can0") == ""


def test_the_message_names_joint_numbers_and_command(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    flash = Flash()
    flash.limits[1].lower = math.radians(90)
    rig = make_rig(tmp_path / "arm", flash)
    rig.driver.connect()
    before = rig.plant.position.copy()
    with pytest.raises(FlashLimitsError) as refused:
        rig.driver.enable()
    text = str(refused.value)
    for words in ("left arm", "joint2 is at 57.3 deg", "90.0 .. 180.0 deg"):
        assert words in text
    assert f"wav arm restore-limits --channel {rig.arm.link}" in text
    assert not rig.plant.powered
    np.testing.assert_array_equal(rig.plant.position, before)
    rig.plant.position[1] = math.radians(91)
    rig.wait_until(lambda: rig.driver.read().position[1] > 1.58)
    assert rig.driver.enable() is False, "moved inside by hand"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda flash: flash.corrupt(), r"joint1 -0.1 .. -0.1 deg.*joint6 at most 655.35 rad/s\^2"),
        (lambda flash: setattr(flash.limits[3], "max_speed", 0.0), "joint4 at most 0 rad/s"),
        (lambda flash: setattr(flash.limits[3], "max_speed", 655.35), "joint4 at most 655.35 rad/s"),
        (lambda flash: setattr(flash.limits[0], "lower", 2.7), "joint1 154.7 .. 150.0 deg"),
    ],
)
def test_impossible_limits_are_refused(
    make_rig: Callable[..., Any], tmp_path: Path, change: Callable[[Flash], None], words: str
) -> None:
    flash = Flash()
    change(flash)
    rig = make_rig(tmp_path / "arm", flash)
    rig.driver.connect()
    with pytest.raises(FlashLimitsError, match=f"impossible limits in flash.*{words}"):
        rig.driver.enable()
    assert not rig.plant.powered


def test_limits_that_became_corrupt_after_configure_are_seen_too(rig: Any) -> None:
    rig.driver.connect()
    rig.driver.read_flash()
    rig.fail("corrupt_limits")
    rig.wait_until(lambda: rig.arm.flash.limits[0].upper < 0)
    with pytest.raises(FlashLimitsError, match="impossible"):
        rig.driver.enable()


def test_an_arm_that_is_on_is_judged_by_what_was_read(rig: Any) -> None:
    rig.driver.connect()
    rig.driver.enable()
    rig.fail("corrupt_limits")
    rig.driver.read_flash()
    with pytest.raises(FlashLimitsError, match="impossible"):
        rig.driver.enable()
    assert rig.plant.powered, "it goes on holding"
