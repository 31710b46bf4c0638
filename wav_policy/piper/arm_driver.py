"""One Piper arm over the unmodified piper_sdk: what it says, and set-points; SI units in and out, typed errors."""

from __future__ import annotations

import time
from collections.abc import Callable

from wav_models.types import FloatArray
from wav_policy.piper import frames
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.errors import (
    ArmFaultError,
    ArmInUseError,
    BusLostError,
    BusSilentError,
    EmergencyStoppedError,
    LeaderArmError,
    PiperError,
    TeachModeError,
)
from wav_policy.piper.feedback import ArmCodes, ArmFeedback
from wav_policy.piper.firmware import TEACH_NEEDS_RESET_BELOW, FirmwareVersion, known_of
from wav_policy.piper.flash_limits import FlashLimits, read_flash
from wav_policy.piper.frames import ControlMode, Frame, FrameId
from wav_policy.piper.inhibits import ENABLING_REMOVES, RESET_REMEDY, Inhibit, Reaction, find_inhibit
from wav_policy.piper.link import ArmLink
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.piper.status import ArmStatus, error_code_faults, gripper_faults, gripper_words, motor_faults

_POLL = 0.02  # s
_AWAITED = 1.0  # s; motors tell their state 10 times a second at least, and are believed at the second time
_MODE_PERIOD = 0.5  # s; 0x151 is repeated, as the vendor's own examples do
_VERSION_TIMEOUT = 0.6  # s; an arm that does not tell its version still works
_VERSION_QUIET = 0.03  # s without a further frame: the answer is whole
_VERSION_RETRY = 0.15  # s


class ArmDriver:
    """One arm on one bus. `connect` first; commands may come from any thread. `PiperArm` powers it up and down.

    Args:
        side: "left" or "right"; names the arm in every error.
        interface: "socketcan" or "slcan".
        channel: such as "can0" or "/dev/ttyACM0".
        clock: of all stamps and ages; must not be one that can be set [s].
        on_feedback: called in the reading thread after every reading; must not raise.
        usb_serial: of the adapter, which is then found whatever it is called; "" believes the channel's name.

    Attributes:
        link: to its bus.
        flash: what it keeps in flash, each part as it told it last; None before.
        version: of its firmware; None before it has told it. Outlives a bus that is opened again.
        has_let_go: since it was sent a target its motors were off, its gripper was cleared after a trip, or another
            master spoke: what the gripper was told before, it does not hold any more.
    """

    def __init__(
        self,
        side: str,
        interface: str,
        channel: str,
        config: ArmConfig | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_feedback: Callable[[], None] = lambda: None,
        usb_serial: str = "",
    ) -> None:
        self.side = side
        self.config = config or ArmConfig()
        self.flash: FlashLimits | None = None
        self.version: FirmwareVersion | None = None
        self.has_let_go = False
        timeouts = self.config.connect_timeout, self.config.feedback_timeout
        self.link = ArmLink(side, interface, channel, *timeouts, clock, on_feedback, usb_serial)
        self._mode_sent = float("-inf")
        self._unsent = ""
        self._judged: tuple[tuple[str | bool | ArmCodes, ...], Inhibit | None] = (), None

    def __repr__(self) -> str:
        return self.link.name

    @property
    def channel(self) -> str:
        """Where it is, for the commands that mend it: with a USB serial not always where it was said to be."""
        return self.link.channel

    def connect(self) -> None:
        """Open the bus, read feedback, ask for the firmware version. Moves and powers nothing.

        Raises:
            ArmInUseError, InterfaceNotFoundError, BusSilentError, ChangedIdsError, LeaderArmError: see the classes.
        """
        self.link.open()
        self.ask_version()

    def ask_version(self) -> None:
        """Until it is told twice alike, at most 0.6 s: of an answer that lost a frame another version can be read. What
        is known stays where the arm tells nothing."""
        deadline, before = time.monotonic() + _VERSION_TIMEOUT, None
        while time.monotonic() < deadline:
            told = self._hear_version()
            if told is not None and told == before:
                self.version = told
                return
            before = told

    def _hear_version(self) -> FirmwareVersion | None:
        """One answer, in whole."""
        reader = self.link.reader
        reader.forget_version()
        with self.link.sending as sdk:
            sdk.SearchPiperFirmwareVersion()
        deadline, received, quiet_since = time.monotonic() + _VERSION_RETRY, 0, time.monotonic()
        while time.monotonic() < deadline:
            time.sleep(_POLL / 4)
            if reader.version_length != received:
                received, quiet_since = reader.version_length, time.monotonic()
            elif reader.version is not None and time.monotonic() - quiet_since > _VERSION_QUIET:
                break
        return reader.version

    def close(self) -> None:
        """Close the bus. The arm keeps its last set-point and its power."""
        self.link.close()

    def read_flash(self) -> FlashLimits:
        """Ask for what the arm keeps in flash. Changes nothing; takes up to 0.6 s."""
        told = read_flash(self.link)
        self.flash = told if self.flash is None else told.completed_by(self.flash)
        return told

    @property
    def latest(self) -> ArmFeedback | None:
        """The newest joint feedback; None before the first and while not connected."""
        return self.link.latest

    def read(self) -> ArmFeedback | None:
        """The newest joint feedback, however old; its stamp tells. None right after a bus was opened again.

        Raises:
            PiperError: not connected.
        """
        return self.link.reader.latest

    @property
    def received_frames(self) -> int:
        """Since the bus was opened."""
        return self.link.reader.received

    def inhibit(self) -> Inhibit | None:
        """Why the arm must not be commanded now; None when it may. The same object as long as nothing changes."""
        outage, reader = self.link.outage, self.link.reader
        codes, leader_frames, unsent = reader.codes, reader.leader_frames, self._unsent
        is_local = leader_frames > 0 and self.link.local_setpoints > 0
        symptoms = (outage,) if outage else (codes, leader_frames > 0, is_local, unsent)
        judged, inhibit = self._judged
        if symptoms != judged:
            if outage:
                inhibit = Inhibit(Reaction.HOLD, "no feedback", outage)
            else:
                inhibit = find_inhibit(self.link.name, codes, leader_frames, is_local) or self._sending_inhibit(unsent)
                inhibit = self._as_firmware_needs(inhibit)
            self._judged = symptoms, inhibit
        return inhibit

    def status(self) -> ArmStatus:
        """What the arm says about itself."""
        reader = self.link.reader
        codes = reader.codes
        inhibit = self.inhibit()
        gripper = gripper_faults(reader.gripper, is_arm_on=inhibit is None)
        return ArmStatus(
            mode=codes.mode,
            state=codes.state,
            enabled=tuple(bool(code & frames.MotorState.ENABLED) for code in codes.motors),
            faults=motor_faults(codes.motors) + gripper + error_code_faults(codes.error_bits),
            firmware="" if self.version is None else str(self.version),
            feedback_age=reader.age,
            feedback_rate=reader.rate,
            undecodable=reader.undecodable,
            offset_frames=reader.offset_frames,
            leader_frames=reader.leader_frames,
            temperatures=tuple(reader.temperatures),
            voltage=reader.voltage,
            outage=self.link.outage,
            inhibit="" if inhibit is None else inhibit.text,
            reconnects=self.link.reconnects,
            gripper=gripper_words(reader.gripper),
            firmware_remarks=known_of(self.version),
        )

    def write(self, position: FloatArray) -> bool:
        """Send joint targets [rad] and gripper stroke [m], shape [7]; nothing while the arm is out of reach.

        Returns:
            Whether the bus took them.

        Raises:
            PiperError: not connected.
        """
        self.has_let_go = False
        return self._transmit(setpoint_frames(position, self.config.gripper_effort))

    def probe(self) -> bool:
        """Whether the bus takes frames, tried with the control mode (0x151), which moves nothing.

        Raises:
            PiperError: not connected.
        """
        mode = bytes([ControlMode.CAN, frames.MOVE_JOINT, self.config.speed_percent, 0, 0, 0, 0, 0])
        return self._transmit([(FrameId.MOTION_CONTROL_2, mode)] if self._is_in_can_mode else [])

    def _transmit(self, commands: list[Frame]) -> bool:
        """Whether the bus took them; what it said is kept for `inhibit`. Nothing is sent while there is an outage."""
        if self.link.outage:
            return False
        try:
            if self._is_in_can_mode and time.monotonic() - self._mode_sent > _MODE_PERIOD:
                self.send_mode()
            self.link.transmit(commands)
            self._unsent = ""
        except BusLostError as error:
            self._unsent = str(error)
        return not self._unsent

    @property
    def _is_in_can_mode(self) -> bool:
        """Of another mode an arm is not taken but by enabling it: somebody else may have it."""
        return self.link.reader.codes.mode == ControlMode.CAN

    def send_mode(self) -> None:
        """CAN control, joint by joint (0x151).

        Raises:
            PiperError: not connected, or the bus is out.
        """
        with self.link.sending as sdk:
            sdk.ModeCtrl(ControlMode.CAN, frames.MOVE_JOINT, self.config.speed_percent, 0x00)
        self._mode_sent = time.monotonic()

    def _sending_inhibit(self, unsent: str) -> Inhibit | None:
        if not unsent:
            return None
        text = f"set-points cannot be sent: {unsent}. Check its power and the CAN cable; it goes on by itself."
        return Inhibit(Reaction.HOLD, "set-points not sent", text)

    @property
    def is_stuck_in_teach(self) -> bool:
        """In teach mode, which its old firmware does not leave by the button."""
        is_old = self.version is not None and self.version < TEACH_NEEDS_RESET_BELOW
        return is_old and self.link.reader.codes.mode == ControlMode.TEACH

    def _as_firmware_needs(self, inhibit: Inhibit | None) -> Inhibit | None:
        if inhibit is None or inhibit.cause != "teach mode" or not self.is_stuck_in_teach:
            return inhibit
        text = f"{self}: in teach mode, which {self.version} leaves only by a reset: {RESET_REMEDY}"
        return Inhibit(inhibit.reaction, inhibit.cause, text)

    def require_feedback(self) -> None:
        """BusSilentError while there is an outage."""
        outage = self.link.outage
        if outage:
            raise BusSilentError(outage)

    def await_feedback(self) -> None:
        """Give an arm that has just been heard again the time to tell all about itself.

        Raises:
            BusSilentError: it does not.
        """
        deadline = time.monotonic() + _AWAITED
        while self.link.outage and time.monotonic() < deadline:
            time.sleep(_POLL)
        self.require_feedback()

    def require_commandable(self) -> None:
        """A `PiperError` of its kind for every inhibit but those that enabling itself removes."""
        inhibit = self.inhibit()
        if inhibit is None or inhibit.cause in ENABLING_REMOVES:
            return
        kinds: dict[str, type[PiperError]] = {
            "no feedback": BusSilentError,
            "emergency stop": EmergencyStoppedError,
            "teach mode": TeachModeError,
            "leader mode": LeaderArmError,
            "leader on the bus": LeaderArmError,
            "another program": ArmInUseError,
        }
        raise kinds.get(inhibit.cause, ArmFaultError)(inhibit.text)
