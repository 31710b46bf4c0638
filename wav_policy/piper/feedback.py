"""Reads one arm's bus: decodes what comes 200 times a second, leaves the rare frames to piper_sdk.

piper_sdk's own reading thread ends at the first frame it cannot decode, and runs every frame through nineteen locked
update functions (`docs/driver.md` has the cost). Here a bad frame is counted, codes that no table lists are kept as
they came, and a joint reading is taken when all six joints are in.
"""

from __future__ import annotations

import struct
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

import can
import numpy as np
from numpy.typing import NDArray
from piper_sdk import C_PiperInterface_V2

from wav_models.types import FloatArray
from wav_models.words import counted
from wav_policy.piper import frames, units
from wav_policy.piper.belief import Belief, Flags
from wav_policy.piper.bus import ArmBus
from wav_policy.piper.firmware import FirmwareVersion, parse_version
from wav_policy.piper.frames import NUM_JOINTS, OFFSET_IDS, SETPOINT_IDS, Frame, FrameId, GripperState
from wav_policy.robot.joints import ARM_DOF

_VELOCITY_WINDOW = 0.03  # s; one count of 0.001 deg over this is 0.0006 rad/s
_RARER: Final = 0.3  # s; motors tell their state 40 times a second, in the simulation 10 times
_PAIR: Final = struct.Struct(">ii")
_GRIPPER: Final = struct.Struct(">ihBB")
_STATUS: Final = struct.Struct(">BBBBBBH")
_MOTOR: Final = struct.Struct(">HhbBH")
_MOTOR_FAST: Final = struct.Struct(">hhi")
_RARE_IDS: Final = range(0x473, 0x4AF)
_IGNORED: Final = frozenset([0x2A2, 0x2A3, 0x2A4, *range(0x481, 0x487)])
"""End pose and accelerations: nothing here needs them."""

_MAX_ANGLE = 400_000  # 0.001 deg; no joint goes there
_MAX_STROKE = 200_000  # 0.001 mm; the longest gripper opens 100 mm
_ANGLE_MODE = 1  # 0x2A8, byte 7 (pyAgxArm): the gripper tells an angle
_EFFORT_AGE = 0.3  # s
_MASTER_PAUSE = 1.0  # s; whoever moves an arm sends many set-points a second
_FRAME_LENGTH = 8
_VERSION_LENGTH = 128  # bytes kept of the answer to 0x4AF; it has 88

_TORQUE_PER_AMPERE: Final = (1.18125,) * 3 + (0.95844,) * 3
"""Of joints 1 to 6 [N m/A], as in piper_sdk. pyAgxArm has other, larger numbers for joints 1 to 3: an estimate."""

_MOTOR_IDS: Final = frozenset(range(FrameId.MOTOR_SLOW_1, FrameId.MOTOR_SLOW_1 + NUM_JOINTS))

REQUIRED: Final = {
    "joints (0x2A5-0x2A7)": frozenset({FrameId.JOINTS_12, FrameId.JOINTS_34, FrameId.JOINTS_56}),
    "gripper (0x2A8)": frozenset({FrameId.GRIPPER}),
    "status (0x2A1)": frozenset({FrameId.STATUS}),
    "motors (0x261-0x266)": _MOTOR_IDS,
}
"""Without these an arm cannot be driven."""


@dataclass(frozen=True)
class ArmFeedback:
    """One consistent reading of an arm.

    Attributes:
        position: six joints [rad], gripper stroke [m]; shape [7].
        velocity: differences of the positions over at least 30 ms, shape [7], rad/s and m/s.
        stamp: when the last of the six joints arrived [s].
        effort: of the joints from their motors' currents, of the gripper as it tells, shape [7], N m; NaN where it is
            not told.
        jumps: how often each was found where it cannot have got to, shape [7]; 0 for the gripper.
        is_gripper_off: it was on, and is not: it has tripped, or lost its power alone.
    """

    position: FloatArray
    velocity: FloatArray
    stamp: float
    effort: FloatArray = field(default_factory=lambda: np.full(ARM_DOF, np.nan))
    jumps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(ARM_DOF, dtype=np.int64))
    is_gripper_off: bool = False


@dataclass(frozen=True)
class ArmCodes:
    """What the arm said about itself twice in a row, as sent: one damaged frame must neither stop the arms nor clear
    them.

    Attributes:
        mode: control mode (0x2A1).
        state: arm state (0x2A1).
        error_bits: high byte joint limits, low byte joint communication (0x2A1).
        motors: status byte per joint (0x261-0x266); empty until all six have told.
    """

    mode: int = -1
    state: int = -1
    error_bits: int = 0
    motors: tuple[int, ...] = ()


class FeedbackReader:
    """The reading thread of one bus; calls `on_feedback` after every reading. Nothing is believed that was said once.

    Args:
        bus: read until it is lost or `stop` is called.
        sdk: decodes the rare frames: limits, parameters, firmware version.
        name: of the thread.
        clock: of all stamps and ages; must not be one that can be set [s].
        on_feedback: called in the thread; must not raise.
        max_gap: after a pause of the joints longer than this what was known of the arm is forgotten; a kind of required
            feedback that is 0.3 s older than that is missing [s].

    Attributes:
        latest: the newest reading; None before the first.
        codes: the newest codes; the object changes only when a code does.
        gripper: status byte of 0x2A8, said twice in a row; -1 before the first.
        seen: identifiers since the start, or since the last pause, and when each came last [s].
        undecodable: frames and lines that could not be read; `last_error` says why for the newest.
        offset_frames: feedback on 0x2B*, 0x2C* or 0x3A*; `offset_id` is the newest of these identifiers.
        replies: data of the newest answers to queries that were given twice, by identifier and first byte (the joint,
            where there is one).
        temperatures: per joint the hotter of driver and motor [deg C].
        voltage: the lowest of the motors' supplies [V].
        received: frames so far.
        lost: why the bus is gone; None while it is there.
    """

    def __init__(
        self,
        bus: ArmBus,
        sdk: C_PiperInterface_V2,
        name: str,
        clock: Callable[[], float],
        on_feedback: Callable[[], None],
        max_gap: float,
    ) -> None:
        self.latest: ArmFeedback | None = None
        self.codes = ArmCodes()
        self.gripper = -1
        self._was_gripper_on = False
        self.seen: dict[int, float] = {}
        self.last_error = ""
        self.offset_frames = self.offset_id = 0
        self._foreign_setpoints = 0
        self._foreign_at = float("-inf")
        self.temperatures = [0] * NUM_JOINTS
        self.replies: dict[tuple[int, int], bytes] = {}
        self.received = 0
        self.lost: str | None = None
        self._undecodable = self._undecodable_before = 0
        self._voltages = [0.0] * NUM_JOINTS
        self._motors = [0] * NUM_JOINTS
        self._said: dict[Hashable, object] = {}
        self._expect_flags()
        self._joints = [Belief.of_joints() for _ in range(3)]
        self._stroke = Belief.of_stroke()
        self._efforts = np.full(ARM_DOF, np.nan)
        self._effort_stamps = np.full(ARM_DOF, -np.inf)
        self._version_told = bytearray()
        self._fresh_pairs: set[int] = set()
        self._bus = bus
        self._sdk = sdk
        self._clock = clock
        self._on_feedback = on_feedback
        self._max_gap = max_gap
        self._history: deque[tuple[float, FloatArray]] = deque(maxlen=32)
        self._stamps: deque[float] = deque(maxlen=100)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} feedback", daemon=True)
        self._handlers: dict[int, Callable[[int, bytes], None]] = {
            FrameId.STATUS: self._on_status,
            FrameId.JOINTS_12: self._on_joints,
            FrameId.JOINTS_34: self._on_joints,
            FrameId.JOINTS_56: self._on_joints,
            FrameId.GRIPPER: self._on_gripper,
            **{FrameId.MOTOR_SLOW_1 + joint: self._on_motor for joint in range(NUM_JOINTS)},
            **{FrameId.MOTOR_FAST_1 + joint: self._on_motor_fast for joint in range(NUM_JOINTS)},
            FrameId.FIRMWARE_VERSION: self._on_version,
        }

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def rate(self) -> float:
        """Readings per second over the last hundred [Hz]; 0 when they ended over a second ago."""
        stamps = list(self._stamps)
        if len(stamps) < 2 or self._clock() - stamps[-1] > 1.0 or stamps[-1] <= stamps[0]:
            return 0.0
        return (len(stamps) - 1) / (stamps[-1] - stamps[0])

    @property
    def age(self) -> float:
        """Time since the last reading [s]; inf before the first."""
        latest = self.latest
        return float("inf") if latest is None else self._clock() - latest.stamp

    @property
    def missing(self) -> list[str]:
        """Kinds of required feedback not seen yet, or not for too long: what they said last may not hold any more."""
        oldest, never = self._clock() - self._max_gap - _RARER, float("-inf")
        return [n for n, numbers in REQUIRED.items() if any(self.seen.get(i, never) < oldest for i in numbers)]

    @property
    def leader_frames(self) -> int:
        """Set-points of another master on this bus, a leader arm or a program; a single one is taken for damage."""
        return self._foreign_setpoints if self._foreign_setpoints > 1 else 0

    def forget_leader(self) -> None:
        """Count them anew."""
        self._foreign_setpoints = 0

    @property
    def version(self) -> FirmwareVersion | None:
        """Of the firmware; None before the arm has told it. Whole once no more frames of the answer come."""
        return parse_version(bytes(self._version_told))

    @property
    def version_length(self) -> int:
        """Of the answer so far [bytes]."""
        return len(self._version_told)

    def forget_version(self) -> None:
        """Before it is asked for."""
        self._version_told.clear()

    @property
    def undecodable(self) -> int:
        """Frames and lines that could not be read."""
        return self._undecodable + self._bus.garbled

    @property
    def undecodable_since_reading(self) -> int:
        """Of these, how many came after the newest reading."""
        return self.undecodable - self._undecodable_before

    @property
    def voltage(self) -> float:
        """The lowest of the motors' supplies [V]."""
        return min(self._voltages)

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                arrived = self._bus.receive(0.1)
                self.received += len(arrived)
                self.take(arrived)
            except (can.CanError, OSError) as error:
                self.lost = str(error)
                return
            except Exception as error:  # whatever it is, it must not end the reading unnoticed: the bus is opened again
                self.lost = f"reading failed, {type(error).__name__}: {error}"
                return

    def take(self, arrived: Iterable[Frame]) -> None:
        """Decode frames, in the order of their arrival."""
        for frame in arrived:
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        number, data = frame
        handler = self._handlers.get(number)
        if handler is not None:
            if len(data) == _FRAME_LENGTH:
                handler(number, data)
            else:
                self._note(number, data, f"{counted(len(data), 'byte')} instead of {_FRAME_LENGTH}")
        elif number in _IGNORED:
            pass
        elif number in OFFSET_IDS:
            self.offset_frames, self.offset_id = self.offset_frames + 1, number
        elif number in SETPOINT_IDS:
            self._note_foreign_setpoint()
        elif number in _RARE_IDS:
            self._decode_rare(number, data)

    def _note_foreign_setpoint(self) -> None:
        """Two that are far apart are both damage: on a serial line some is to be expected in a long run."""
        now = self._clock()
        if self._foreign_setpoints == 1 and now - self._foreign_at > _MASTER_PAUSE:
            self._foreign_setpoints = 0
        self._foreign_setpoints += 1
        self._foreign_at = now

    def _on_joints(self, number: int, data: bytes) -> None:
        pair = number - FrameId.JOINTS_12
        counts = _PAIR.unpack(data)
        now = self._clock()
        joints = self._joints[pair]
        if abs(counts[0]) > _MAX_ANGLE or abs(counts[1]) > _MAX_ANGLE:
            self._note(number, data, "joints cannot be there")
            return
        if not joints.take(counts, now):
            if joints.is_surprised(now):
                self._note(number, data, "joints cannot have got there")
            return
        if joints.was_doubted:
            self._history.clear()
        self._fresh_pairs.add(pair)
        if pair == 2 and len(self._fresh_pairs) == 3 and FrameId.GRIPPER in self.seen:
            self._snapshot(now)
        self.seen[number] = now

    def _on_gripper(self, number: int, data: bytes) -> None:
        stroke, effort, code, mode = _GRIPPER.unpack(data)
        now = self._clock()
        if mode == _ANGLE_MODE:
            self._note(number, data, "the gripper tells an angle instead of its stroke")
            return
        if abs(stroke) > _MAX_STROKE:
            self._note(number, data, "gripper cannot be there")
            return
        if not self._stroke.take((stroke,), now):
            if self._stroke.is_surprised(now):
                self._note(number, data, "gripper cannot have got there")
            return
        flags = self._gripper_flags.take(code)
        if flags is not None:
            self.gripper = flags
            self._was_gripper_on |= bool(flags & GripperState.ENABLED)
        self._efforts[-1], self._effort_stamps[-1] = units.newton_metres_from_effort_counts(effort), now
        self.seen[number] = now

    def _on_status(self, number: int, data: bytes) -> None:
        mode, state, _, _, _, _, error_bits = _STATUS.unpack(data)
        errors, codes = self._error_flags.take(error_bits), self.codes
        is_sure = self._is_said_again(number, (mode, state))
        if is_sure:
            self._set_codes(mode, state, errors or 0, codes.motors)
        elif errors is not None:
            self._set_codes(codes.mode, codes.state, errors, codes.motors)
        if is_sure or number in self.seen:
            self.seen[number] = self._clock()

    def _on_motor(self, number: int, data: bytes) -> None:
        joint = number - FrameId.MOTOR_SLOW_1
        voltage, driver, motor, code, _ = _MOTOR.unpack(data)
        is_first = number not in self.seen
        flags = self._motor_flags[joint].take(code)
        if flags is None:
            return
        self._motors[joint] = flags
        self._voltages[joint] = voltage / 10
        self.temperatures[joint] = max(driver, motor)
        self.seen[number] = self._clock()
        if (is_first or joint == NUM_JOINTS - 1) and self.seen.keys() >= _MOTOR_IDS:
            codes = self.codes
            self._set_codes(codes.mode, codes.state, codes.error_bits, tuple(self._motors))

    def _on_motor_fast(self, number: int, data: bytes) -> None:
        joint = number - FrameId.MOTOR_FAST_1
        _, milliamperes, _ = _MOTOR_FAST.unpack(data)
        self._efforts[joint] = _TORQUE_PER_AMPERE[joint] * milliamperes / 1000
        self._effort_stamps[joint] = self._clock()

    def _on_version(self, number: int, data: bytes) -> None:
        if data != frames.VERSION_QUERY:  # another program's question
            self._version_told = (self._version_told + data)[-_VERSION_LENGTH:]

    def _is_said_again(self, what: Hashable, value: object) -> bool:
        """Whether `what` had this value the last time too."""
        before, self._said[what] = self._said.get(what), value
        return before == value

    def _set_codes(self, mode: int, state: int, error_bits: int, motors: tuple[int, ...]) -> None:
        codes = ArmCodes(mode, state, error_bits, motors)
        if codes != self.codes:
            self.codes = codes

    def _snapshot(self, now: float) -> None:
        """All six joints are in: 0x2A7 comes last of the three. A reading with a lost pair is not taken."""
        self._fresh_pairs.clear()
        if self.latest is not None and now - self.latest.stamp > self._max_gap:
            self._forget()
        position = np.empty(ARM_DOF)
        position[:-1] = units.radians_from_millidegrees([count for pair in self._joints for count in pair.values])
        position[-1] = units.metres_from_micrometres(self._stroke.values[0])
        self._history.append((now, position))
        effort = np.where(self._effort_stamps >= now - _EFFORT_AGE, self._efforts, np.nan)
        jumps = np.array([number for pair in self._joints for number in pair.jumps or (0, 0)] + [0], dtype=np.int64)
        is_gripper_off = self._was_gripper_on and not self.gripper & GripperState.ENABLED
        self.latest = ArmFeedback(position, self._velocity(now, position), now, effort, jumps, is_gripper_off)
        self._stamps.append(now)
        self._undecodable_before = self.undecodable
        self._on_feedback()

    def _forget(self) -> None:
        """After a pause the arm may have been switched off and on: nothing said before it counts."""
        self.seen.clear()
        self._history.clear()
        self._stamps.clear()
        self._said.clear()
        self._expect_flags()
        self.codes = ArmCodes()

    def _expect_flags(self) -> None:
        """None is known."""
        self._error_flags, self._gripper_flags = Flags(), Flags()
        self._motor_flags = [Flags() for _ in range(NUM_JOINTS)]

    def _velocity(self, now: float, position: FloatArray) -> FloatArray:
        while len(self._history) > 2 and now - self._history[1][0] >= _VELOCITY_WINDOW:
            self._history.popleft()
        then, before = self._history[0]
        return (position - before) / (now - then) if now > then else np.zeros(ARM_DOF)

    def _decode_rare(self, number: int, data: bytes) -> None:
        if len(data) != _FRAME_LENGTH:
            self._note(number, data, f"{counted(len(data), 'byte')} instead of {_FRAME_LENGTH}")
            return
        message = can.Message(arbitration_id=number, data=data, is_extended_id=False, timestamp=self._clock())
        try:
            self._sdk.ParseCANFrame(message)
        except Exception as error:  # the SDK raises many kinds; none may end the reading
            self._note(number, data, str(error))
            return
        question = number, data[0]
        if self._is_said_again(question, data):
            self.replies[question] = data
        self.seen[number] = message.timestamp

    def _note(self, number: int, data: bytes, why: str) -> None:
        self._undecodable += 1
        self.last_error = f"frame {number:#x} {data.hex()}: {why}"
