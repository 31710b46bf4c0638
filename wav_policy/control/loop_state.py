"""One look at the control loop, for diagnostics and for those who wait for it."""

from __future__ import annotations

from dataclasses import dataclass

from wav_policy.control.loop_phases import Phase
from wav_policy.control.loop_statistics import LoopReport
from wav_policy.control.safety import Cause, SafetyDecision
from wav_policy.control.tracking import TrackingReport
from wav_policy.robot.joints import SIDES

_NO_REASON_TO_HOLD = (Cause.LATE_TICK, Cause.CLOCK_STEP)


@dataclass(frozen=True)
class LoopState:
    """What the loop is about, and why.

    Attributes:
        phase: see `loop_phases`.
        engaged: the loop commands the arms.
        holding: it commands them to stay.
        reason: why it holds or does not command, one word or phrase without changing numbers; "" while it follows.
        detail: the same with numbers.
        fault: the error that stopped the loop; "" without.
        rejected_chunk: why the newest chunk was not accepted; "" if it was.
        chunk_age: age of the observation behind the chunk in force [s]; None without.
        interventions: ticks with an intervention, by cause, since the last `engage`.
        newest: of every cause the newest, in words with joint and numbers.
        timing: punctuality.
        tracking: how far the arms are from their targets.
        commander: who has the arms: action_chunk, follow_joint_trajectory, piper/home, parking; "": nobody.
    """

    phase: Phase
    engaged: bool
    holding: bool
    reason: str
    detail: str
    fault: str
    rejected_chunk: str
    chunk_age: float | None
    interventions: dict[str, int]
    newest: dict[str, str]
    timing: LoopReport
    tracking: TrackingReport
    commander: str


def why_holding(decision: SafetyDecision | None, cut_off: tuple[bool, bool]) -> tuple[str, str]:
    """Why the safety filter does not follow: in a word or phrase, and with numbers; "" while it does.

    Args:
        decision: its newest.
        cut_off: per arm, whether it gets no targets for now.
    """
    if decision is None or not decision.holding:
        return "", ""
    causes = [found for found in decision.interventions if found.cause not in _NO_REASON_TO_HOLD]
    if not causes:
        return "", ""
    cause, detail = causes[0].cause, causes[0].detail
    if cause is Cause.NO_COMMAND and any(cut_off):
        return "targets missed", missed_targets(cut_off)
    if cause is Cause.STALE_MEASUREMENT and any(cut_off):
        detail = f"{_sides(cut_off)} arm: {detail}"
    return cause.value, detail


def missed_targets(cut_off: tuple[bool, bool]) -> str:
    """Which arms get no targets for now (left, right), in words."""
    return f"the {_sides(cut_off)} arm missed targets: nothing moves before all is at rest"


def _sides(concerned: tuple[bool, bool]) -> str:
    return " and ".join(side for side, is_one in zip(SIDES, concerned, strict=True) if is_one)
