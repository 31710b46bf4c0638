"""Names of the CAN identifiers and codes of the Piper protocol (PIPER interface V2), shared by driver and firmware."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final

BITRATE: Final = 1_000_000

Frame = tuple[int, bytes]
"""CAN identifier and data."""


@dataclass(frozen=True)
class BusCondition:
    """What the adapter says about the bus.

    Attributes:
        is_bus_off: the controller has left the bus.
        has_errors: it sees frames it cannot read, or nobody acknowledges its own.
        bitrate: configured [bit/s]; None where the adapter does not tell.
        words: for the message to the operator.
        remedy: the command that sets the interface up anew; "" where there is none.
    """

    is_bus_off: bool = False
    has_errors: bool = False
    bitrate: int | None = None
    words: str = "no error reported"
    remedy: str = ""


class FrameId(IntEnum):
    """11-bit identifiers; data are always 8 bytes, big-endian."""

    MOTION_CONTROL_1 = 0x150
    MOTION_CONTROL_2 = 0x151
    JOINT_TARGET_12 = 0x155
    JOINT_TARGET_34 = 0x156
    JOINT_TARGET_56 = 0x157
    GRIPPER_TARGET = 0x159
    MOTOR_FAST_1 = 0x251
    MOTOR_SLOW_1 = 0x261
    STATUS = 0x2A1
    END_POSE_XY = 0x2A2
    END_POSE_Z_RX = 0x2A3
    END_POSE_RY_RZ = 0x2A4
    JOINTS_12 = 0x2A5
    JOINTS_34 = 0x2A6
    JOINTS_56 = 0x2A7
    GRIPPER = 0x2A8
    LINKAGE = 0x470
    MOTOR_POWER = 0x471
    LIMIT_QUERY = 0x472
    LIMIT_REPLY = 0x473
    LIMIT_SETTING = 0x474
    JOINT_SETTING = 0x475
    ACKNOWLEDGE = 0x476
    PARAMETER_QUERY = 0x477
    END_LIMITS_REPLY = 0x478
    END_LIMITS_SETTING = 0x479
    CRASH_LEVEL_SETTING = 0x47A
    CRASH_LEVEL_REPLY = 0x47B
    ACCELERATION_REPLY = 0x47C
    GRIPPER_SETTING = 0x47D
    GRIPPER_SETTING_REPLY = 0x47E
    FIRMWARE_VERSION = 0x4AF


class ControlMode(IntEnum):
    """0x2A1 byte 0."""

    STANDBY = 0
    CAN = 1
    TEACH = 2
    ETHERNET = 3
    WIFI = 4
    REMOTE = 5
    LEADER = 6
    OFFLINE_TRAJECTORY = 7


class ArmState(IntEnum):
    """0x2A1 byte 1."""

    NORMAL = 0
    EMERGENCY_STOP = 1
    NO_SOLUTION = 2
    SINGULARITY = 3
    TARGET_OUT_OF_LIMITS = 4
    JOINT_COMMUNICATION = 5
    BRAKE_CLOSED = 6
    COLLISION = 7
    TEACH_OVERSPEED = 8
    JOINT_FAULT = 9
    OTHER_FAULT = 10
    TEACH_RECORDING = 11
    TEACH_PLAYING = 12
    TEACH_PAUSED = 13
    CONTROLLER_HOT = 14
    RESISTOR_HOT = 15


class MotorState(IntFlag):
    """Status byte of 0x261-0x266 (byte 5)."""

    UNDERVOLTAGE = 1 << 0
    MOTOR_HOT = 1 << 1
    OVERCURRENT = 1 << 2
    DRIVER_HOT = 1 << 3
    COLLISION = 1 << 4
    ERROR = 1 << 5
    ENABLED = 1 << 6
    STALL = 1 << 7


class GripperState(IntFlag):
    """Status byte of 0x2A8 (byte 6)."""

    UNDERVOLTAGE = 1 << 0
    MOTOR_HOT = 1 << 1
    OVERCURRENT = 1 << 2
    DRIVER_HOT = 1 << 3
    SENSOR_FAULT = 1 << 4
    ERROR = 1 << 5
    ENABLED = 1 << 6
    HOMED = 1 << 7


EMERGENCY_STOP: Final = 1
"""0x150 byte 0."""
RESET: Final = 2
MOVE_JOINT: Final = 1
MOTOR_DISABLE: Final = 1
MOTOR_ENABLE: Final = 2
ALL_MOTORS: Final = (7, 0xFF)
GRIPPER_OFF: Final = 0
"""0x159 byte 6."""
GRIPPER_ON: Final = 1
GRIPPER_OFF_AND_CLEAR: Final = 2
GRIPPER_ON_AND_CLEAR: Final = 3
"""The only codes that clear a gripper that has tripped."""
GRIPPER_SET_ZERO: Final = 0xAE
TEACH_ENTER: Final = 1
TEACH_LEAVE: Final = 2
CONFIRM: Final = 0xAE
"""0x475: makes an acceleration, a zero or the clearing of errors effective."""
LEADER: Final = 0xFA
FOLLOWER: Final = 0xFC
QUERY_ANGLES_AND_SPEED: Final = 1
QUERY_ACCELERATION: Final = 2
QUERY_END_LIMITS: Final = 1
QUERY_CRASH_LEVELS: Final = 2
QUERY_GRIPPER: Final = 4
VERSION_QUERY: Final = bytes((1, 0, 0, 0, 0, 0, 0, 0))
"""0x4AF."""
DEFAULT_END_LIMITS: Final = 1
DEFAULT_JOINT_LIMITS: Final = 2
MAX_CRASH_LEVEL: Final = 8

NUM_JOINTS: Final = 6

OFFSET_IDS: Final = frozenset([*range(0x2B1, 0x2B9), *range(0x2C1, 0x2C9), *range(0x3A1, 0x3A9)])
"""Feedback of an arm whose identifiers were changed (0x470)."""

SETPOINT_IDS: Final = frozenset([*range(0x151, 0x160), FrameId.MOTOR_POWER])
"""What moves or powers an arm: modes, poses, joints, gripper, MIT mode, motors. From others than us: another master."""
