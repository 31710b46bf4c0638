"""Feedback frames of the simulated arm, and how often each is sent."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated, Final

from wav_models.configuration import Range
from wav_models.types import FloatArray
from wav_policy.piper import units
from wav_policy.piper.frames import MOVE_JOINT, NUM_JOINTS, ControlMode, Frame, FrameId
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.sim.plant import ArmReading

_LEADER_EFFORT: Final = 1.0  # N m


Rate = Annotated[float, Range(0.0, 1000.0)]


@dataclass(frozen=True)
class FeedbackRates:
    """Frames of each kind per second [Hz]; 0 never sends them.

    The defaults are lean: 630 frames/s an arm. A real arm sends 3040/s: joints, gripper, status, end_pose and
    motors_fast at 200, motors_slow at 40. Two arms cost 3.5 % of a core with the defaults and 9.7 % at those rates
    (both arms' threads, CPU time over 7 s with a client that reads everything; 2-core x86-64 virtual machine).
    """

    joints: Rate = 100.0
    """Frames 0x2A5 to 0x2A7."""
    gripper: Rate = 100.0
    """Frame 0x2A8."""
    status: Rate = 50.0
    """Frame 0x2A1."""
    motors_slow: Rate = 10.0
    """Frames 0x261 to 0x266: voltages, temperatures, faults."""
    motors_fast: Rate = 20.0
    """Frames 0x251 to 0x256: currents, of which joint_states.effort is made."""
    end_pose: Rate = 0.0
    """Frames 0x2A2 to 0x2A4."""

    @property
    def tick(self) -> float:
        """Of an arm that sends these [s]: 0.01, or what the fastest of the frames that drivers wait for takes."""
        return 1.0 / max(100.0, self.joints, self.gripper, self.status)


class FeedbackSchedule:
    """Which kinds of feedback are due."""

    def __init__(self, rates: FeedbackRates) -> None:
        self._periods = {f.name: 1.0 / getattr(rates, f.name) for f in fields(rates) if getattr(rates, f.name) > 0}
        self._due: dict[str, float] = {}

    def due(self, now: float) -> set[str]:
        """Kinds to send at `now` [s]; after a pause each is sent once, not in a burst."""
        kinds = {kind for kind in self._periods if now >= self._due.get(kind, now) - 1e-9}
        for kind in kinds:
            self._due[kind] = max(self._due.get(kind, now) + self._periods[kind], now)
        return kinds


def joint_frames(reading: ArmReading) -> Iterator[Frame]:
    """0x2A5-0x2A7."""
    counts = units.millidegrees_from_radians(reading.position)
    for pair in range(3):
        yield FrameId.JOINTS_12 + pair, struct.pack(">ii", counts[2 * pair], counts[2 * pair + 1])


def gripper_frame(reading: ArmReading, status: int) -> Frame:
    """0x2A8. The plant reports a force; the lever arm of the finger drive is taken as 0.01 m."""
    effort = _int16(units.effort_counts_from_newton_metres(reading.grip_force * 0.01))
    return FrameId.GRIPPER, struct.pack(">ihBx", units.micrometres_from_metres(reading.stroke), effort, status)


def motor_fast_frames(reading: ArmReading) -> Iterator[Frame]:
    """0x251-0x256: speed, current (at 1 A per N m), position in 0.001 rad."""
    for joint in range(NUM_JOINTS):
        speed = _int16(units.speed_counts_from_radians_per_second(reading.velocity[joint]))
        current = _int16(round(1000 * reading.torque[joint]))
        position = round(1000 * reading.position[joint])
        yield FrameId.MOTOR_FAST_1 + joint, struct.pack(">hhi", speed, current, position)


def motor_slow_frames(reading: ArmReading, states: list[int]) -> Iterator[Frame]:
    """0x261-0x266 at 24 V, driver at 35 °C, motor at 30 °C."""
    for joint, state in enumerate(states):
        current = min(abs(round(1000 * reading.torque[joint])), 0xFFFF)
        yield FrameId.MOTOR_SLOW_1 + joint, struct.pack(">HhbBH", 240, 35, 30, state, current)


def end_pose_frames(reading: ArmReading) -> Iterator[Frame]:
    """0x2A2-0x2A4, by the vendor's own forward kinematics."""
    from piper_sdk.kinematics import C_PiperForwardKinematics

    x, y, z, roll, pitch, yaw = C_PiperForwardKinematics(0x01).CalFK(reading.position.tolist())[-1]
    counts = [round(1000 * value) for value in (x, y, z, roll, pitch, yaw)]
    for pair in range(3):
        yield FrameId.END_POSE_XY + pair, struct.pack(">ii", counts[2 * pair], counts[2 * pair + 1])


def version_frames(software: str) -> Iterator[Frame]:
    """0x4AF, eleven frames: hardware, name, software and dates of production at the offsets that pyAgxArm reads."""
    told = bytearray(88)
    for offset, text in ((0, "H-V1.2-1"), (16, "10"), (32, "ARM_MC"), (60, f"{software}250925")):
        told[offset : offset + len(text)] = text.encode()
    for offset in range(0, len(told), 8):
        yield FrameId.FIRMWARE_VERSION, bytes(told[offset : offset + 8])


def leader_frames(position: FloatArray) -> list[Frame]:
    """0x151, 0x155-0x157, 0x159: joints and stroke of a leader, shape [7], rad and m, as targets for its follower."""
    mode = FrameId.MOTION_CONTROL_2, bytes((ControlMode.CAN, MOVE_JOINT, 100, 0, 0, 0, 0, 0))
    return [mode, *setpoint_frames(position, _LEADER_EFFORT)]


def _int16(count: int) -> int:
    return max(-0x8000, min(0x7FFF, count))
