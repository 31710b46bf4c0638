"""What the arm holds in flash, and where it does not fit the configuration. Reads; never writes."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wav_policy.piper import frames, units
from wav_policy.piper.frames import NUM_JOINTS, FrameId
from wav_policy.piper.link import ArmLink
from wav_policy.safety_limits import SafetyLimits

_TIMEOUT = 0.6  # s for all answers
_RETRY = 0.1  # s
_ANGLE_RESOLUTION = math.radians(0.06)  # flash counts 0.1 deg
_SPEED_RESOLUTION = 0.002  # rad/s, rad/s^2


@dataclass(frozen=True)
class FlashLimits:
    """Per joint, rad, rad/s and rad/s^2; None where the arm did not answer.

    Attributes:
        lower, upper, max_speed: from 0x473.
        max_acceleration: from 0x47C.
        max_stroke: of the gripper, from 0x47E [m].
        crash_levels: collision protection, 0 off .. 8, from 0x47B.
        end_limits: of the end effector, counts of 0x478; only for display.
    """

    lower: tuple[float | None, ...]
    upper: tuple[float | None, ...]
    max_speed: tuple[float | None, ...]
    max_acceleration: tuple[float | None, ...]
    max_stroke: float | None
    crash_levels: tuple[int, ...] | None
    end_limits: tuple[int, ...] | None


_JOINT_REPLIES: Final = (FrameId.LIMIT_REPLY, FrameId.ACCELERATION_REPLY)
_PARAMETER_QUERIES: Final = {
    FrameId.END_LIMITS_REPLY: frames.QUERY_END_LIMITS,
    FrameId.CRASH_LEVEL_REPLY: frames.QUERY_CRASH_LEVELS,
    FrameId.GRIPPER_SETTING_REPLY: frames.QUERY_GRIPPER,
}


def read_flash(link: ArmLink) -> FlashLimits:
    """Ask with 0x472 and 0x477 until all is answered, at most 0.6 s. An old firmware may not know every question."""
    link.reader.replies.clear()
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline and _ask_missing(link):
        waited = time.monotonic() + _RETRY
        while time.monotonic() < min(waited, deadline) and any(True for _ in _missing(link)):
            time.sleep(0.005)
    return _decode(link)


def _missing(link: ArmLink) -> Iterator[tuple[FrameId, int]]:
    """(reply, joint) not answered yet; joint 0 for questions about the whole arm."""
    answered = set(link.reader.replies)
    for reply in _JOINT_REPLIES:
        for joint in range(1, NUM_JOINTS + 1):
            if (reply, joint) not in answered:
                yield reply, joint
    numbers = {number for number, _ in answered}
    for reply in _PARAMETER_QUERIES:
        if reply not in numbers:
            yield reply, 0


def _ask_missing(link: ArmLink) -> bool:
    missing = list(_missing(link))
    with link.sending as sdk:
        for reply, joint in missing:
            if reply in _PARAMETER_QUERIES:
                sdk.ArmParamEnquiryAndConfig(_PARAMETER_QUERIES[reply])
            else:
                angles = reply == FrameId.LIMIT_REPLY
                sdk.SearchMotorMaxAngleSpdAccLimit(
                    joint, frames.QUERY_ANGLES_AND_SPEED if angles else frames.QUERY_ACCELERATION
                )
    return bool(missing)


def _decode(link: ArmLink) -> FlashLimits:
    replies = dict(link.reader.replies)
    joints = range(1, NUM_JOINTS + 1)
    answers = [replies.get((FrameId.LIMIT_REPLY, joint)) for joint in joints]
    limits = [None if data is None else struct.unpack(">BhhHx", data) for data in answers]
    accelerations = [replies.get((FrameId.ACCELERATION_REPLY, joint)) for joint in joints]
    whole = {number: data for (number, _), data in replies.items()}
    gripper = whole.get(FrameId.GRIPPER_SETTING_REPLY)
    crash = whole.get(FrameId.CRASH_LEVEL_REPLY)
    end = whole.get(FrameId.END_LIMITS_REPLY)
    return FlashLimits(
        lower=tuple(None if limit is None else units.radians_from_decidegrees(limit[2]) for limit in limits),
        upper=tuple(None if limit is None else units.radians_from_decidegrees(limit[1]) for limit in limits),
        max_speed=tuple(None if limit is None else limit[3] / 1000 for limit in limits),
        max_acceleration=tuple(
            None if data is None else struct.unpack(">xH5x", data)[0] / 1000 for data in accelerations
        ),
        max_stroke=None if gripper is None else gripper[1] / 1000,
        crash_levels=None if crash is None else tuple(crash[:NUM_JOINTS]),
        end_limits=None if end is None else struct.unpack(">4H", end),
    )


def unfit_limits(flash: FlashLimits, limits: SafetyLimits) -> tuple[str, ...]:
    """Where the arm would clamp, slow or overshoot what the configuration permits; joint by joint, with the remedy.

    A limit in flash that is wider than the configured one is no difference: the safety filter keeps the narrower.
    """
    return (*_narrower_joints(flash, limits), *_stroke(flash, limits), *_unanswered(flash))


def _narrower_joints(flash: FlashLimits, limits: SafetyLimits) -> Iterator[str]:
    for joint in range(NUM_JOINTS):
        name = f"joint{joint + 1}"
        lower, upper = flash.lower[joint], flash.upper[joint]
        speed, acceleration = flash.max_speed[joint], flash.max_acceleration[joint]
        if lower is not None and lower > limits.position_min[joint] + _ANGLE_RESOLUTION:
            yield _angle_text(name, "position_min", lower, limits.position_min[joint])
        if upper is not None and upper < limits.position_max[joint] - _ANGLE_RESOLUTION:
            yield _angle_text(name, "position_max", upper, limits.position_max[joint])
        if speed is not None and speed < limits.velocity[joint] - _SPEED_RESOLUTION:
            yield _rate_text(name, "velocity", speed, limits.velocity[joint], "rad/s")
        if acceleration is not None and acceleration < limits.acceleration[joint] - _SPEED_RESOLUTION:
            yield _rate_text(name, "acceleration", acceleration, limits.acceleration[joint], "rad/s^2")


def _angle_text(name: str, field: str, flash: float, configured: float) -> str:
    return (
        f"{name}: flash holds {math.degrees(flash):.1f} deg, safety.{field} {math.degrees(configured):.1f} deg: "
        f"the arm would stop short of its targets. Set safety.{field} to {flash:.4f} rad, or change the arm's limit "
        "(0x474)"
    )


def _rate_text(name: str, field: str, flash: float, configured: float, unit: str) -> str:
    frame = "0x474" if field == "velocity" else "0x475"
    return (
        f"{name}: flash holds {flash:g} {unit}, safety.{field} {configured:g} {unit}: the arm would lag behind. "
        f"Set safety.{field} to {flash:g}, or change the arm's limit ({frame})"
    )


def _stroke(flash: FlashLimits, limits: SafetyLimits) -> Iterator[str]:
    stroke, configured = flash.max_stroke, limits.position_max[-1]
    if stroke is not None and stroke < configured - 1e-4:
        yield (
            f"gripper: flash holds a stroke of {1000 * stroke:.0f} mm, safety.position_max {1000 * configured:.0f} mm: "
            f"it opens half. Set safety.position_max to {stroke:g} m, or the arm's stroke (0x47D)"
        )


def _unanswered(flash: FlashLimits) -> Iterator[str]:
    silent = [f"joint{joint + 1}" for joint in range(NUM_JOINTS) if flash.lower[joint] is None]
    if silent:
        yield f"{', '.join(silent)}: did not tell the limits in flash (0x472); compare them with the vendor's tool"
