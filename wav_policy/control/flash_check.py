"""Where the limits that an arm holds in flash do not fit the configuration."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.piper.flash_limits import FlashLimits
from wav_policy.piper.frames import NUM_JOINTS

_ANGLE_RESOLUTION: Final = math.radians(0.06)
"""Flash counts 0.1 degree [rad]."""
_RATE_RESOLUTION: Final = 0.006
"""Flash counts 0.01 rad/s and 0.01 rad/s^2."""


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
        if speed is not None and speed < limits.velocity[joint] - _RATE_RESOLUTION:
            yield _rate_text(name, "velocity", speed, limits.velocity[joint], "rad/s")
        if acceleration is not None and acceleration < limits.acceleration[joint] - _RATE_RESOLUTION:
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
