"""Why an arm must not be commanded now, and what has to happen before it may be again."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from wav_policy.piper.feedback import ArmCodes
from wav_policy.piper.frames import ArmState, ControlMode, MotorState
from wav_policy.piper.status import mode_name, motor_faults, state_name


class Reaction(IntEnum):
    """From mild to severe."""

    PAUSE = 0
    """As `HOLD`, but a calm motion goes on afterwards: nothing is wrong with the arms."""
    HOLD = 1
    """Brake and hold; go on with the next chunk when the inhibit is gone: the arm has kept its power."""
    RELEASE = 2
    """Brake, then stop commanding until piper/enable: the arm has left our control."""
    STOP = 3
    """Brake, then stop commanding: latched until piper/reset and piper/enable."""
    SILENCE = 4
    """As `STOP`, but without braking: not one more set-point, for another master commands the arm."""


@dataclass(frozen=True)
class Inhibit:
    """One reason.

    Attributes:
        reaction: what the control loop does.
        cause: a phrase without changing numbers, for `LoopState.reason`.
        text: names the arm, says what and how to go on.
    """

    reaction: Reaction
    cause: str
    text: str


_MOVING_STATES: Final = (ArmState.NORMAL, ArmState.TARGET_OUT_OF_LIMITS)
_PASSING_BITS: Final = (
    MotorState.UNDERVOLTAGE | MotorState.MOTOR_HOT | MotorState.OVERCURRENT | MotorState.DRIVER_HOT | MotorState.STALL
)
LATCHING_BITS: Final = MotorState.COLLISION | MotorState.ERROR
"""Motor bits that need a reset; the other faults pass."""
ENABLING_REMOVES: Final = ("not enabled", "not in CAN mode", "motor warning", "set-points not sent")
"""Causes that do not speak against enabling."""
RESET_REMEDY: Final = "Support the arms, then call piper/reset and piper/enable."


LEADER_TEXT: Final = (
    "in leader mode. That is kept in its flash (0x470): set it back with `wav arm follower --channel CHANNEL`, then "
    "switch its power off and on."
)


def find_inhibit(arm: str, codes: ArmCodes, leader_frames: int, local_setpoints: int = 0) -> Inhibit | None:
    """The severest inhibit in what an arm says; None when it may be commanded.

    Args:
        arm: how to name it.
        codes: complete: mode, state and motors known.
        leader_frames: set-points that are not ours, seen on the same bus.
        local_setpoints: of these, sent by programs on this computer.
    """
    if leader_frames:
        return _master_inhibit(arm, local_setpoints)
    return _state_inhibit(arm, codes) or _mode_inhibit(arm, codes) or _passing_inhibit(arm, codes)


def _master_inhibit(arm: str, local_setpoints: int) -> Inhibit:
    if local_setpoints:
        cause, who = "another program", "another program on this computer sends set-points on its bus"
        remedy = "Stop that program (piper_sdk, a vendor's node, a second piper_node?)."
    else:
        cause, who = "leader on the bus", "a leader arm, or another computer, speaks on its bus"
        remedy = "Give the leader a bus of its own."
    text = f"{arm}: {who} (0x151-0x15F, 0x471): two masters would fight. {remedy} {RESET_REMEDY}"
    return Inhibit(Reaction.SILENCE, cause, text)


def _state_inhibit(arm: str, codes: ArmCodes) -> Inhibit | None:
    if codes.state == ArmState.EMERGENCY_STOP:
        return Inhibit(Reaction.STOP, "emergency stop", f"{arm}: in emergency stop. {RESET_REMEDY}")
    latching = "; ".join(motor_faults(codes.motors, LATCHING_BITS))
    if latching:
        return Inhibit(Reaction.STOP, "motor fault", f"{arm}: {latching}. Clear the way. {RESET_REMEDY}")
    if codes.state in tuple(ArmState) and codes.state not in _MOVING_STATES:
        words = state_name(codes.state).lower().replace("_", " ")
        return Inhibit(Reaction.STOP, words, f"{arm}: reports {words}. Remove the cause. {RESET_REMEDY}")
    return None


def _mode_inhibit(arm: str, codes: ArmCodes) -> Inhibit | None:
    off = [f"joint{joint}" for joint, code in enumerate(codes.motors, start=1) if not code & MotorState.ENABLED]
    if codes.mode == ControlMode.TEACH:
        text = f"{arm}: in teach mode. Press the teach button on the arm to leave it, then call piper/enable."
        return Inhibit(Reaction.RELEASE, "teach mode", text)
    if codes.mode == ControlMode.LEADER:
        return Inhibit(Reaction.RELEASE, "leader mode", f"{arm}: {LEADER_TEXT}")
    if off:
        text = f"{arm}: {', '.join(off)} not enabled (power lost, or switched off). Support the arm, call piper/enable."
        return Inhibit(Reaction.RELEASE, "not enabled", text)
    if codes.mode in tuple(ControlMode) and codes.mode != ControlMode.CAN:
        text = f"{arm}: in mode {mode_name(codes.mode)} instead of CAN; somebody else controls it. Call piper/enable."
        return Inhibit(Reaction.RELEASE, "not in CAN mode", text)
    return None


def _passing_inhibit(arm: str, codes: ArmCodes) -> Inhibit | None:
    if codes.mode not in tuple(ControlMode) or codes.state not in tuple(ArmState):
        text = (
            f"{arm}: sends codes that no table lists (mode {codes.mode:#x}, state {codes.state:#x}). It holds while it "
            "does; is its firmware newer than this driver? Where it stays, support it, switch its power off and on."
        )
        return Inhibit(Reaction.HOLD, "unknown codes", text)
    if codes.error_bits & 0x3F:
        joints = ", ".join(f"joint{joint + 1}" for joint in range(6) if codes.error_bits & (1 << joint))
        text = f"{arm}: no communication with {joints}. Check the cable inside the arm. It holds until that is over."
        return Inhibit(Reaction.HOLD, "joint communication", text)
    passing = "; ".join(motor_faults(codes.motors, _PASSING_BITS))
    if passing:
        text = (
            f"{arm}: {passing}. It holds until that is over; lighten the load, check the 24 V supply. Where it stays, "
            "support the arms and call piper/reset, which clears it and keeps the power, then piper/enable; or switch "
            "its power off and on."
        )
        return Inhibit(Reaction.HOLD, "motor warning", text)
    return None
