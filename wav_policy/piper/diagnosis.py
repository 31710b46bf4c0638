"""From what is seen on a silent bus to what is wrong, and what to do about it."""

from __future__ import annotations

from wav_policy.piper.errors import (
    BusLostError,
    BusOffError,
    BusSilentError,
    ChangedIdsError,
    LeaderArmError,
    PiperError,
    WrongBitrateError,
)
from wav_policy.piper.feedback import REQUIRED, FeedbackReader
from wav_policy.piper.frames import BusCondition

_LEADER_REMEDY = (
    "Set it back to follower: piper_sdk's MasterSlaveConfig(0xFC, 0, 0, 0) sends 0x470, which its flash keeps; then "
    "switch its power off and on."
)


def explain_silence(arm: str, reader: FeedbackReader, condition: BusCondition, worked: bool) -> PiperError:
    """The most specific account of why there is no feedback.

    Args:
        arm: how to name it.
        reader: of the bus in question.
        condition: what the adapter says.
        worked: feedback has come on this channel before.
    """
    if reader.lost is not None:
        return BusLostError(
            f"{arm}: {reader.lost}. Plug the adapter in again, bring the interface up; reading resumes by itself."
        )
    if reader.offset_frames:
        return ChangedIdsError(
            f"{arm}: answers on {reader.offset_id:#x} instead of 0x2A*: its ids were changed and its flash keeps that. "
            f"{_LEADER_REMEDY}"
        )
    if reader.leader_frames and not reader.seen:
        return LeaderArmError(f"{arm}: sends targets instead of feedback: it is a leader arm. {_LEADER_REMEDY}")
    if condition.is_bus_off or (condition.has_errors and worked):
        return BusOffError(
            f"{arm}: bus-off or close to it, {condition.words}. Check cable, plugs and both 120 ohm ends, then re-plug "
            "the adapter or set the interface down and up."
        )
    if condition.has_errors:
        return WrongBitrateError(
            f"{arm}: not one valid frame, and {condition.words}: does the bus run at 1 Mbit/s? Else check that CAN_H "
            "and CAN_L are not swapped."
        )
    return BusSilentError(f"{arm}: {_silence(reader, worked)}")


def _silence(reader: FeedbackReader, worked: bool) -> str:
    if garbled := reader.undecodable_since_reading:
        return f"{garbled} frames are garbled ({reader.last_error or 'lines'}): check bitrate and cable."
    if reader.seen and not worked:
        return f"no feedback of {', '.join(reader.missing)}. The bus is alive: is the gripper connected?"
    if worked:
        return (
            "fell silent. Check its power and emergency switch, and the CAN cable; an adapter in bus-off needs "
            "re-plugging. Reading resumes by itself."
        )
    return (
        f"no feedback of {', '.join(REQUIRED)}. Check its power, the CAN cable, and that the bus runs at "
        "1 Mbit/s. A leader arm is silent until it is moved."
    )
