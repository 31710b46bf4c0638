"""Why an arm must not be enabled with what its flash holds: its firmware would drive it there at full speed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from wav_models.types import FloatArray
from wav_policy.piper.flash_limits import STROKES, FlashLimits
from wav_policy.piper.frames import NUM_JOINTS

TOLERANCE: Final = math.radians(0.5)
"""The firmware moves an arm into its limits when it is enabled: by so much at most [rad]."""

_STROKE_TOLERANCE: Final = 0.005
"""The same of a gripper, which seldom says exactly 0 where it is closed [m]."""

_MAX_ANGLE: Final = 2 * math.pi  # rad; no joint of a Piper turns that far
_MAX_SPEED: Final = 20.0  # rad/s; the factory's is 3
_MAX_ACCELERATION: Final = 100.0  # rad/s^2; the factory's is 5


def way_to_restore(channel: str) -> str:
    """How the vendor's limits come back, from whatever state the arm and its node are in; goes on after ": "."""
    return (
        "support the arms, call piper/enable with data false (or switch their power off and on: the motors must be "
        f"off), end piper_node, then `wav arm restore-limits --channel {channel}`"
    )


def impossible_limits(flash: FlashLimits) -> tuple[str, ...]:
    """Limits in flash that no Piper is delivered with, joint by joint; what the arm did not tell is not judged."""
    return tuple(_impossible(flash))


def untold_limits(flash: FlashLimits) -> tuple[str, ...]:
    """Joints whose limits in flash the arm has never told."""
    return tuple(f"joint{joint + 1}" for joint in range(NUM_JOINTS) if None in (flash.lower[joint], flash.upper[joint]))


def outside_limits(flash: FlashLimits, position: FloatArray) -> tuple[str, ...]:
    """Joints that are farther than `TOLERANCE` outside the limits in flash.

    Args:
        position: joint angles [rad], and what follows them; shape [6] or [7].
    """
    return tuple(_outside(flash, position))


def why_not_enable(flash: FlashLimits, position: FloatArray, channel: str) -> str:
    """In words, with the remedy; "" when nothing in flash speaks against it.

    Args:
        position: as measured [rad]; shape [6] or [7].
        channel: of the arm, for the command that restores its limits.
    """
    impossible = impossible_limits(flash)
    if impossible:
        return (
            f"not enabled: impossible limits in flash ({'; '.join(impossible)}): the arm would drive itself there. "
            f"Restore the vendor's: {way_to_restore(channel)}"
        )
    outside = outside_limits(flash, position)
    if outside:
        return (
            f"not enabled: {'; '.join(outside)}: the arm would drive itself to the limit at full speed. Move it inside "
            f"by hand while it is limp; if it is the limits that are wrong: {way_to_restore(channel)}"
        )
    untold = untold_limits(flash)
    if untold:
        return (
            f"not enabled: it does not tell the limits of {', '.join(untold)} in its flash (0x473): with corrupt ones "
            "it would drive itself there. Call piper/enable again; where that does not help, support it and switch its "
            f"power off and on; `wav arm show --channel {channel}` shows what it tells. Firmware that never tells "
            "them has to be updated by the vendor"
        )
    beyond = "".join(_beyond_stroke(flash, opening, channel) for opening in position[NUM_JOINTS:])
    return f"not enabled: {beyond}" if beyond else ""


def _beyond_stroke(flash: FlashLimits, opening: float, channel: str) -> str:
    """Of a gripper that would move into its stroke as soon as it is enabled; one never set is the short one."""
    stroke = flash.max_stroke if flash.max_stroke in STROKES else min(STROKES)
    assert stroke is not None
    if not -_STROKE_TOLERANCE <= opening <= max(STROKES) + _STROKE_TOLERANCE:
        return (
            f"its gripper says that it is open by {1000 * opening:.0f} mm: its zero is lost, and it would move by "
            f"itself. Close it by hand, end piper_node, then `wav arm zero-gripper --channel {channel}`"
        )
    if opening > stroke + _STROKE_TOLERANCE:
        return (
            f"its gripper is open by {1000 * opening:.0f} mm, for its firmware it opens {1000 * stroke:.0f} mm: it "
            "would close by itself. Close it by hand; if the longer one is fitted: end piper_node, then "
            f"`wav arm stroke {1000 * max(STROKES):.0f} --channel {channel}`"
        )
    return ""


def _impossible(flash: FlashLimits) -> Iterator[str]:
    for joint in range(NUM_JOINTS):
        lower, upper = flash.lower[joint], flash.upper[joint]
        speed, acceleration = flash.max_speed[joint], flash.max_acceleration[joint]
        if lower is not None and upper is not None and not -_MAX_ANGLE <= lower < upper <= _MAX_ANGLE:
            yield f"joint{joint + 1} {math.degrees(lower):.1f} .. {math.degrees(upper):.1f} deg"
        if speed is not None and not 0.0 < speed <= _MAX_SPEED:
            yield f"joint{joint + 1} at most {speed:g} rad/s"
        if acceleration is not None and not 0.0 < acceleration <= _MAX_ACCELERATION:
            yield f"joint{joint + 1} at most {acceleration:g} rad/s^2"


def _outside(flash: FlashLimits, position: FloatArray) -> Iterator[str]:
    for joint in range(NUM_JOINTS):
        lower, upper = flash.lower[joint], flash.upper[joint]
        if lower is None or upper is None:
            continue
        angle = float(position[joint])
        if not lower - TOLERANCE <= angle <= upper + TOLERANCE:
            yield (
                f"joint{joint + 1} is at {math.degrees(angle):.1f} deg, outside the limits in its flash, "
                f"{math.degrees(lower):.1f} .. {math.degrees(upper):.1f} deg"
            )
