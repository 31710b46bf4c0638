"""Enabling moves nothing, whatever the flash holds: it is refused where the firmware would."""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.wav_policy.kinematic_arm import KinematicArm
from tests.wav_policy.piper.conftest import QUICK
from wav_models.types import FloatArray
from wav_policy.cli.main import main
from wav_policy.piper import frames, units
from wav_policy.piper.adapters import Adapter
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.enable_gate import TOLERANCE, outside_limits, why_not_enable
from wav_policy.piper.errors import FirmwareError, FlashLimitsError
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.piper.frames import FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.sim.firmware import Flash, PiperFirmware

JOINT = st.tuples(st.integers(-1800, 1700), st.integers(1, 1800), st.floats(-0.005, 1.005))
"""Lower limit and width in counts of 0.1 degree, and where between them the joint is."""


def pose_and_limits(
    joints: list[tuple[int, int, float]],
) -> tuple[tuple[float, ...], tuple[float, ...], FloatArray]:
    """Limits and pose [rad]."""
    lower = tuple(units.radians_from_decidegrees(low) for low, _, _ in joints)
    upper = tuple(units.radians_from_decidegrees(low + width) for low, width, _ in joints)
    shares = np.array([share for _, _, share in joints])
    return lower, upper, np.array(lower) + shares * (np.array(upper) - np.array(lower))


def flash_with(
    lower: tuple[float | None, ...], upper: tuple[float | None, ...], stroke: float | None = 0.07
) -> FlashLimits:
    return FlashLimits(lower, upper, (3.0,) * 6, (5.0,) * 6, stroke, (1,) * 6, (500,) * 4)


@given(st.lists(JOINT, min_size=6, max_size=6))
def test_what_is_let_through_moves_less_than_the_tolerance(joints: list[tuple[int, int, float]]) -> None:
    """The firmware clamps the position that is sent back to it."""
    lower, upper, position = pose_and_limits(joints)
    assume(not why_not_enable(flash_with(lower, upper), position, "can0"))
    moved = [abs(min(max(q, low), high) - q) for low, high, q in zip(lower, upper, position, strict=True)]
    assert max(moved) <= TOLERANCE


@pytest.mark.parametrize(
    ("lower", "upper", "degrees", "is_outside"),
    [
        (-1.0, 1.0, math.degrees(1.0) + 0.4, False),
        (-1.0, 1.0, -math.degrees(1.0) - 0.4, False),
        (-1.0, 1.0, math.degrees(1.0) + 0.6, True),
        (-1.0, 1.0, math.nan, True),
        (None, 1.0, 100.0, False),
        (-1.0, None, -100.0, False),
    ],
)
def test_the_tolerance_and_what_is_not_known(
    lower: float | None, upper: float | None, degrees: float, is_outside: bool
) -> None:
    """A pose that is no number is nowhere inside; limits that were not told are not judged."""
    flash, position = flash_with((lower,) * 6, (upper,) * 6), np.zeros(6)
    position[4] = math.radians(degrees)
    assert len(outside_limits(flash, position)) == is_outside


@given(JOINT, st.integers(0, 5), st.floats(0.51, 200.0), st.booleans())
def test_one_joint_outside_is_enough_to_refuse(
    joint: tuple[int, int, float], index: int, degrees: float, below: bool
) -> None:
    lower, upper, position = pose_and_limits([(joint[0], joint[1], 0.5)] * 6)
    position[index] = lower[index] - math.radians(degrees) if below else upper[index] + math.radians(degrees)
    assert f"joint{index + 1} is at" in why_not_enable(flash_with(lower, upper), position, "can0")


@given(st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6), st.lists(st.floats(0.01, 3.0), min_size=6, max_size=6))
def test_an_arm_inside_its_limits_is_never_refused(shares: list[float], widths: list[float]) -> None:
    lower = tuple(-width for width in widths)
    position = np.array([low + share * 2 * width for low, share, width in zip(lower, shares, widths, strict=True)])
    assert why_not_enable(flash_with(lower, tuple(widths)), position, "can0") == ""


@pytest.mark.parametrize("joint", range(6))
def test_limits_that_were_not_told_may_be_anything(joint: int) -> None:
    lower, upper = [-3.0] * 6, [3.0] * 6
    lower[joint] = upper[joint] = None  # type: ignore[call-overload]
    told = why_not_enable(flash_with(tuple(lower), tuple(upper)), np.zeros(6), "can0")
    assert f"does not tell the limits of joint{joint + 1} in its flash" in told
    for remedy in ("piper/enable", "power off and on", "`wav arm show --channel can0`"):
        assert remedy in told


@pytest.mark.parametrize("joints", [range(1, 7), (5,)])
def test_an_arm_that_never_tells_its_limits_is_not_powered(
    make_rig: Callable[..., Any], tmp_path: Path, joints: Sequence[int]
) -> None:
    """They may be corrupt: the arm would sweep as soon as it has power."""
    flash = Flash()
    flash.corrupt()
    rig = make_rig(tmp_path / "arm", flash)
    rig.say(lambda number, data: None if number == FrameId.LIMIT_REPLY and data[0] in joints else data)
    for joint, limit in enumerate(flash.limits, start=1):
        limit.max_acceleration = 5.0
        if joint not in joints:
            limit.lower, limit.upper = -3.0, 3.0
    rig.driver.connect()
    with pytest.raises(FlashLimitsError, match=f"left arm.*joint{joints[-1]}.*in its flash"):
        rig.driver.enable()
    assert not rig.plant.powered


def test_enabling_waits_for_an_arm_that_tells_its_limits_late(rig: Any) -> None:
    rig.driver.connect()
    tells_at = time.monotonic() + 0.7
    rig.say(lambda number, data: None if number == FrameId.LIMIT_REPLY and time.monotonic() < tells_at else data)
    assert rig.driver.enable() is False
    assert time.monotonic() > tells_at
    assert rig.plant.powered


def test_what_flash_has_told_counts_where_it_tells_nothing_any_more(
    make_rig: Callable[..., Any], tmp_path: Path
) -> None:
    flash = Flash()
    flash.limits[1].lower = math.radians(90)
    rig = make_rig(tmp_path / "arm", flash)
    rig.driver.connect()
    rig.driver.read_flash()
    rig.say(lambda number, data: None if number == FrameId.LIMIT_REPLY else data)
    with pytest.raises(FlashLimitsError, match="joint2 is at"):
        rig.driver.enable()
    assert not rig.plant.powered


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


def test_the_command_names_where_the_adapter_is_and_not_where_it_was_said_to_be(
    make_rig: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be the other arm, whose flash is well."""
    flash = Flash()
    flash.corrupt()
    rig = make_rig(tmp_path / "arm", flash)
    adapter = Adapter("slcan", str(tmp_path / "arm"), usb_serial="A7")
    monkeypatch.setattr("wav_policy.piper.adapters.list_adapters", lambda interface: [adapter])
    rig.driver = PiperArm("left", "slcan", "/dev/ttyACM0", QUICK, usb_serial="A7")
    rig.driver.connect()
    with pytest.raises(FlashLimitsError, match=f"wav arm restore-limits --channel {tmp_path / 'arm'}") as refused:
        rig.driver.enable()
    assert "/dev/ttyACM0" not in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda flash: flash.corrupt(), r"joint1 -0.1 .. -0.1 deg.*joint6 at most 655.35 rad/s\^2"),
        (lambda flash: setattr(flash.limits[3], "max_speed", 0.0), "joint4 at most 0 rad/s"),
        (lambda flash: setattr(flash.limits[3], "max_speed", 655.35), "joint4 at most 655.35 rad/s"),
        (lambda flash: setattr(flash.limits[1], "max_acceleration", 0.0), r"joint2 at most 0 rad/s\^2"),
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


def test_an_arm_that_speaks_another_protocol_is_not_powered(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    rig = make_rig(tmp_path / "arm", version="S-V1.5-1")
    rig.driver.connect()
    with pytest.raises(FirmwareError, match=r"left arm.*not enabled: S-V1.5-1 is older than S-V1.5-2"):
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


def test_neither_arm_is_powered_when_one_is_not_fit(make_rig: Callable[..., Any], tmp_path: Path) -> None:
    flash = Flash()
    flash.corrupt()
    rigs = make_rig(tmp_path / "l"), make_rig(tmp_path / "r", flash)
    robot = BimanualPiper("slcan", str(rigs[0].arm.link), str(rigs[1].arm.link), QUICK)
    robot.connect()
    with pytest.raises(FlashLimitsError, match="right arm"):
        robot.enable()
    assert not any(rig.plant.powered for rig in rigs)
    robot.close()


@settings(deadline=None, max_examples=60)
@given(
    st.lists(JOINT, min_size=6, max_size=6),
    st.sampled_from([0.07, 0.1, 0.0]),
    st.floats(-0.03, 0.12),
)
def test_between_enabling_and_the_first_chunk_nothing_moves(
    joints: list[tuple[int, int, float]], max_stroke: float, stroke: float
) -> None:
    """Random flash and random poses: the firmware itself is enabled as the driver does."""
    lower, upper, pose = pose_and_limits(joints)
    assume(not why_not_enable(flash_with(lower, upper, stroke=max_stroke), np.append(pose, stroke), "can0"))
    flash = Flash(max_stroke=max_stroke)
    for limit, low, high in zip(flash.limits, lower, upper, strict=True):
        limit.lower, limit.upper = low, high
    plant = KinematicArm()
    plant.position, plant.stroke = pose, stroke
    before = np.append(plant.position, plant.stroke)
    firmware = PiperFirmware(plant, flash=flash)
    for joint in range(1, 7):
        firmware.on_frame(FrameId.MOTOR_POWER, bytes((joint, frames.MOTOR_ENABLE)).ljust(8, b"\0"))
    firmware.on_frame(FrameId.MOTION_CONTROL_2, bytes((1, frames.MOVE_JOINT, 100)).ljust(8, b"\0"))
    for tick in range(200):
        firmware.tick(0.01 * tick)
        for number, data in setpoint_frames(before, 1.0):
            firmware.on_frame(number, data)
    moved = np.abs(np.append(plant.position, plant.stroke) - before)
    assert moved[:6].max() <= TOLERANCE + 1e-4
    assert moved[6] <= (1e-5 if 0.0 <= stroke <= (max_stroke or 0.07) else 0.005 + 1e-5)


@pytest.mark.parametrize(
    ("stroke", "opening", "words"),
    [
        (0.07, -0.023, r"open by -23 mm: its zero is lost.*`wav arm zero-gripper --channel can0`"),
        (0.1, 0.115, "open by 115 mm: its zero is lost"),
        (0.07, 0.095, r"open by 95 mm, for its firmware it opens 70 mm.*`wav arm stroke 100 --channel can0`"),
        (0.0, 0.095, "for its firmware it opens 70 mm"),
        (0.1, math.nan, "its zero is lost"),
        (0.1, 0.104, ""),
        (0.1, 0.106, "its zero is lost"),
        (0.07, 0.074, ""),
        (0.07, 0.076, "for its firmware it opens 70 mm"),
        (0.07, -0.004, ""),
        (0.07, -0.006, "its zero is lost"),
        (None, 0.06, ""),
    ],
)
def test_a_gripper_that_the_firmware_would_move_is_not_enabled(
    stroke: float | None, opening: float, words: str
) -> None:
    told = why_not_enable(flash_with((-3.0,) * 6, (3.0,) * 6, stroke=stroke), np.append(np.zeros(6), opening), "can0")
    assert re.search(words, told) if words else told == ""


def test_a_lost_zero_of_a_gripper_is_mended_as_the_message_says(
    make_rig: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(tmp_path / "arm", Flash(gripper_zero=0.055))
    rig.driver.connect()
    with pytest.raises(
        FlashLimitsError, match=r"left arm.*open by -25 mm.*end piper_node, then `wav arm ([^`]*)`"
    ) as no:
        rig.driver.enable()
    assert not rig.plant.powered
    assert rig.plant.stroke == pytest.approx(0.03)
    rig.plant.stroke = 0.0
    rig.driver.close()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{rig.arm.link}\n"))
    command = re.search("`wav (arm [^`]*)`", str(no.value))
    assert command is not None
    assert main(command[1].split()) == 0
    rig.driver.connect()
    assert rig.driver.enable() is False
    assert rig.plant.stroke == pytest.approx(0.0, abs=1e-5)
