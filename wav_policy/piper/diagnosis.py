"""From what is seen on a silent bus to what is wrong, and what to do about it."""

from __future__ import annotations

from wav_models.words import counted
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
    "Its flash keeps that: set it back with `wav arm follower --channel CHANNEL` (0x470), then switch its power off "
    "and on."
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
            f"{arm}: answers on {reader.offset_id:#x} instead of 0x2A*: its ids were changed. {_LEADER_REMEDY}"
        )
    if reader.leader_frames and not reader.seen:
        return LeaderArmError(f"{arm}: sends targets instead of feedback: it is a leader arm. {_LEADER_REMEDY}")
    if condition.is_bus_off or (condition.has_errors and worked):
        return BusOffError(
            f"{arm}: bus-off or close to it, {condition.words}. Check cable, plugs and both 120 ohm ends, then "
            f"{f'set the interface up anew: {condition.remedy}' if condition.remedy else 're-plug the adapter.'}"
        )
    if condition.has_errors:
        return WrongBitrateError(
            f"{arm}: not one valid frame, and {condition.words}: does the bus run at 1 Mbit/s? Else check that CAN_H "
            "and CAN_L are not swapped."
        )
    return BusSilentError(f"{arm}: {_silence(reader, worked)}")


_MISSING_HINTS = {
    "joints": "the arm's main board talks but tells no joints. Switch its power off and on; if that does not help, the "
    "cable to its joints or the main board is faulty: ask the vendor.",
    "motors": "the joints' drivers do not tell their state. Check the 24 V supply and the cable inside the arm, switch "
    "the power off and on.",
    "status": "the arm does not tell its state. Switch its power off and on.",
    "gripper": "is the gripper connected?",
}
"""By kind of feedback, the most telling first."""


def _silence(reader: FeedbackReader, worked: bool) -> str:
    if garbled := reader.undecodable_since_reading:
        return f"{counted(garbled, 'garbled frame')} ({reader.last_error or 'lines'}): check bitrate and cable."
    if reader.seen and not worked:
        missing = reader.missing
        hint = next((text for kind, text in _MISSING_HINTS.items() if any(n.startswith(kind) for n in missing)), "")
        return f"no feedback of {', '.join(missing)}. The bus is alive: {hint}"
    if worked:
        return (
            "fell silent. Check its power and emergency switch, and the CAN cable; an adapter in bus-off needs "
            "re-plugging. Reading resumes by itself."
        )
    return (
        f"no feedback of {', '.join(REQUIRED)}. Check its power, the CAN cable, and that the bus runs at "
        "1 Mbit/s. A leader arm is silent until it is moved."
    )
