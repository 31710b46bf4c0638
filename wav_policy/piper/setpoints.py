"""Frames of one set-point, byte for byte as piper_sdk's `JointCtrl` and `GripperCtrl` make them, in one go.

piper_sdk builds two messages, a type lookup and ten conversions for each of the four frames; at 200 Hz and two arms
that is the largest part of its cost (see docs/driver.md).
"""

from __future__ import annotations

import struct
from typing import Final

from wav_models.types import FloatArray
from wav_policy.piper import frames, units
from wav_policy.piper.frames import Frame, FrameId

_PAIR: Final = struct.Struct(">ii")
_GRIPPER: Final = struct.Struct(">iHBB")


def setpoint_frames(position: FloatArray, effort: float) -> list[Frame]:
    """0x155-0x157 and 0x159.

    Args:
        position: joint targets [rad], gripper stroke [m]; shape [7].
        effort: of the gripper [N m].
    """
    *angles, stroke = position.tolist()
    joints = units.millidegrees_from_radians(angles)
    effort_count = units.effort_counts_from_newton_metres(effort)
    grip = _GRIPPER.pack(units.micrometres_from_metres(stroke), effort_count, frames.GRIPPER_ON, 0)
    return [
        (FrameId.JOINT_TARGET_12, _PAIR.pack(joints[0], joints[1])),
        (FrameId.JOINT_TARGET_34, _PAIR.pack(joints[2], joints[3])),
        (FrameId.JOINT_TARGET_56, _PAIR.pack(joints[4], joints[5])),
        (FrameId.GRIPPER_TARGET, grip),
    ]
