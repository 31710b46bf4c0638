"""What can be made to go wrong with a simulated arm, while it runs.

On a running system, from outside (`left` and `right` are separate; "" takes all faults away)::

    ros2 param set /sim_node fault.left "bus_off"
    ros2 param set /sim_node fault.right "drop 0.3, motor_hot 2"

and the same from Python, without ros2cli::

    SystemClient().set_parameter("sim_node", "fault.left", "unplug")

In one process: `SimulatedArm.faults = FaultSet.parse("garble 0.2")`. An unknown name or a wrong argument is refused
with the valid ones; `FAULT_NAMES` lists all. A fault lasts until it is taken away; what then remains is what would
remain on a real arm: after `power_loss` the arm is in standby and limp, after `emergency_stop` it stays stopped until
it is reset.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.configuration import did_you_mean
from wav_policy.piper.frames import NUM_JOINTS, Frame, FrameId, MotorState
from wav_policy.sim.firmware.feedback import leader_frames

MOTOR_FAULTS: Final = {
    "undervoltage": MotorState.UNDERVOLTAGE,
    "motor_hot": MotorState.MOTOR_HOT,
    "overcurrent": MotorState.OVERCURRENT,
    "driver_hot": MotorState.DRIVER_HOT,
    "collision": MotorState.COLLISION,
    "driver_error": MotorState.ERROR,
    "stall": MotorState.STALL,
}
"""Bits of 0x261-0x266, each for one joint."""

_PLAIN: Final = {
    "silence": "no frame in either direction; the arm keeps its power",
    "bus_off": "as silence, and the adapter reports bus errors",
    "wrong_bitrate": "no valid frame ever, and the adapter reports bus errors",
    "unplug": "the pseudo-terminal and its link vanish",
    "power_loss": "silent and limp; afterwards in standby, not enabled",
    "unknown_codes": "status frames with control mode and arm state that no table lists",
    "offset_ids": "feedback on 0x3A* instead of 0x2A*",
    "teach": "teach mode, as after a press of the button on the arm",
    "leader": "the arm is set up as a leader (0x470) in its flash",
    "leader_on_bus": "a leader arm moves on the same bus",
    "mode_8": "status frames with control mode 8, which no table lists",
    "ignore_joints": "enabled, in state 4 without an error code, and deaf to joint targets; the gripper hears",
    "gripper_trip": "the gripper switches itself off on overload; stays until it is cleared (0x159, codes 2 and 3)",
    "gripper_off": "the gripper alone has no power: a loose plug",
    "corrupt_limits": "all limits in flash become -0.1 degrees; stays until they are restored (0x477)",
    "emergency_stop": "emergency stop; stays after the fault is taken away",
}
_FRACTION: Final = {
    "drop": "this fraction of the frames is lost",
    "garble": "this fraction of the frames arrives damaged",
}
_JOINT: Final = {
    **{name: f"{bit.name} bit of this joint's motor" for name, bit in MOTOR_FAULTS.items()},
    "stray": "one feedback of this joint, the first from now on, is off by 0.8 rad",
    "no_communication": "the arm reports no communication with this joint",
    "deaf": "this joint does not enable",
    "motor_off": "this joint's motor loses its power and does not enable; stays off until it is enabled again",
    "zero_lost": "where it is, this joint says 20 degrees more, and goes back to its target; stays until a reset",
    "slip": "pushed by 20 degrees, which the arm does not notice (S-V1.8-6); stays until a reset (0x150)",
}
FAULT_NAMES: Final = {**_PLAIN, **_FRACTION, **_JOINT}
"""Name -> what it does."""

_UNKNOWN_CODE: Final = 0x63
_STRAY: Final = 45_837  # 0.001 degrees
_OFFSET: Final = 0x100
_LEADER_POSE: Final = np.array([0.0, 1.0, -1.0, 0.0, 0.5, 0.0, 0.0])  # rad, m


@dataclass(frozen=True)
class ArmFault:
    """One fault.

    Attributes:
        name: of `FAULT_NAMES`.
        argument: joint 1..6, or fraction 0..1; 0 for faults without one.
    """

    name: str
    argument: float = 0.0

    def __post_init__(self) -> None:
        """ValueError naming the fault, its argument and what fits."""
        if self.name not in FAULT_NAMES:
            raise ValueError(f"unknown fault '{self.name}'{did_you_mean(self.name, FAULT_NAMES)}")
        if self.name in _FRACTION and not 0.0 < self.argument <= 1.0:
            raise ValueError(f"fault '{self.name}' needs a fraction above 0 and up to 1, got {self.argument:g}")
        if self.name in _JOINT and self.argument not in range(1, NUM_JOINTS + 1):
            raise ValueError(f"fault '{self.name}' needs a joint 1..{NUM_JOINTS}, got {self.argument:g}")
        if self.name in _PLAIN and self.argument:
            raise ValueError(f"fault '{self.name}' takes no argument, got {self.argument:g}")


class FaultSet:
    """Faults of one arm that are present together.

    Attributes:
        names: of all faults.
        motor_bits: `MotorState` bits per joint, [6].
        communication_bits: err_code of 0x2A1, low byte.
        unpowered: joints 0..5 whose motors are off.
        deaf: joints 0..5 that do not enable.
        slipped: joints 0..5 that were pushed unnoticed.
        lost: joints 0..5 that lost their zero.
    """

    def __init__(self, faults: Iterable[ArmFault] = ()) -> None:
        self.faults = tuple(faults)
        self.names = frozenset(fault.name for fault in self.faults)
        self.motor_bits = [0] * NUM_JOINTS
        self.communication_bits = 0
        self.unpowered = self._joints("motor_off")
        self.deaf = self._joints("deaf") | self.unpowered
        self.slipped = self._joints("slip")
        self.lost = self._joints("zero_lost")
        for fault in self.faults:
            joint = int(fault.argument) - 1
            if fault.name in MOTOR_FAULTS:
                self.motor_bits[joint] |= MOTOR_FAULTS[fault.name]
            elif fault.name == "no_communication":
                self.communication_bits |= 1 << joint
        self._stray_due = set(self._joints("stray"))
        self._drop = max((fault.argument for fault in self._named("drop")), default=0.0)
        self._garble = max((fault.argument for fault in self._named("garble")), default=0.0)

    @classmethod
    def parse(cls, text: str) -> FaultSet:
        """From text such as "drop 0.3, motor_hot 2"; "" is no fault.

        Raises:
            ValueError: naming the fault that does not exist or whose argument does not fit.
        """
        return cls(_parse_one(part.strip()) for part in text.split(",") if part.strip())

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __str__(self) -> str:
        return ", ".join(f"{fault.name} {fault.argument:g}" if fault.argument else fault.name for fault in self.faults)

    @property
    def is_mute(self) -> bool:
        """No frame passes between arm and driver."""
        return not self.names.isdisjoint(("silence", "bus_off", "wrong_bitrate", "power_loss", "unplug"))

    def on_the_wire(self, frames: Iterable[Frame], rng: random.Random) -> list[Frame]:
        """What becomes of the frames the arm sends."""
        sent = list(frames)
        for change in self._changes(rng):
            sent = [changed for frame in sent if (changed := change(frame)) is not None]
        return [*sent, *leader_frames(_LEADER_POSE)] if "leader_on_bus" in self.names else sent

    def _changes(self, rng: random.Random) -> Iterator[Callable[[Frame], Frame | None]]:
        if "unknown_codes" in self.names:
            yield _with_unknown_codes
        if "mode_8" in self.names:
            yield _with_mode_8
        if "offset_ids" in self.names:
            yield _with_offset
        if self._stray_due:
            yield self._with_stray
        if self._drop:
            yield lambda frame: None if rng.random() < self._drop else frame
        if self._garble:
            yield lambda frame: _garbled(frame, rng) if rng.random() < self._garble else frame

    def _with_stray(self, frame: Frame) -> Frame:
        identifier, data = frame
        due = [joint for joint in self._stray_due if identifier == FrameId.JOINTS_12 + joint // 2]
        counts = list(struct.unpack(">ii", data)) if due else []
        for joint in due:
            counts[joint % 2] += _STRAY
            self._stray_due.remove(joint)
        return (identifier, struct.pack(">ii", *counts)) if due else frame

    def _joints(self, name: str) -> frozenset[int]:
        return frozenset(int(fault.argument) - 1 for fault in self._named(name))

    def _named(self, name: str) -> Iterator[ArmFault]:
        return (fault for fault in self.faults if fault.name == name)


def _parse_one(text: str) -> ArmFault:
    name, _, argument = text.partition(" ")
    try:
        value = float(argument) if argument.strip() else 0.0
    except ValueError:
        raise ValueError(f"fault '{name}': {argument!r} is no number") from None
    return ArmFault(name, value)


def _with_unknown_codes(frame: Frame) -> Frame:
    identifier, data = frame
    return (identifier, bytes((_UNKNOWN_CODE, _UNKNOWN_CODE)) + data[2:]) if identifier == FrameId.STATUS else frame


def _with_mode_8(frame: Frame) -> Frame:
    identifier, data = frame
    return (identifier, bytes((8,)) + data[1:]) if identifier == FrameId.STATUS else frame


def _with_offset(frame: Frame) -> Frame:
    identifier, data = frame
    return (identifier + _OFFSET, data) if FrameId.STATUS <= identifier <= FrameId.GRIPPER else frame


def _garbled(frame: Frame, rng: random.Random) -> Frame:
    """Cut short, or with other contents: worse than a real bus, whose checksum turns damage into loss."""
    identifier, data = frame
    return identifier, data[: rng.randrange(len(data))] if rng.random() < 0.5 else rng.randbytes(len(data))
