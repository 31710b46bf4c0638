"""What the arm holds in flash, and what the vendor delivers it with. Reads; never writes."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from wav_policy.piper import frames, units
from wav_policy.piper.frames import NUM_JOINTS, FrameId
from wav_policy.piper.link import ArmLink

VENDOR_LIMITS_DEGREES: Final = ((-150, 150), (0, 180), (-170, 0), (-100, 100), (-70, 70), (-120, 120))
"""Of joints 1 to 6, as piper_sdk and pyAgxArm list them [deg]."""

STROKES: Final = (0.07, 0.1)
"""Of the grippers there are [m]."""

_TIMEOUT = 0.6  # s for all answers
_RETRY = 0.1  # s


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

    def completed_by(self, known: FlashLimits) -> FlashLimits:
        """With what was known before in the place of what the arm has not told now."""

        def complete(told: Any, before: Any) -> Any:
            if isinstance(told, tuple) and isinstance(before, tuple):
                return tuple(old if new is None else new for new, old in zip(told, before, strict=True))
            return before if told is None else told

        names = [field.name for field in fields(self)]
        return FlashLimits(**{name: complete(getattr(self, name), getattr(known, name)) for name in names})


_JOINT_REPLIES: Final = (FrameId.LIMIT_REPLY, FrameId.ACCELERATION_REPLY)
_PARAMETER_QUERIES: Final = {
    FrameId.END_LIMITS_REPLY: frames.QUERY_END_LIMITS,
    FrameId.CRASH_LEVEL_REPLY: frames.QUERY_CRASH_LEVELS,
    FrameId.GRIPPER_SETTING_REPLY: frames.QUERY_GRIPPER,
}


def read_flash(link: ArmLink) -> FlashLimits:
    """Ask with 0x472 and 0x477 until all is answered twice alike, at most 0.6 s. An old firmware may not know every
    question."""
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
        for reply, joint in 2 * missing:
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
        max_speed=tuple(None if limit is None else units.rate_limit_from_counts(limit[3]) for limit in limits),
        max_acceleration=tuple(
            None if data is None else units.rate_limit_from_counts(struct.unpack(">xH5x", data)[0])
            for data in accelerations
        ),
        max_stroke=None if gripper is None else gripper[1] / 1000,
        crash_levels=None if crash is None else tuple(crash[:NUM_JOINTS]),
        end_limits=None if end is None else struct.unpack(">4H", end),
    )
