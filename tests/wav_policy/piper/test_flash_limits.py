"""What the arm keeps in flash, read over the bus and compared with the configuration."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wav_policy.control.flash_check import fitted_limits, unfit_limits, wider_limits
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.piper.frames import FrameId
from wav_policy.sim.firmware import Flash

DELIVERED = FlashLimits(
    SafetyLimits().position_min[:6], SafetyLimits().position_max[:6], (3.0,) * 6, (5.0,) * 6, 0.07, (1,) * 6, (500,) * 4
)


def test_an_arm_as_delivered_fits(rig: Any) -> None:
    rig.driver.connect()
    flash = rig.driver.read_flash()
    limits = SafetyLimits()
    np.testing.assert_allclose(flash.lower, limits.position_min[:6], atol=1e-9)
    np.testing.assert_allclose(flash.upper, limits.position_max[:6], atol=1e-9)
    assert flash.max_speed == (3.0,) * 6
    assert flash.max_acceleration == (5.0,) * 6
    assert flash.max_stroke == 0.07
    assert flash.crash_levels == (1,) * 6
    assert unfit_limits(flash, limits) == ()


def test_an_answer_that_was_damaged_is_not_believed(rig: Any) -> None:
    """On a serial line damage can look like another number: whatever is said first is damaged here."""
    rig.driver.connect()
    said: set[tuple[int, int]] = set()

    def damage(number: int, data: bytes) -> bytes:
        if number < 0x473 or (number, data[0]) in said:
            return data
        said.add((number, data[0]))
        return bytes([data[0], data[1] ^ 4, *data[2:]])

    rig.say(damage)
    assert rig.driver.read_flash() == DELIVERED
    assert len(said) == 15


def test_the_units_are_the_arms_and_not_those_of_piper_sdks_comments(rig: Any) -> None:
    """Raw 300 and 500 are what an arm as delivered answers: 3.0 rad/s and 5.0 rad/s^2 (piper_sdk#122, pyAgxArm)."""
    rig.driver.connect()
    replies = rig.driver.link.reader.replies
    rig.driver.read_flash()
    assert replies[FrameId.LIMIT_REPLY, 1] == struct.pack(">BhhHx", 1, 1500, -1500, 300)
    assert replies[FrameId.ACCELERATION_REPLY, 6] == bytes((6, 1, 244, 0, 0, 0, 0, 0))


def test_narrower_limits_in_flash_are_named_with_both_numbers(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    flash = Flash()
    flash.limits[0].upper = math.radians(90)
    flash.limits[2].lower = math.radians(-120)
    flash.limits[3].max_speed = 1.5
    flash.limits[4].max_acceleration = 2.0
    rig = make_rig(tmp_path / "arm", flash)
    rig.driver.connect()
    texts = unfit_limits(rig.driver.read_flash(), SafetyLimits())
    expected = {
        "joint1: flash holds 90.0 deg, safety.position_max 150.0 deg": "safety.position_max to 1.5708 rad",
        "joint3: flash holds -120.0 deg, safety.position_min -170.0 deg": "wav arm restore-limits",
        "joint4: flash holds 1.5 rad/s, safety.velocity 3 rad/s": "safety.velocity to 1.5",
        "joint5: flash holds 2 rad/s^2, safety.acceleration 5 rad/s^2": "wav arm restore-limits",
    }
    for (start, remedy), text in zip(expected.items(), texts, strict=True):
        assert text.startswith(start)
        assert remedy in text


def test_reading_writes_nothing_to_flash(rig: Any) -> None:
    heard = []
    obey = rig.arm.firmware.on_frame
    rig.arm.firmware.on_frame = lambda number, data: (heard.append((number, data[1])), obey(number, data))
    rig.driver.connect()
    before = repr(rig.arm.flash)
    rig.driver.read_flash()
    assert {number for number, _ in heard} <= {FrameId.LIMIT_QUERY, FrameId.PARAMETER_QUERY, FrameId.FIRMWARE_VERSION}
    assert all(setting == 0 for number, setting in heard if number == FrameId.PARAMETER_QUERY)
    assert repr(rig.arm.flash) == before


def test_a_lost_answer_is_asked_for_again_and_a_missing_one_named(rig: Any) -> None:
    rig.driver.connect()
    rig.fail("drop 0.2")
    assert None not in rig.driver.read_flash().lower
    obey = rig.arm.firmware.on_frame
    rig.fail("")
    rig.arm.firmware.on_frame = lambda number, data: None if data[:2] == bytes((2, 1)) else obey(number, data)
    flash = rig.driver.read_flash()
    assert flash.lower[1] is None
    assert flash.upper[2] == pytest.approx(0.0)
    assert any(text.startswith("joint2: did not tell") for text in unfit_limits(flash, SafetyLimits()))


@pytest.mark.parametrize(
    ("strokes", "configured", "opening", "words"),
    [
        ((0.07, 0.07), 0.1, 0.07, ""),
        ((0.1, 0.1), 0.1, 0.1, ""),
        ((0.1, 0.1), 0.05, 0.05, ""),
        ((0.1, 0.07), 0.1, 0.07, ""),
        ((0.0, 0.1), 0.1, 0.07, r"flash holds 0 mm.*wav arm stroke 70 --channel CHANNEL`, or 100"),
        ((0.255, 0.1), 0.1, 0.07, r"flash holds 255 mm.*wav arm stroke"),
        ((None, 0.1), 0.1, 0.07, r"did not tell its stroke \(0x47E\); 70 mm are taken"),
    ],
)
def test_the_stroke_comes_from_flash_and_the_configuration_may_narrow_it(
    strokes: tuple[float | None, float], configured: float, opening: float, words: str
) -> None:
    told = [replace(DELIVERED, max_stroke=stroke) for stroke in strokes]
    limits = replace(SafetyLimits(), position_max=(*SafetyLimits().position_max[:6], configured))
    assert fitted_limits(limits, told).position_max[-1] == opening
    texts = " ".join(unfit_limits(told[0], limits))
    assert re.search(words, texts) if words else not texts


def test_limits_that_are_wider_in_flash_are_told_apart() -> None:
    wide = replace(DELIVERED, upper=(*DELIVERED.upper[:5], math.radians(170)), max_stroke=0.1)
    assert unfit_limits(wide, SafetyLimits()) == ()
    joint, gripper = wider_limits(wide, SafetyLimits())
    assert joint.startswith("joint6: flash allows -120.0 .. 170.0 deg, the configuration keeps it to -120.0 .. 120.0")
    assert "100 mm" in gripper
    (joint,) = wider_limits(replace(DELIVERED, lower=(math.radians(-170), *DELIVERED.lower[1:])), SafetyLimits())
    assert joint.startswith("joint1: flash allows -170.0 ..")
    assert wider_limits(DELIVERED, SafetyLimits()) == ()


def test_collision_protection_that_is_off_is_told() -> None:
    (text,) = unfit_limits(replace(DELIVERED, crash_levels=(1, 0, 1, 0, 1, 1)), SafetyLimits())
    assert text.startswith("joint2, joint4: collision protection is off (level 0")
    assert "wav arm collision-level" in text
    (text,) = unfit_limits(replace(DELIVERED, crash_levels=(1, 255, 8, 1, 9, 1)), SafetyLimits())
    assert text.startswith("joint2 (255), joint5 (9): flash holds a collision level that there is not")
    assert "wav arm collision-level" in text


def test_impossible_limits_are_not_offered_to_be_taken_over(rig: Any) -> None:
    rig.arm.flash.corrupt()
    rig.driver.connect()
    (text,) = unfit_limits(rig.driver.read_flash(), SafetyLimits())
    assert "it will not be enabled" in text
    assert "wav arm restore-limits" in text
    assert "Set safety" not in text
