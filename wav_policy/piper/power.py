"""Powering an arm up and down: enable, clear, reset, disable. What each sends, waits for and refuses."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper import frames, units
from wav_policy.piper.arm_driver import ArmDriver
from wav_policy.piper.enable_gate import untold_limits, why_not_enable
from wav_policy.piper.errors import EmergencyStoppedError, EnableTimeoutError, FirmwareError, FlashLimitsError
from wav_policy.piper.firmware import OLDEST, known_of
from wav_policy.piper.frames import NUM_JOINTS, ArmState, ControlMode, FrameId, GripperState
from wav_policy.piper.inhibits import LATCHING_BITS, RESET_REMEDY
from wav_policy.piper.setpoints import setpoint_frames
from wav_policy.piper.status import ArmStatus, has_tripped, motor_faults

_POLL: Final = 0.02  # s
_FRESH: Final = 0.1  # s; where a limp joint was before, it may not be any more
_CLEAR_TIMEOUT: Final = 0.3  # s
_GRIPPER_TIMEOUT: Final = 0.5  # s
_ALL_JOINTS: Final = 7
_UNCHANGED: Final = 0x7FFF
_HEALTHY_STATES: Final = (ArmState.NORMAL, ArmState.TARGET_OUT_OF_LIMITS)
_GRIPPER: Final = struct.Struct(">iHBB")


def enable(arm: ArmDriver, stopped: Callable[[], bool]) -> bool:
    """As `PiperArm.enable`."""

    def require_wanted() -> None:
        if stopped():
            raise EmergencyStoppedError(f"{arm}: stopped while it was being enabled. {RESET_REMEDY}")
        arm.require_commandable()

    arm.await_feedback()
    require_wanted()
    require_fit_to_enable(arm)
    if _is_ready(arm):
        arm.has_let_go = arm.has_let_go or not arm.link.reader.gripper & GripperState.ENABLED
        clear_gripper(arm)
        return not arm.has_let_go
    arm.has_let_go = True
    held: FloatArray | None = None
    deadline = time.monotonic() + arm.config.enable_timeout
    while not (status := arm.status()).is_enabled:
        require_wanted()
        if time.monotonic() > deadline:
            raise EnableTimeoutError(_enable_timeout_text(arm, status))
        held = _aim_where_it_is(arm, status, held)
        with arm.link.sending as sdk:
            for joint, enabled in enumerate(status.enabled, start=1):
                if not enabled:
                    sdk.EnableArm(joint, frames.MOTOR_ENABLE)
        time.sleep(_POLL)
    while arm.status().mode != ControlMode.CAN:
        require_wanted()
        if time.monotonic() > deadline:
            mode = arm.status().mode_name
            raise EnableTimeoutError(f"{arm}: enabled, but stays in mode {mode} instead of CAN; power-cycle it")
        arm.send_mode()
        time.sleep(_POLL)
    clear_gripper(arm)
    arm.write(_position_from_now_on(arm))
    arm.has_let_go = True  # until the control loop sends it a target
    return False


def _aim_where_it_is(arm: ArmDriver, status: ArmStatus, held: FloatArray | None) -> FloatArray | None:
    """An arm in CAN mode may keep its last targets; what gets its power back must not run after them. Joints without
    power are sent where they are now, the others where they were at first; the gripper nothing, which would enable it.

    Args:
        held: what was sent before, shape [7]; None before the first.

    Returns:
        What was sent.
    """
    reading = arm.read()
    is_known = reading is not None and arm.link.reader.age < _FRESH and len(status.enabled) == NUM_JOINTS
    if reading is None or not is_known or status.mode != ControlMode.CAN:
        return held
    on = np.array([*status.enabled, True])
    held = reading.position if held is None else np.where(on, held, reading.position)
    arm.link.transmit(setpoint_frames(held, 0.0)[:-1])
    return held


def _position_from_now_on(arm: ArmDriver) -> FloatArray:
    """Where the arm is now that its motors hold it, shape [7]: while it was limp it may have moved.

    Raises:
        BusSilentError: it does not tell.
    """
    before = arm.read()
    while (reading := arm.read()) is None or reading is before:
        arm.require_feedback()
        time.sleep(_POLL / 4)
    return reading.position


def _is_ready(arm: ArmDriver) -> bool:
    status = arm.status()
    return status.is_enabled and status.mode == ControlMode.CAN


def require_fit_to_enable(arm: ArmDriver) -> None:
    """As `PiperArm.require_fit_to_enable`. What the arm says of itself is asked anew before power comes on: it may be
    another one, and another program, or a fault, may have changed its flash."""
    arm.await_feedback()
    arm.require_commandable()
    if arm.flash is None or not _is_ready(arm):
        arm.ask_version()
        arm.read_flash()
    if arm.version is not None and arm.version < OLDEST:
        raise FirmwareError(f"{arm}: not enabled: {known_of(arm.version)[0]}")
    assert arm.flash is not None
    deadline = time.monotonic() + arm.config.enable_timeout
    while untold_limits(arm.flash) and time.monotonic() < deadline:
        arm.require_feedback()
        arm.read_flash()
    reading = arm.read()
    assert reading is not None  # its feedback has just been checked
    why_not = why_not_enable(arm.flash, reading.position, arm.channel)
    if why_not:
        raise FlashLimitsError(f"{arm}: {why_not}")


def clear_gripper(arm: ArmDriver) -> bool:
    """Clear a gripper that has tripped (0x159, codes 2 and 3), where it is; on an arm without power it stays off.

    Returns:
        Whether it had tripped. What it still says then, such as its temperature, is in `ArmStatus.faults`.
    """
    reader, reading = arm.link.reader, arm.read()
    if reading is None or not has_tripped(reader.gripper):
        return False
    arm.has_let_go = True
    stroke = units.micrometres_from_metres(float(reading.position[-1]))
    effort = units.effort_counts_from_newton_metres(arm.config.gripper_effort)
    codes = [frames.GRIPPER_OFF_AND_CLEAR] + [frames.GRIPPER_ON_AND_CLEAR] * arm.status().is_enabled
    deadline = time.monotonic() + _GRIPPER_TIMEOUT
    while has_tripped(reader.gripper) and time.monotonic() < deadline:
        for code in codes:
            arm.link.transmit([(FrameId.GRIPPER_TARGET, _GRIPPER.pack(stroke, effort, code, 0))])
            time.sleep(_POLL)
    return True


def reset(arm: ArmDriver, stopped: Callable[[], bool], forced: bool) -> bool:
    """As `PiperArm.reset`."""
    arm.await_feedback()
    arm.has_let_go = arm.has_let_go or arm.link.reader.leader_frames > 0
    arm.link.reader.forget_leader()
    forced = forced or arm.is_stuck_in_teach
    was_stopped = arm.status().is_stopped

    def require_not_stopped() -> None:
        if stopped() or (arm.status().is_stopped and not was_stopped):
            raise EmergencyStoppedError(f"{arm}: stopped during the reset. Support the arms, call piper/reset again.")

    if not forced and not was_stopped and clear_errors(arm):
        clear_gripper(arm)
        return False
    deadline = time.monotonic() + arm.config.enable_timeout
    with arm.link.sending as sdk:  # a stop that comes from here on is sent after the reset
        require_not_stopped()
        sdk.ResetPiper()
    while not is_healthy(arm) or any(arm.status().enabled):
        require_not_stopped()
        if time.monotonic() > deadline:
            status = arm.status()
            what = "; ".join((status.state_name, *status.faults))
            raise EnableTimeoutError(f"{arm}: still {what} after a reset; switch its power off and on")
        time.sleep(_POLL)
    clear_gripper(arm)
    return True


def is_healthy(arm: ArmDriver) -> bool:
    """No state and no motor bit that only a reset removes."""
    codes = arm.link.reader.codes
    return codes.state in _HEALTHY_STATES and not motor_faults(codes.motors, LATCHING_BITS)


def clear_errors(arm: ArmDriver) -> bool:
    """0x475, where there is something to clear, also what should pass by itself and does not.

    Returns:
        Whether no fault is left that only a reset removes.
    """
    if _has_fault(arm):
        with arm.link.sending as sdk:
            sdk.JointConfig(_ALL_JOINTS, 0, 0, _UNCHANGED, frames.CONFIRM)
    deadline = time.monotonic() + _CLEAR_TIMEOUT
    while _has_fault(arm) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return is_healthy(arm)


def _has_fault(arm: ArmDriver) -> bool:
    return not is_healthy(arm) or bool(motor_faults(arm.link.reader.codes.motors))


def disable(arm: ArmDriver) -> None:
    """As `PiperArm.disable`."""
    arm.await_feedback()
    deadline = time.monotonic() + arm.config.enable_timeout
    while any(arm.status().enabled):
        if time.monotonic() > deadline:
            raise EnableTimeoutError(f"{arm}: motors stay enabled; switch its power off")
        with arm.link.sending as sdk:
            for joint in range(1, NUM_JOINTS + 1):
                sdk.DisableArm(joint, frames.MOTOR_DISABLE)
        time.sleep(_POLL)
    _disable_gripper(arm, deadline)


def _disable_gripper(arm: ArmDriver, deadline: float) -> None:
    """0x159 with code 0, at least once, until the gripper reports to be off."""
    while True:
        with arm.link.sending as sdk:
            sdk.GripperCtrl(0, 0, frames.GRIPPER_OFF, 0)
        time.sleep(_POLL)
        if not arm.link.reader.gripper & GripperState.ENABLED:
            return
        if time.monotonic() > deadline:
            raise EnableTimeoutError(f"{arm}: motors are off, but the gripper stays enabled; switch its power off")


def _enable_timeout_text(arm: ArmDriver, status: ArmStatus) -> str:
    off = ", ".join(f"joint{joint}" for joint, enabled in enumerate(status.enabled, start=1) if not enabled)
    faults = f" Reported: {'; '.join(status.faults)}." if status.faults else ""
    return (
        f"{arm}: {off} did not enable within {arm.config.enable_timeout:g} s.{faults} Check the motor's connector and "
        "the 24 V supply, then try again."
    )
