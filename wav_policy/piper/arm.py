"""One Piper arm over the unmodified piper_sdk: SI units in and out, typed errors with their remedy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from piper_sdk import C_PiperInterface_V2, LogLevel

from wav_models.types import FloatArray
from wav_policy.piper import frames, units
from wav_policy.piper.bus import open_bus
from wav_policy.piper.errors import (
    ArmInUseError,
    BusLostError,
    BusSilentError,
    EmergencyStoppedError,
    EnableTimeoutError,
    PiperError,
    TeachModeError,
)
from wav_policy.piper.feedback import ArmFeedback, FeedbackReader
from wav_policy.piper.frames import NUM_JOINTS, ArmState, ControlMode
from wav_policy.piper.status import ArmStatus, error_code_faults, motor_faults

_POLL = 0.02  # s
_MODE_PERIOD = 0.5  # s; 0x151 is repeated so that an arm that was power-cycled is not left in standby unnoticed
_REQUIRED_FEEDBACK = {
    frames.FrameId.JOINTS_56: "joints (0x2A5-0x2A7)",
    frames.FrameId.GRIPPER: "gripper (0x2A8)",
    frames.FrameId.STATUS: "status (0x2A1)",
    frames.FrameId.MOTOR_SLOW_1 + NUM_JOINTS - 1: "motors (0x261-0x266)",
}
_NO_POWER_CYCLE_NEEDED = (ArmState.NORMAL, ArmState.TARGET_OUT_OF_LIMITS)


@dataclass(frozen=True)
class ArmConfig:
    """How an arm is driven.

    Attributes:
        speed_percent: share of the joints' maximum speed the arm's own controller may use; the limits that matter are
            those of `wav_policy.safety`.
        gripper_effort: grip torque, 0..5 [N m].
        connect_timeout: wait for the first feedback of every kind [s].
        enable_timeout: wait for all six motors to enable, and for a reset [s].
        feedback_timeout: a bus without joint feedback for this long is silent; much longer than the age at which
            `wav_policy.safety` holds, because this one stops the arms until they are reset [s].
    """

    speed_percent: int = 100
    gripper_effort: float = 1.0
    connect_timeout: float = 2.0
    enable_timeout: float = 5.0
    feedback_timeout: float = 1.0

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        if not 0 < self.speed_percent <= 100:
            raise ValueError(f"speed_percent must be 1..100, got {self.speed_percent}")
        if not 0.0 <= self.gripper_effort <= 5.0:
            raise ValueError(f"gripper_effort must be 0..5 N m, got {self.gripper_effort}")
        for name in ("connect_timeout", "enable_timeout", "feedback_timeout"):
            if not getattr(self, name) > 0.0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


class PiperArm:
    """One arm on one bus. `connect` first; commands may come from any thread.

    Args:
        side: "left" or "right"; names the arm in every error.
        interface: "socketcan" or "slcan".
        channel: such as "can0" or "/dev/ttyACM0".
        clock: of all stamps [s].
        on_feedback: called in the reading thread after every reading; must not raise.
    """

    _channels_in_use: ClassVar[set[str]] = set()

    def __init__(
        self,
        side: str,
        interface: str,
        channel: str,
        config: ArmConfig | None = None,
        clock: Callable[[], float] = time.time,
        on_feedback: Callable[[], None] = lambda: None,
    ) -> None:
        self.side = side
        self.interface = interface
        self.channel = channel
        self.config = config or ArmConfig()
        self._clock = clock
        self._on_feedback = on_feedback
        self._sending = threading.Lock()  # piper_sdk assembles every outgoing frame in one shared object
        self._reader: FeedbackReader | None = None
        self._sdk: C_PiperInterface_V2 | None = None
        self._mode_sent = float("-inf")

    def __repr__(self) -> str:
        return f"{self.side} arm ({self.interface} '{self.channel}')"

    def connect(self) -> None:
        """Open the bus, read feedback, ask for the firmware version. Moves and powers nothing.

        Raises:
            ArmInUseError, InterfaceNotFoundError, BusSilentError: see the classes.
        """
        if self.channel in self._channels_in_use:
            raise ArmInUseError(f"{self}: already connected in this process; close the other PiperArm first")
        try:
            bus = open_bus(self.interface, self.channel)
        except PiperError as error:
            raise type(error)(f"{self.side} arm: {error}") from error
        self._channels_in_use.add(self.channel)
        self._sdk = _sdk_over(bus, self.channel)
        self._reader = FeedbackReader(bus, self._sdk, f"{self.side} arm", self._clock, self._on_feedback)
        self._reader.start()
        try:
            self._await_first_feedback(self._reader)
        except PiperError:
            self.close()
            raise

    def close(self) -> None:
        """Close the bus. The arm keeps its last set-point and its power."""
        if self._reader is None or self._sdk is None:
            return
        self._reader.stop()
        self._sdk.GetCanBus().Close()
        with C_PiperInterface_V2._lock:  # the SDK caches one instance per channel, with its stale feedback
            C_PiperInterface_V2._instances.pop(self.channel, None)
        self._channels_in_use.discard(self.channel)
        self._reader = self._sdk = None

    @property
    def latest(self) -> ArmFeedback | None:
        """The newest joint feedback; None before the first and while not connected."""
        reader = self._reader
        return None if reader is None else reader.latest

    def read(self) -> ArmFeedback:
        """The newest joint feedback, however old; its stamp tells.

        Raises:
            BusLostError: the adapter or interface is gone.
        """
        reader = self._connected_reader()
        if reader.lost is not None:
            raise BusLostError(f"{self}: {reader.lost}. Plug the adapter in again, then clean up and configure anew.")
        assert reader.latest is not None  # connect() waited for it
        return reader.latest

    def status(self) -> ArmStatus:
        """What the arm says about itself."""
        reader, sdk = self._connected_reader(), self._connected_sdk()
        arm = sdk.GetArmStatus().arm_status
        motors = sdk.GetArmLowSpdInfoMsgs()
        codes = [getattr(motors, f"motor_{joint}").foc_status_code for joint in range(1, NUM_JOINTS + 1)]
        version = sdk.GetPiperFirmwareVersion()
        latest = reader.latest
        return ArmStatus(
            mode=int(arm.ctrl_mode.value),
            state=int(arm.arm_status.value),
            enabled=tuple(bool(code & frames.MotorState.ENABLED) for code in codes),
            faults=motor_faults(codes) + error_code_faults(arm.err_code),
            firmware=version if isinstance(version, str) else "",
            feedback_age=float("inf") if latest is None else self._clock() - latest.stamp,
            feedback_rate=reader.rate,
            undecodable=reader.undecodable,
            offset_frames=reader.offset_frames,
        )

    def enable(self) -> None:
        """Enable motor by motor until all six report it, take CAN control, and hold where the arm is.

        Raises:
            EmergencyStoppedError, TeachModeError, BusSilentError, EnableTimeoutError: see the classes.
        """
        self._require_commandable()
        deadline = self._clock() + self.config.enable_timeout
        sdk = self._connected_sdk()
        while not (status := self.status()).is_enabled:
            self._require_commandable()
            if self._clock() > deadline:
                raise EnableTimeoutError(self._enable_timeout_text(status))
            with self._sending:
                for joint, enabled in enumerate(status.enabled, start=1):
                    if not enabled:
                        sdk.EnableArm(joint, frames.MOTOR_ENABLE)
            time.sleep(_POLL)
        while self.status().mode != ControlMode.CAN:
            if self._clock() > deadline:
                mode = self.status().mode_name
                raise EnableTimeoutError(f"{self}: enabled, but stays in mode {mode} instead of CAN; power-cycle it")
            with self._sending:
                self._send_mode()
            time.sleep(_POLL)
        self.write(self.read().position)

    def write(self, position: FloatArray) -> None:
        """Send joint targets [rad] and gripper stroke [m], shape [7].

        Raises:
            BusSilentError, BusLostError: nobody is listening; nothing was sent.
        """
        self._require_feedback()
        joints = units.millidegrees_from_radians(position[:-1])
        stroke = units.micrometres_from_metres(position[-1])
        effort = units.effort_counts_from_newton_metres(self.config.gripper_effort)
        sdk = self._connected_sdk()
        with self._sending:
            if self._clock() - self._mode_sent > _MODE_PERIOD:
                self._send_mode()
            sdk.JointCtrl(*joints)
            sdk.GripperCtrl(stroke, effort, frames.GRIPPER_ON, 0)

    def stop(self) -> None:
        """Emergency stop (0x150): a damped descent; the arm takes no command until `reset` and `enable`.

        Raises:
            BusLostError: the adapter or interface is gone, so the arm was not reached.
        """
        with self._sending:
            self._connected_sdk().EmergencyStop(frames.EMERGENCY_STOP)
        self.read()

    def reset(self) -> bool:
        """Leave emergency stop or a fault. **The arm loses power and falls**: support it.

        Returns:
            False if there was nothing to reset; then nothing is sent and the arm keeps its power.

        Raises:
            EnableTimeoutError: the arm does not leave the fault.
        """
        if self.status().state in _NO_POWER_CYCLE_NEEDED:
            return False
        deadline = self._clock() + self.config.enable_timeout
        with self._sending:
            self._connected_sdk().ResetPiper()
        while (status := self.status()).state not in _NO_POWER_CYCLE_NEEDED or any(status.enabled):
            if self._clock() > deadline:
                raise EnableTimeoutError(
                    f"{self}: still {status.state_name} after a reset; switch its power off and on"
                )
            time.sleep(_POLL)
        return True

    def disable(self) -> None:
        """Switch all motors off. **The arm falls**: support it.

        Raises:
            EnableTimeoutError: motors still report to be enabled.
        """
        deadline = self._clock() + self.config.enable_timeout
        while any(self.status().enabled):
            if self._clock() > deadline:
                raise EnableTimeoutError(f"{self}: motors stay enabled; switch its power off")
            with self._sending:
                for joint in range(1, NUM_JOINTS + 1):
                    self._connected_sdk().DisableArm(joint, frames.MOTOR_DISABLE)
            time.sleep(_POLL)

    def _send_mode(self) -> None:
        self._connected_sdk().ModeCtrl(ControlMode.CAN, frames.MOVE_JOINT, self.config.speed_percent, 0x00)
        self._mode_sent = self._clock()

    def _require_feedback(self) -> None:
        age = self._clock() - self.read().stamp
        if age > self.config.feedback_timeout:
            raise BusSilentError(
                f"{self}: no joint feedback for {age:.2f} s. Check the arm's power and emergency switch, the CAN "
                "cable and the bus (a bus-off adapter needs re-plugging)."
            )

    def _require_commandable(self) -> None:
        self._require_feedback()
        status = self.status()
        if status.is_stopped:
            raise EmergencyStoppedError(f"{self}: in emergency stop. Support the arm, then call piper/reset.")
        if status.mode in (ControlMode.TEACH, ControlMode.LEADER):
            raise TeachModeError(
                f"{self}: in {status.mode_name.lower()} mode. Press the teach button on the arm to leave it; if it "
                "stays, power-cycle the arm (a leader setting persists until reconfigured with frame 0x470)."
            )

    def _await_first_feedback(self, reader: FeedbackReader) -> None:
        sdk = self._connected_sdk()
        deadline = self._clock() + self.config.connect_timeout
        while missing := [name for frame, name in _REQUIRED_FEEDBACK.items() if frame not in reader.seen]:
            if reader.lost is not None:
                raise BusLostError(f"{self}: {reader.lost}")
            if self._clock() > deadline:
                raise BusSilentError(self._silence_text(reader, missing))
            time.sleep(_POLL)
        while reader.latest is None or not isinstance(sdk.GetPiperFirmwareVersion(), str):
            if self._clock() > deadline:
                return  # an arm that does not tell its version still works
            with self._sending:
                sdk.SearchPiperFirmwareVersion()
            time.sleep(_POLL)

    def _silence_text(self, reader: FeedbackReader, missing: list[str]) -> str:
        text = f"{self}: no feedback of {', '.join(missing)} within {self.config.connect_timeout:g} s. "
        if reader.offset_frames:
            return text + "It answers on 0x3A* instead of 0x2A*: its ids were changed and must be set back (0x470)."
        if reader.undecodable:
            return text + f"{reader.undecodable} frames are garbled ({reader.last_error}): check bitrate and cable."
        if reader.seen:
            return text + "The bus is alive: is it the right one, and is the gripper connected?"
        return text + "Check its power, the CAN cable, and that the bus runs at 1 Mbit/s."

    def _enable_timeout_text(self, status: ArmStatus) -> str:
        off = ", ".join(f"joint{joint}" for joint, enabled in enumerate(status.enabled, start=1) if not enabled)
        faults = f" Reported: {'; '.join(status.faults)}." if status.faults else ""
        return (
            f"{self}: {off} did not enable within {self.config.enable_timeout:g} s.{faults} Check the motor's "
            "connector and the 24 V supply, then try again."
        )

    def _connected_reader(self) -> FeedbackReader:
        if self._reader is None:
            raise PiperError(f"{self}: not connected")
        return self._reader

    def _connected_sdk(self) -> C_PiperInterface_V2:
        if self._sdk is None:
            raise PiperError(f"{self}: not connected")
        return self._sdk


def _sdk_over(bus: object, channel: str) -> C_PiperInterface_V2:
    """piper_sdk on an open bus.

    The SDK opens every channel twice and, for slcan, sleeps 2 s each time; its transport takes any python-can bus, so
    it is opened on the in-memory bus and then given ours.
    """
    sdk = C_PiperInterface_V2(
        channel, judge_flag=False, can_auto_init=False, logger_level=LogLevel.CRITICAL, start_sdk_joint_limit=False
    )
    sdk.CreateCanBus(channel, bustype="virtual", judge_flag=False)
    transport = sdk.GetCanBus()
    transport.Close()
    transport.recv_bus = transport.send_bus = bus
    return sdk
