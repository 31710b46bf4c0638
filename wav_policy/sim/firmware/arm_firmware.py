"""The Piper's firmware as a state machine: CAN frames and time in, CAN frames and set-points out.

Nothing here reads a clock or a port, so every rule can be tested frame by frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper import frames, units
from wav_policy.piper.firmware import TEACH_NEEDS_RESET_BELOW, parse_version
from wav_policy.piper.frames import NUM_JOINTS, ArmState, ControlMode, Frame, FrameId, GripperState, MotorState
from wav_policy.sim.firmware import feedback
from wav_policy.sim.firmware.faults import FaultSet
from wav_policy.sim.firmware.feedback import FeedbackRates, FeedbackSchedule
from wav_policy.sim.firmware.flash import Flash
from wav_policy.sim.firmware.settings import Settings
from wav_policy.sim.plant import ArmPlant, ArmReading

_GRIPPER_SPEED = 0.15  # m/s, about half a second for the full stroke [inferred]
_SHORT_STROKE = 0.07  # m, where it was never set: the vendor calls a 0 in flash invalid [inferred]
_REACHED_TOLERANCE = 0.01  # rad
_CONTROL_IDS = range(0x150, 0x160)
_FEEDBACK_IDS = range(0x2A1, 0x2A9)
_SLIP = np.radians(20.0)
_LEADER_THRESHOLD = 1e-4  # rad; below, a leader is at rest and silent


class PiperFirmware:
    """One arm. `on_frame` takes a command; `tick` advances the motion and returns what the arm sends.

    Args:
        plant: the arm that is driven.
        rates: feedback rates.
        flash: what an earlier life of this arm left; as delivered if None.
        version: of the software, such as "S-V1.8-8".

    Attributes:
        flash: limits, role and identifiers; survives this object.
        faults: what is wrong with the arm; set with `set_faults`.
    """

    def __init__(
        self,
        plant: ArmPlant,
        rates: FeedbackRates | None = None,
        flash: Flash | None = None,
        version: str = "S-V1.8-8",
    ) -> None:
        self.flash = flash or Flash()
        self.faults = FaultSet()
        self._settings = Settings(self.flash, self._clear_errors, self._set_zero)
        self._plant = plant
        self._slip: FloatArray = np.zeros(NUM_JOINTS)  # by how much the joints are elsewhere than the arm believes
        self._schedule = FeedbackSchedule(rates or FeedbackRates())
        self._version = version
        self._time: float | None = None

        self._mode = ControlMode.STANDBY
        self._move_mode = frames.MOVE_JOINT
        self._speed_fraction = 0.0
        self._stopped = False
        self._teach_state = 0
        self._enabled = [False] * NUM_JOINTS
        self._enables_missing = [1] * NUM_JOINTS
        self._limit_hit = [False] * NUM_JOINTS

        self._powered = False  # until it is enabled the first time somebody supports the arm: it stays where it is
        self._target: FloatArray | None = None
        self._setpoint = self._read().position
        self._last_led = self._setpoint.copy()
        self._gripper_on = False
        self._gripper_homed = True
        self._gripper_tripped = False
        self._stroke_target: float | None = None
        self._stroke_setpoint = self._read().stroke
        self._handlers: dict[int, Callable[[bytes], None]] = {
            FrameId.MOTION_CONTROL_1: self._on_motion_control_1,
            FrameId.MOTION_CONTROL_2: self._on_motion_control_2,
            FrameId.JOINT_TARGET_12: lambda data: self._on_joint_target(0, data),
            FrameId.JOINT_TARGET_34: lambda data: self._on_joint_target(2, data),
            FrameId.JOINT_TARGET_56: lambda data: self._on_joint_target(4, data),
            FrameId.GRIPPER_TARGET: self._on_gripper_target,
            FrameId.MOTOR_POWER: self._on_motor_power,
            FrameId.FIRMWARE_VERSION: self._on_version_query,
            **self._settings.handlers,
        }

    def on_frame(self, identifier: int, data: bytes) -> None:
        """Obey one frame from the bus. Unknown identifiers and short frames are ignored, as the arm does."""
        if identifier in _CONTROL_IDS and self.flash.control_offset:
            return
        if identifier - self.flash.control_offset in _CONTROL_IDS:
            identifier -= self.flash.control_offset
        handler = self._handlers.get(identifier)
        if handler is not None and len(data) == 8:
            handler(data)

    def tick(self, now: float) -> list[Frame]:
        """Advance the motion to `now` [s] and return the frames to send: replies, then feedback that is due."""
        elapsed = 0.0 if self._time is None else max(now - self._time, 0.0)
        self._time = now
        reading = self._read()
        self._move(reading.position, elapsed)
        sent, self._settings.replies[:] = list(self._settings.replies), []
        due = self._schedule.due(now)
        if self.flash.is_leader:
            return sent + (self._leader_frames(reading.position, reading.stroke) if "joints" in due else [])
        return sent + self._shifted(self._feedback(due, reading))

    def set_faults(self, faults: FaultSet) -> None:
        """Let go wrong what `faults` says, and only that."""
        came, went = faults.names - self.faults.names, self.faults.names - faults.names
        slipped, lost = faults.slipped - self.faults.slipped, faults.lost - self.faults.lost
        off = faults.unpowered - self.faults.unpowered
        self.faults = faults
        if "emergency_stop" in came:
            self._on_motion_control_1(bytes((frames.EMERGENCY_STOP,)).ljust(8, b"\0"))
        if "teach" in came:
            self._on_motion_control_1(bytes((0, 0, frames.TEACH_ENTER)).ljust(8, b"\0"))
        if "teach" in went:
            self._on_motion_control_1(bytes((0, 0, frames.TEACH_LEAVE)).ljust(8, b"\0"))
        if "leader" in came or "leader" in went:
            self.flash.is_leader = "leader" in came
        if "gripper_trip" in came:
            self._gripper_tripped, self._gripper_on = True, False
        if "gripper_off" in came:
            self._gripper_on = False
        if "corrupt_limits" in came:
            self.flash.corrupt()
        for joint in off:
            self._enabled[joint] = False
        for joint in slipped:
            self._slip[joint] += _SLIP
            self._command()
        for joint in lost:
            self._slip[joint] -= _SLIP
            self._setpoint[joint] += _SLIP

    def _read(self) -> ArmReading:
        """The plant as the arm's encoders see it."""
        reading = self._plant.read()
        position = np.array(reading.position, dtype=np.float64) - self._slip - self.flash.zeros
        return replace(reading, position=position, stroke=reading.stroke - self.flash.gripper_zero)

    def _command(self) -> None:
        angles = self._setpoint + self._slip + self.flash.zeros
        stroke = self._stroke_setpoint + self.flash.gripper_zero
        self._plant.command(angles if self._powered else None, stroke if self._gripper_on else None)

    def _feedback(self, due: set[str], reading: ArmReading) -> list[Frame]:
        sent: list[Frame] = []
        if "status" in due:
            sent.append(self._status_frame(reading.position))
        if "joints" in due:
            sent.extend(feedback.joint_frames(reading))
        if "gripper" in due:
            sent.append(feedback.gripper_frame(reading, self._gripper_state()))
        if "motors_fast" in due:
            sent.extend(feedback.motor_fast_frames(reading))
        if "motors_slow" in due:
            sent.extend(feedback.motor_slow_frames(reading, self._motor_states()))
        if "end_pose" in due:
            sent.extend(feedback.end_pose_frames(reading))
        return sent

    def _shifted(self, sent: list[Frame]) -> list[Frame]:
        offset = self.flash.feedback_offset
        if not offset:
            return sent
        return [(number + offset if number in _FEEDBACK_IDS else number, data) for number, data in sent]

    def _leader_frames(self, position: FloatArray, stroke: float) -> list[Frame]:
        """A leader sends its pose as targets for a follower, and nothing while it is not moved."""
        if np.abs(position - self._last_led).max() < _LEADER_THRESHOLD:
            return []
        self._last_led = position.copy()
        return feedback.leader_frames(np.append(position, stroke))

    # Motion

    def _move(self, measured: FloatArray, elapsed: float) -> None:
        powered = all(self._enabled)
        if powered != self._powered:
            self._powered = powered
            self._plant.set_power(powered)
            self._target = None
            self._setpoint = measured.copy()
        if self._stopped:
            # Following the measured joints gives way under gravity: the damped descent of 0x150.
            self._setpoint = measured.copy()
        elif self._target is not None:
            speeds = np.array([limit.max_speed for limit in self.flash.limits])
            step = speeds * self._speed_fraction * elapsed
            self._setpoint = self._setpoint + np.clip(self._target - self._setpoint, -step, step)
        if self._gripper_on and not self._stopped and self._stroke_target is not None:
            step_stroke = _GRIPPER_SPEED * elapsed
            difference = self._stroke_target - self._stroke_setpoint
            self._stroke_setpoint += max(-step_stroke, min(step_stroke, difference))
        self._command()

    def _on_joint_target(self, first: int, data: bytes) -> None:
        commandable = self._mode == ControlMode.CAN and self._move_mode == frames.MOVE_JOINT
        if not (commandable and self._powered) or self._stopped or "ignore_joints" in self.faults:
            return
        if self._target is None:
            self._target = self._setpoint.copy()
        angles = units.radians_from_millidegrees(struct.unpack(">ii", data))
        for joint, angle in enumerate(angles, start=first):
            limit = self.flash.limits[joint]
            self._target[joint] = min(max(angle, limit.lower), limit.upper)
            # Half a count: limits are whole 0.1 deg, targets whole 0.001 deg.
            self._limit_hit[joint] = bool(abs(self._target[joint] - angle) > 1e-5)

    def _on_gripper_target(self, data: bytes) -> None:
        count, _, code, zero = struct.unpack(">iHBB", data)
        if code in (frames.GRIPPER_OFF_AND_CLEAR, frames.GRIPPER_ON_AND_CLEAR):
            self._gripper_tripped = False
        if bool(code & 1) and not self._gripper_on:
            self._stroke_setpoint = self._read().stroke
        self._gripper_on = bool(code & 1) and not self._stopped and self._gripper_works
        if zero == frames.GRIPPER_SET_ZERO:
            self._gripper_homed = True
            self.flash.gripper_zero += self._read().stroke
            self._stroke_setpoint, self._stroke_target = 0.0, None
        elif self._gripper_on:
            longest = self.flash.max_stroke or _SHORT_STROKE
            self._stroke_target = min(max(units.metres_from_micrometres(count), 0.0), longest)

    # Modes and power

    def _on_motion_control_1(self, data: bytes) -> None:
        if data[0] == frames.EMERGENCY_STOP:
            self._stopped = True
            self._target = self._stroke_target = None
        elif data[0] == frames.RESET:
            self._reset()
        elif data[2] == frames.TEACH_ENTER and not self._stopped:
            self._mode, self._teach_state, self._target = ControlMode.TEACH, data[2], None
        elif data[2] == frames.TEACH_LEAVE and self._mode == ControlMode.TEACH and not self._stays_in_teach:
            self._mode, self._teach_state = ControlMode.STANDBY, 0

    def _reset(self) -> None:
        """Clears the errors and cuts the power: the arm falls. After an emergency stop enabling takes two tries."""
        self._enables_missing = [2 if self._stopped else 1] * NUM_JOINTS
        self._stopped = False
        self._mode, self._teach_state = ControlMode.STANDBY, 0
        self._enabled = [False] * NUM_JOINTS
        self._limit_hit = [False] * NUM_JOINTS
        self._gripper_on = False
        self._slip = np.zeros(NUM_JOINTS)
        self._target = self._stroke_target = None

    @property
    def _stays_in_teach(self) -> bool:
        version = parse_version(self._version.encode())
        return version is not None and version < TEACH_NEEDS_RESET_BELOW

    def _on_motion_control_2(self, data: bytes) -> None:
        if self._stopped or self._mode == ControlMode.TEACH:
            return
        if data[0] in (ControlMode.STANDBY, ControlMode.CAN):
            self._mode = ControlMode(data[0])
        self._move_mode = data[1]
        self._speed_fraction = min(data[2], 100) / 100

    def _on_motor_power(self, data: bytes) -> None:
        selected, action = data[0], data[1]
        joints = range(NUM_JOINTS) if selected in frames.ALL_MOTORS else (selected - 1,)
        for joint in joints:
            if not 0 <= joint < NUM_JOINTS:
                continue
            if action == frames.MOTOR_ENABLE and not self._stopped and joint not in self.faults.deaf:
                self._enables_missing[joint] = max(0, self._enables_missing[joint] - 1)
                self._enabled[joint] = self._enables_missing[joint] == 0
            elif action == frames.MOTOR_DISABLE:
                self._enabled[joint] = False
        if selected in frames.ALL_MOTORS:
            self._gripper_on = action == frames.MOTOR_ENABLE and not self._stopped and self._gripper_works

    @property
    def _gripper_works(self) -> bool:
        return not self._gripper_tripped and "gripper_off" not in self.faults

    def _on_version_query(self, data: bytes) -> None:
        self._settings.replies.extend(feedback.version_frames(self._version))

    def _clear_errors(self, joints: range) -> None:
        for joint in joints:
            self._limit_hit[joint] = False

    def _set_zero(self, joints: range) -> bool:
        """Where these joints are is 0 from now on; a powered one would jump with its set-point, and is not touched."""
        limp = [joint for joint in joints if not self._enabled[joint]]
        measured = self._read().position
        for joint in limp:
            self.flash.zeros[joint] += float(measured[joint])
            self._setpoint[joint] = 0.0
        return len(limp) == len(joints)

    # Status

    def _status_frame(self, measured: FloatArray) -> Frame:
        moving = self._target is not None and np.abs(self._target - measured).max() > _REACHED_TOLERANCE
        limit_bits = sum(1 << joint for joint, hit in enumerate(self._limit_hit) if hit)
        fields = (self._mode, self._arm_state(), self._move_mode, self._teach_state, int(moving), 0)
        return FrameId.STATUS, bytes((*fields, limit_bits, self.faults.communication_bits))

    def _arm_state(self) -> ArmState:
        if self._stopped:
            return ArmState.EMERGENCY_STOP
        if any(fault & MotorState.COLLISION for fault in self.faults.motor_bits):
            return ArmState.COLLISION
        if self.faults.communication_bits:
            return ArmState.JOINT_COMMUNICATION
        if any(self._limit_hit) or "ignore_joints" in self.faults:
            return ArmState.TARGET_OUT_OF_LIMITS
        return ArmState.NORMAL

    def _motor_states(self) -> list[int]:
        return [
            fault | (MotorState.ENABLED if enabled else 0)
            for fault, enabled in zip(self.faults.motor_bits, self._enabled, strict=True)
        ]

    def _gripper_state(self) -> int:
        tripped = GripperState.OVERCURRENT | GripperState.ERROR if self._gripper_tripped else 0
        enabled = GripperState.ENABLED if self._gripper_on else 0
        return tripped | enabled | (GripperState.HOMED if self._gripper_homed else 0)
