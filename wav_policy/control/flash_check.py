"""Where the limits that an arm holds in flash do not fit the configuration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.enable_gate import impossible_limits, untold_limits, way_to_restore
from wav_policy.piper.flash_limits import STROKES, FlashLimits
from wav_policy.piper.frames import NUM_JOINTS

_ANGLE_RESOLUTION: Final = math.radians(0.06)
"""Flash counts 0.1 degree [rad]."""
_RATE_RESOLUTION: Final = 0.006
"""Flash counts 0.01 rad/s and 0.01 rad/s^2."""

_CHANNEL: Final = "<channel>"

_MAX_CRASH_LEVEL: Final = 8


def unfit_limits(flash: FlashLimits, limits: SafetyLimits, channel: str = "CHANNEL") -> tuple[str, ...]:
    """Where the arm would clamp, slow or overshoot what the configuration permits; joint by joint, with the remedy.

    A limit in flash that is wider than the configured one is no difference: the safety filter keeps the narrower
    (`wider_limits` tells them).

    Args:
        channel: of the arm, for the commands that mend it.
    """
    texts = (*_joints(flash, limits), *_stroke(flash), *_collision_protection(flash), *_unanswered(flash))
    return tuple(text.replace(_CHANNEL, channel) for text in texts)


def wider_limits(flash: FlashLimits, limits: SafetyLimits) -> tuple[str, ...]:
    """Where the arm could go farther than the configuration permits."""
    return tuple(_wider(flash, limits))


def fitted_limits(limits: SafetyLimits, flashes: Iterable[FlashLimits]) -> SafetyLimits:
    """The configured limits, with the grippers' opening narrowed to the shortest stroke that the arms know of.

    Args:
        limits: may narrow the stroke further.
        flashes: of all arms; an arm whose stroke was never set is taken to have the short gripper.
    """
    strokes = [flash.max_stroke if flash.max_stroke in STROKES else min(STROKES) for flash in flashes]
    return replace(limits, position_max=(*limits.position_max[:-1], min([limits.position_max[-1], *strokes])))


def _joints(flash: FlashLimits, limits: SafetyLimits) -> Iterator[str]:
    impossible = impossible_limits(flash)
    if impossible:
        yield (
            f"impossible limits in flash ({'; '.join(impossible)}): it will not be enabled. Restore the vendor's: "
            f"{way_to_restore(_CHANNEL)}"
        )
    else:
        yield from _narrower_joints(flash, limits)


def _narrower_joints(flash: FlashLimits, limits: SafetyLimits) -> Iterator[str]:
    for joint in range(NUM_JOINTS):
        name = f"joint{joint + 1}"
        lower, upper = flash.lower[joint], flash.upper[joint]
        speed, acceleration = flash.max_speed[joint], flash.max_acceleration[joint]
        if lower is not None and lower > limits.position_min[joint] + _ANGLE_RESOLUTION:
            yield _angle_text(name, "position_min", lower, limits.position_min[joint])
        if upper is not None and upper < limits.position_max[joint] - _ANGLE_RESOLUTION:
            yield _angle_text(name, "position_max", upper, limits.position_max[joint])
        if speed is not None and speed < limits.velocity[joint] - _RATE_RESOLUTION:
            yield _rate_text(name, "velocity", speed, limits.velocity[joint], "rad/s")
        if acceleration is not None and acceleration < limits.acceleration[joint] - _RATE_RESOLUTION:
            yield _rate_text(name, "acceleration", acceleration, limits.acceleration[joint], "rad/s^2")


def _angle_text(name: str, field: str, flash: float, configured: float) -> str:
    return (
        f"{name}: flash holds {math.degrees(flash):.1f} deg, safety.{field} {math.degrees(configured):.1f} deg: "
        f"the arm would stop short of its targets. Set safety.{field} to {flash:.4f} rad, or restore the vendor's "
        f"limits: {way_to_restore(_CHANNEL)}"
    )


def _rate_text(name: str, field: str, flash: float, configured: float, unit: str) -> str:
    return (
        f"{name}: flash holds {flash:g} {unit}, safety.{field} {configured:g} {unit}: the arm would lag behind. "
        f"Set safety.{field} to {flash:g}, or restore the vendor's limits: {way_to_restore(_CHANNEL)}"
    )


def _stroke(flash: FlashLimits) -> Iterator[str]:
    stroke, taken = flash.max_stroke, f"{1000 * min(STROKES):.0f} mm are taken"
    if stroke is None:
        yield (
            f"gripper: the arm did not tell its stroke (0x47E); {taken}, and the arms hold where it is opened wider. "
            "If it is a longer one, end this node and start it again"
        )
    elif stroke not in STROKES:
        yield (
            f"gripper: its stroke was never set, flash holds {1000 * stroke:.0f} mm; {taken}. Say which gripper is "
            f"fitted: end this node, then `wav arm stroke 70 --channel {_CHANNEL}`, or 100 (mm)"
        )


def _collision_protection(flash: FlashLimits) -> Iterator[str]:
    levels = [(f"joint{joint}", level) for joint, level in enumerate(flash.crash_levels or (), start=1)]
    off = [joint for joint, level in levels if level == 0]
    odd = [f"{joint} ({level})" for joint, level in levels if level > _MAX_CRASH_LEVEL]
    for joints, words in (
        (off, "collision protection is off (level 0 in flash): the arm does not stop when it hits something"),
        (odd, "flash holds a collision level that there is not: whether the arm stops at obstacles is not known"),
    ):
        if joints:
            yield (
                f"{', '.join(joints)}: {words}. End this node, then `wav arm collision-level 1 --channel {_CHANNEL}` "
                "(weakest; up to 8)"
            )


def _wider(flash: FlashLimits, limits: SafetyLimits) -> Iterator[str]:
    for joint in range(NUM_JOINTS):
        lower, upper = flash.lower[joint], flash.upper[joint]
        configured = limits.position_min[joint], limits.position_max[joint]
        if lower is None or upper is None or lower >= upper:
            continue
        if lower < configured[0] - _ANGLE_RESOLUTION or upper > configured[1] + _ANGLE_RESOLUTION:
            flashed = f"{math.degrees(lower):.1f} .. {math.degrees(upper):.1f}"
            kept = f"{math.degrees(configured[0]):.1f} .. {math.degrees(configured[1]):.1f}"
            yield f"joint{joint + 1}: flash allows {flashed} deg, the configuration keeps it to {kept} deg"
    stroke, opening = flash.max_stroke, limits.position_max[-1]
    if stroke in STROKES and stroke > opening + 1e-4:
        yield f"gripper: opens {1000 * stroke:.0f} mm, the configuration keeps it to {1000 * opening:.0f} mm"


def _unanswered(flash: FlashLimits) -> Iterator[str]:
    silent = untold_limits(flash)
    if silent:
        yield (
            f"{', '.join(silent)}: did not tell the limits in flash (0x472). The arm is asked again before it is "
            "enabled, and not enabled without them"
        )
