"""Questions about, and changes of, what an arm keeps in flash: 0x470, 0x472-0x47E."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from wav_policy.piper import frames, units
from wav_policy.piper.frames import NUM_JOINTS, FrameId
from wav_policy.sim.firmware.feedback import Frame
from wav_policy.sim.firmware.flash import FACTORY_END_LIMITS, Flash, factory_limits

_OFFSETS: Final = (0x00, 0x10, 0x20)
_UNCHANGED: Final = 0x7FFF
_ALL_JOINTS: Final = 7


class Settings:
    """Handlers by identifier; replies collect in `replies` until the firmware sends them.

    Args:
        flash: read and changed.
        clear_errors: called with joints 0..5 when their errors are to be cleared.
        set_zero: called with joints 0..5 that are at zero from now on; says whether all are.
    """

    def __init__(self, flash: Flash, clear_errors: Callable[[range], None], set_zero: Callable[[range], bool]) -> None:
        self.replies: list[Frame] = []
        self.flash = flash
        self._clear_errors = clear_errors
        self._set_zero = set_zero
        self.handlers: dict[int, Callable[[bytes], None]] = {
            FrameId.LINKAGE: self._on_linkage,
            FrameId.LIMIT_QUERY: self._on_limit_query,
            FrameId.LIMIT_SETTING: self._on_limit_setting,
            FrameId.JOINT_SETTING: self._on_joint_setting,
            FrameId.PARAMETER_QUERY: self._on_parameter_query,
            FrameId.END_LIMITS_SETTING: self._on_end_limits,
            FrameId.CRASH_LEVEL_SETTING: self._on_crash_levels,
            FrameId.GRIPPER_SETTING: self._on_gripper_setting,
        }

    def _on_linkage(self, data: bytes) -> None:
        role, feedback_offset, control_offset = data[:3]
        if role in (frames.LEADER, frames.FOLLOWER):
            self.flash.is_leader = role == frames.LEADER
        if feedback_offset in _OFFSETS and control_offset in _OFFSETS:
            self.flash.feedback_offset, self.flash.control_offset = feedback_offset, control_offset
        self._acknowledge(FrameId.LINKAGE)

    def _on_limit_query(self, data: bytes) -> None:
        joint, content = data[0] - 1, data[1]
        if not 0 <= joint < NUM_JOINTS:
            return
        limit = self.flash.limits[joint]
        if content == frames.QUERY_ANGLES_AND_SPEED:
            angles = units.decidegrees_from_radians(limit.upper), units.decidegrees_from_radians(limit.lower)
            speed = units.counts_from_rate_limit(limit.max_speed)
            self.replies.append((FrameId.LIMIT_REPLY, struct.pack(">BhhHx", data[0], *angles, speed)))
        elif content == frames.QUERY_ACCELERATION:
            acceleration = units.counts_from_rate_limit(limit.max_acceleration)
            self.replies.append((FrameId.ACCELERATION_REPLY, struct.pack(">BH5x", data[0], acceleration)))

    def _on_limit_setting(self, data: bytes) -> None:
        motor, upper, lower, speed = struct.unpack(">BhhHx", data)
        if not 1 <= motor <= NUM_JOINTS:
            return
        limit = self.flash.limits[motor - 1]
        if upper != _UNCHANGED:
            limit.upper = units.radians_from_decidegrees(upper)
        if lower != _UNCHANGED:
            limit.lower = units.radians_from_decidegrees(lower)
        if speed != _UNCHANGED:
            limit.max_speed = units.rate_limit_from_counts(speed)
        self._acknowledge(FrameId.LIMIT_SETTING)

    def _on_joint_setting(self, data: bytes) -> None:
        motor, zero, with_acceleration, acceleration, clear = struct.unpack(">BBBHBxx", data)
        if not 1 <= motor <= _ALL_JOINTS:
            return
        joints = range(NUM_JOINTS) if motor == _ALL_JOINTS else range(motor - 1, motor)
        if with_acceleration == frames.CONFIRM and acceleration != _UNCHANGED:
            for joint in joints:
                self.flash.limits[joint].max_acceleration = units.rate_limit_from_counts(acceleration)
        if clear == frames.CONFIRM:
            self._clear_errors(joints)
        is_zero = zero == frames.CONFIRM and self._set_zero(joints)
        self._acknowledge(FrameId.JOINT_SETTING, is_zero)

    def _on_parameter_query(self, data: bytes) -> None:
        query, setting = data[:2]
        if setting == frames.DEFAULT_END_LIMITS:
            self.flash.end_limits = FACTORY_END_LIMITS
        elif setting == frames.DEFAULT_JOINT_LIMITS:
            self.flash.limits = factory_limits()
        if setting:
            self._acknowledge(FrameId.PARAMETER_QUERY)
        if query == frames.QUERY_END_LIMITS:
            self.replies.append((FrameId.END_LIMITS_REPLY, struct.pack(">4H", *self.flash.end_limits)))
        elif query == frames.QUERY_CRASH_LEVELS:
            self.replies.append((FrameId.CRASH_LEVEL_REPLY, bytes(self.flash.crash_levels).ljust(8, b"\0")))
        elif query == frames.QUERY_GRIPPER:
            stroke = round(1000 * self.flash.max_stroke)
            self.replies.append((FrameId.GRIPPER_SETTING_REPLY, bytes((100, stroke, 1)).ljust(8, b"\0")))

    def _on_end_limits(self, data: bytes) -> None:
        wanted = struct.unpack(">4H", data)
        self.flash.end_limits = tuple(
            old if new == _UNCHANGED else new for old, new in zip(self.flash.end_limits, wanted, strict=True)
        )
        self._acknowledge(FrameId.END_LIMITS_SETTING)

    def _on_crash_levels(self, data: bytes) -> None:
        for joint, level in enumerate(data[:NUM_JOINTS]):
            if level <= frames.MAX_CRASH_LEVEL:
                self.flash.crash_levels[joint] = level
        self._acknowledge(FrameId.CRASH_LEVEL_SETTING)

    def _on_gripper_setting(self, data: bytes) -> None:
        if data[1] in (70, 100):  # mm
            self.flash.max_stroke = data[1] / 1000
            self._acknowledge(FrameId.GRIPPER_SETTING)

    def _acknowledge(self, identifier: FrameId, is_zero: bool = False) -> None:
        self.replies.append((FrameId.ACKNOWLEDGE, struct.pack(">BB6x", identifier & 0xFF, is_zero)))
