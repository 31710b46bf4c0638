"""Changes to one arm that outlive its power: what is sent, what must hold before, and whether it was taken.

Nothing here runs by itself: `wav arm` shows what would be sent, asks, sends it, and reads it back.
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from wav_policy.piper import frames, units
from wav_policy.piper.adapters import Adapter, list_adapters
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.enable_gate import impossible_limits
from wav_policy.piper.errors import PiperError
from wav_policy.piper.feedback import ArmFeedback
from wav_policy.piper.flash_limits import VENDOR_LIMITS_DEGREES, FlashLimits
from wav_policy.piper.frames import NUM_JOINTS, Frame, FrameId, GripperState
from wav_policy.piper.power import is_healthy
from wav_policy.piper.status import has_tripped

Told = TypeVar("Told")

_LISTEN: Final = 2.0  # s; a leader at rest says nothing
_SETTLE: Final = 0.3  # s an arm has to take a change
_POLL: Final = 0.02  # s
_TIMES: Final = 2  # each frame is sent: an acknowledgement counts when it is told twice
_NEWS: Final = 0.5  # s an arm that took a change has to acknowledge it, and to go on telling its pose
_UNCHANGED: Final = 0x7FFF
_ALL_JOINTS: Final = 7
_VENDOR_SPEED: Final = 3.0  # rad/s
_VENDOR_ACCELERATION: Final = 5.0  # rad/s^2
_ZERO_TOLERANCE: Final = 0.01  # rad
_STROKE_TOLERANCE: Final = 0.001  # m
_SILENT: Final = "the arm is not heard any more: it may not have taken it"

WAY_TO_LIMP: Final = (
    "Support it, switch its motors off (piper/enable with data false, then end the node; or its power off and on), and "
    "call this again"
)


@dataclass(frozen=True)
class Change:
    """One change, ready to be shown and sent.

    Attributes:
        title: what it does.
        frames: what is sent.
        needs_limp: the joints' motors must be off: the arm would move.
        check: what is not as it should be afterwards; "" when all is. It looks only at what was told afterwards.
        advice: what to do next.
        needs_heard: the arm must give feedback: else nobody knows whether it is limp, nor whether it took the change.
    """

    title: str
    frames: tuple[Frame, ...]
    needs_limp: bool
    check: Callable[[ServicedArm], str]
    advice: str = ""
    needs_heard: bool = True


class ServicedArm:
    """One arm on the bench, whatever it says: also a leader, one on other identifiers, or one with corrupt limits.

    Args:
        channel: network interface, or serial device (with a slash).
        usb_serial: of the adapter; "" believes the channel's name.

    Attributes:
        arm: its driver; enables and moves nothing here.
    """

    def __init__(self, channel: str, usb_serial: str = "") -> None:
        self.interface = interface_of(channel)
        self._settled = math.inf
        self.arm = PiperArm("the", self.interface, channel, ArmConfig(), time.monotonic, usb_serial=usb_serial)

    def __enter__(self) -> ServicedArm:
        """Listen to it, for 2 s at most until it has told everything.

        Raises:
            PiperError: as `PiperArm.connect`, but not for what the arm says or does not say.
        """
        self.arm.link.listen()
        reader = self.arm.link.reader
        deadline = time.monotonic() + _LISTEN
        while reader.missing and not self._is_known_elsewhere and time.monotonic() < deadline:
            time.sleep(_POLL)
        if self.is_heard:
            self.arm.ask_version()
        return self

    def __exit__(self, *_: object) -> None:
        self.arm.close()

    @property
    def _is_known_elsewhere(self) -> bool:
        """On other identifiers, and it has told whether its motors, which keep theirs, are on."""
        reader = self.arm.link.reader
        return reader.offset_frames > 0 and bool(reader.codes.motors)

    @property
    def is_heard(self) -> bool:
        """It gives feedback where a follower does."""
        return not self.arm.link.reader.missing

    @property
    def adapter(self) -> Adapter:
        """It is on, with its USB serial where it has one."""
        present = {adapter.channel: adapter for adapter in list_adapters(self.interface)}
        return present.get(self.arm.channel, Adapter(self.interface, self.arm.channel))

    @property
    def holding(self) -> list[str]:
        """Joints whose motors are on, as far as it has told."""
        motors = self.arm.link.reader.codes.motors
        return [f"joint{joint}" for joint, code in enumerate(motors, start=1) if code & frames.MotorState.ENABLED]

    @property
    def role(self) -> str:
        """In words."""
        reader = self.arm.link.reader
        if reader.offset_frames:
            return f"on other identifiers ({reader.offset_id:#x}): `wav arm follower` sets them back"
        if self.is_heard:
            others = (
                "; it is sent targets: a leader arm or another program speaks on its bus. Give that a bus of its own"
            )
            return f"follower{others if reader.leader_frames else ''}"
        if reader.leader_frames:
            return "leader (it sends targets): `wav arm follower` makes it a follower"
        return "not heard: no power, no cable, or a leader at rest (silent until it is moved)"

    def apply(self, change: Change) -> str:
        """Send it, wait, and read back.

        Returns:
            What is not as it should be; "" when all is.

        Raises:
            PiperError: as `require_fit_for`; or the bus does not take it.
        """
        self.require_fit_for(change)
        self.arm.link.reader.replies.clear()
        for frame in _TIMES * change.frames:
            self.arm.link.transmit([frame])
            time.sleep(_POLL)
        time.sleep(_SETTLE)
        self._settled = time.monotonic()
        return change.check(self)

    def news(self) -> ArmFeedback | None:
        """What the arm tells of its pose after it had time to take the change; None where it tells nothing any more."""

        def news() -> ArmFeedback | None:
            reading = self.arm.read()
            return None if reading is None or reading.stamp <= self._settled else reading

        return self._await(news)

    def acknowledgement(self, number: FrameId) -> bytes | None:
        """What the arm has answered (0x476) to the frame `number` of the change; None where it has not."""
        return self._await(lambda: self.arm.link.reader.replies.get((FrameId.ACKNOWLEDGE, number & 0xFF)))

    def _await(self, told: Callable[[], Told | None]) -> Told | None:
        while (what := told()) is None and time.monotonic() < self._settled + _NEWS:
            time.sleep(_POLL)
        return what

    def require_fit_for(self, change: Change) -> None:
        """Whether it may be sent now.

        Raises:
            PiperError: the arm is not heard, or its motors are on.
        """
        if change.needs_heard and not self.is_heard:
            raise PiperError(f"{self.arm}: refused: it is {self.role}")
        if not change.needs_limp:
            return
        if self.holding:
            raise PiperError(
                f"{self.arm}: refused: {', '.join(self.holding)} hold the arm, which would move. {WAY_TO_LIMP}"
            )


def interface_of(channel: str) -> str:
    """A serial device has a slash in its name, a network interface cannot."""
    return "slcan" if "/" in channel else "socketcan"


def restore_limits() -> Change:
    """The vendor's angle, speed and acceleration limits of all joints: asked for as such (0x477), then set one by one
    (0x474, 0x475), for an arm whose idea of them is damaged."""
    sent: list[Frame] = [(FrameId.PARAMETER_QUERY, bytes((0, frames.DEFAULT_JOINT_LIMITS)).ljust(8, b"\0"))]
    speed = units.counts_from_rate_limit(_VENDOR_SPEED)
    acceleration = units.counts_from_rate_limit(_VENDOR_ACCELERATION)
    for joint, (lower, upper) in enumerate(VENDOR_LIMITS_DEGREES, start=1):
        sent.append((FrameId.LIMIT_SETTING, struct.pack(">BhhHx", joint, 10 * upper, 10 * lower, speed)))
        sent.append((FrameId.JOINT_SETTING, struct.pack(">BBBHBxx", joint, 0, frames.CONFIRM, acceleration, 0)))
    return Change("restore the vendor's limits of all joints", tuple(sent), True, _limits_are_vendors)


def follower() -> Change:
    """Back to a follower on the ordinary identifiers (0x470)."""
    sent = (FrameId.LINKAGE, bytes((frames.FOLLOWER,)).ljust(8, b"\0"))
    advice = "Switch its power off and on now, then look at `wav arm show`."
    return Change("make it a follower on identifiers 0x2A*", (sent,), True, _role_is_taken, advice, needs_heard=False)


def leader() -> Change:
    """A leader for teleoperation: it is led by hand, sends targets, and takes none (0x470)."""
    sent = (FrameId.LINKAGE, bytes((frames.LEADER,)).ljust(8, b"\0"))
    advice = "Switch its power off and on now. A leader is silent until it is moved."
    return Change("make it a leader, which takes no command", (sent,), True, _role_is_taken, advice)


def stroke(millimetres: int, reply: bytes | None = None) -> Change:
    """Which gripper is fitted (0x47D).

    Args:
        millimetres: 70 or 100.
        reply: what the arm holds now (0x47E): the pendant's coefficients stay as they are.
    """
    coefficient, friction = (reply[0], reply[2]) if reply is not None else (100, 1)
    data = bytes((max(coefficient, 100), millimetres, max(friction, 1))).ljust(8, b"\0")
    title = f"set the gripper's stroke to {millimetres} mm"

    def check(arm: ServicedArm) -> str:
        told = arm.arm.read_flash().max_stroke
        return "" if told == millimetres / 1000 else f"the arm tells a stroke of {told} m"

    return Change(title, ((FrameId.GRIPPER_SETTING, data),), False, check)


def collision_level(level: int) -> Change:
    """Collision protection of all joints, 0 (off) to 8 (most sensitive) (0x47A)."""
    sent = (FrameId.CRASH_LEVEL_SETTING, bytes([level] * NUM_JOINTS).ljust(8, b"\0"))

    def check(arm: ServicedArm) -> str:
        told = arm.arm.read_flash().crash_levels
        return "" if told == (level,) * NUM_JOINTS else f"the arm tells levels {told}"

    return Change(f"set collision protection of all joints to level {level}", (sent,), False, check)


def zero_gripper() -> Change:
    """Where the gripper is, it is closed: switched off, then 0x159 with 0xAE."""
    off = (FrameId.GRIPPER_TARGET, bytes(8))
    zero = (FrameId.GRIPPER_TARGET, bytes(7) + bytes((frames.GRIPPER_SET_ZERO,)))
    return Change("take the gripper as closed where it is now", (off, zero), False, _gripper_is_zero)


def zero_joint(joint: int) -> Change:
    """Where the joint is, it is at 0 degrees (0x475).

    Args:
        joint: 1 to 6.
    """
    data = struct.pack(">BBBHBxx", joint, frames.CONFIRM, 0, _UNCHANGED, 0)

    def check(arm: ServicedArm) -> str:
        reading = arm.news()
        if reading is None:
            return _SILENT
        angle = float(reading.position[joint - 1])
        if abs(angle) >= _ZERO_TOLERANCE:
            return f"joint{joint} is at {angle:.4f} rad"
        answer = arm.acknowledgement(FrameId.JOINT_SETTING)
        if answer is None:
            return _unacknowledged(FrameId.JOINT_SETTING)
        return "" if answer[1] else f"the arm says that it did not take the zero of joint{joint}"

    title = f"take joint{joint} as 0 degrees where it is now: hold it exactly on its mark"
    return Change(title, ((FrameId.JOINT_SETTING, data),), True, check)


def clear() -> Change:
    """Errors of all joints (0x475) and a gripper that has tripped (0x159, code 2); keeps the power of the joints."""
    joints = struct.pack(">BBBHBxx", _ALL_JOINTS, 0, 0, _UNCHANGED, frames.CONFIRM)
    gripper = bytes(6) + bytes((frames.GRIPPER_OFF_AND_CLEAR, 0))
    sent = (FrameId.JOINT_SETTING, joints), (FrameId.GRIPPER_TARGET, gripper)
    return Change("clear the errors of joints and gripper", sent, False, _no_faults)


def _limits_are_vendors(arm: ServicedArm) -> str:
    flash = arm.arm.read_flash()
    impossible = impossible_limits(flash)
    if impossible:
        return f"still impossible: {'; '.join(impossible)}"
    different = [f"joint{joint + 1}" for joint in range(NUM_JOINTS) if not _is_vendors(flash, joint)]
    return f"{', '.join(different)} did not take them" if different else ""


def _is_vendors(flash: FlashLimits, joint: int) -> bool:
    lower, upper = VENDOR_LIMITS_DEGREES[joint]
    expected = (
        units.radians_from_decidegrees(10 * lower),
        units.radians_from_decidegrees(10 * upper),
        _VENDOR_SPEED,
        _VENDOR_ACCELERATION,
    )
    return expected == (flash.lower[joint], flash.upper[joint], flash.max_speed[joint], flash.max_acceleration[joint])


def _unacknowledged(number: FrameId) -> str:
    return f"the arm has not acknowledged it (0x476 for {number:#x}): it may not have taken it"


def _role_is_taken(arm: ServicedArm) -> str:
    """The acknowledgement alone tells: some arms change only when they are switched on again, and a leader at rest is
    silent before that."""
    return "" if arm.acknowledgement(FrameId.LINKAGE) is not None else _unacknowledged(FrameId.LINKAGE)


def _gripper_is_zero(arm: ServicedArm) -> str:
    reading, code = arm.news(), arm.arm.link.reader.gripper
    if reading is None:
        return _SILENT
    if not code & GripperState.HOMED:
        return "the gripper says that it was never zeroed"
    far = abs(float(reading.position[-1])) > _STROKE_TOLERANCE
    return f"the gripper tells {1000 * reading.position[-1]:.1f} mm" if far else ""


def _no_faults(arm: ServicedArm) -> str:
    if arm.news() is None:
        return _SILENT
    if arm.acknowledgement(FrameId.JOINT_SETTING) is None:
        return _unacknowledged(FrameId.JOINT_SETTING)
    status = arm.arm.status()
    gripper = arm.arm.link.reader.gripper
    faults = [fault for fault in status.faults if not fault.startswith("gripper") or has_tripped(gripper)]
    if not is_healthy(arm.arm):
        faults.append(f"it is in state {status.state_name}, which piper/reset leaves: support it, it may fall")
    return "; ".join(faults)
