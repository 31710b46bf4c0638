"""What one arm says about itself, decoded, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from wav_policy.piper.frames import NUM_JOINTS, ArmState, ControlMode, GripperState, MotorState

BEYOND_LIMIT: Final = "target beyond its limit"
"""Of a joint: a fault that leaves the arm able to follow; going home ends it."""

_FAULTS = {
    MotorState.UNDERVOLTAGE: "undervoltage",
    MotorState.MOTOR_HOT: "motor too hot",
    MotorState.OVERCURRENT: "overcurrent",
    MotorState.DRIVER_HOT: "driver too hot",
    MotorState.COLLISION: "collision",
    MotorState.ERROR: "driver error",
    MotorState.STALL: "stalled",
}

_GRIPPER_FAULTS = {
    GripperState.UNDERVOLTAGE: "undervoltage",
    GripperState.MOTOR_HOT: "motor too hot",
    GripperState.OVERCURRENT: "overcurrent",
    GripperState.DRIVER_HOT: "driver too hot",
    GripperState.SENSOR_FAULT: "sensor fault",
    GripperState.ERROR: "driver error",
}

_LASTING_GRIPPER_FAULTS = GripperState.OVERCURRENT | GripperState.SENSOR_FAULT | GripperState.ERROR
"""Bits of 0x2A8 that stay until the gripper is cleared (0x159, codes 2 and 3); the others may pass."""


@dataclass(frozen=True)
class ArmStatus:
    """One arm's state.

    Attributes:
        mode: control mode as sent (0x2A1); a value beyond `ControlMode` is kept.
        state: arm state as sent; a value beyond `ArmState` is kept.
        enabled: per joint.
        faults: in words: motors, gripper, joint limits, joint communication.
        firmware: version, such as "S-V1.8-10"; "" until the arm has told.
        firmware_remarks: what is known to be wrong with that version, or that nothing is known of it.
        feedback_age: time since the last joint feedback [s]; inf before the first.
        feedback_rate: joint feedbacks (all six joints) per second, over the last ones [Hz].
        undecodable: frames and lines that could not be read.
        offset_frames: feedback on 0x2B*, 0x2C* or 0x3A* instead of 0x2A*: changed in the arm's flash (0x470).
        leader_frames: set-points that another master, a leader arm or a program, has sent on this bus.
        temperatures: per joint the hotter of driver and motor [deg C].
        voltage: the lowest of the motors' supplies [V].
        outage: why no feedback comes; "" while it does.
        inhibit: why the arm must not be commanded; "" when it may.
        reconnects: how often the bus was opened again.
        gripper: its state in words; "" before it has told.
    """

    mode: int
    state: int
    enabled: tuple[bool, ...]
    faults: tuple[str, ...]
    firmware: str
    feedback_age: float
    feedback_rate: float
    undecodable: int
    offset_frames: int
    leader_frames: int = 0
    temperatures: tuple[int, ...] = ()
    voltage: float = 0.0
    outage: str = ""
    inhibit: str = ""
    reconnects: int = 0
    gripper: str = ""
    firmware_remarks: tuple[str, ...] = ()

    @property
    def is_enabled(self) -> bool:
        """All six motors hold."""
        return bool(self.enabled) and all(self.enabled)

    @property
    def is_stopped(self) -> bool:
        """In emergency stop."""
        return self.state == ArmState.EMERGENCY_STOP

    @property
    def mode_name(self) -> str:
        """Such as "CAN" or "UNKNOWN (0x9)"."""
        return mode_name(self.mode)

    @property
    def state_name(self) -> str:
        """Such as "NORMAL" or "UNKNOWN (0x3f)"."""
        return state_name(self.state)


def mode_name(mode: int) -> str:
    """Such as "CAN" or "UNKNOWN (0x9)"."""
    return _name(ControlMode, mode)


def state_name(state: int) -> str:
    """Such as "NORMAL" or "UNKNOWN (0x3f)"."""
    return _name(ArmState, state)


def motor_faults(codes: Sequence[int], mask: int = 0xFF) -> tuple[str, ...]:
    """Words for the status bytes of 0x261-0x266, joint 1 first; only bits of `mask`."""
    found = [
        f"joint{joint}: {words}"
        for joint, code in enumerate(codes, start=1)
        for bit, words in _FAULTS.items()
        if code & bit & mask
    ]
    return tuple(found)


def has_tripped(code: int) -> bool:
    """Whether a gripper that says this byte of 0x2A8 has to be cleared, which lets go of what it holds. One that is
    only hot, or short of voltage, and still on has not; nor has -1."""
    is_off = not code & GripperState.ENABLED
    return code >= 0 and bool(code & (sum(_GRIPPER_FAULTS) if is_off else _LASTING_GRIPPER_FAULTS))


def gripper_faults(code: int, is_arm_on: bool) -> tuple[str, ...]:
    """Words for the status byte of 0x2A8; -1 has none.

    Args:
        code: as sent.
        is_arm_on: the arm takes set-points; each of them enables the gripper.
    """
    if code < 0:
        return ()
    found = [f"gripper: {words}" for bit, words in _GRIPPER_FAULTS.items() if code & bit]
    if is_arm_on and not code & GripperState.ENABLED:
        found.append("gripper: off while the arm is on, it neither opens nor holds")
    if has_tripped(code):
        found.append("gripper: tripped. Free what it grips, then call piper/enable or piper/reset: both clear it")
    return tuple(found)


def gripper_words(code: int) -> str:
    """Such as "enabled, zeroed"; a gripper that was never zeroed (0x159, 0xAE) may open half. "" for -1."""
    if code < 0:
        return ""
    enabled = "enabled" if code & GripperState.ENABLED else "off"
    return f"{enabled}, {'zeroed' if code & GripperState.HOMED else 'never zeroed: its stroke may be off'}"


def error_code_faults(code: int) -> tuple[str, ...]:
    """Words for the error field of 0x2A1: high byte joint limits, low byte joint communication."""
    joints = range(NUM_JOINTS)
    limits = [f"joint{joint + 1}: {BEYOND_LIMIT}" for joint in joints if code & (1 << (8 + joint))]
    silent = [f"joint{joint + 1}: no communication" for joint in joints if code & (1 << joint)]
    return tuple(limits + silent)


def _name(kind: type[ControlMode] | type[ArmState], value: int) -> str:
    try:
        return kind(value).name
    except ValueError:
        return f"UNKNOWN ({value:#x})"
