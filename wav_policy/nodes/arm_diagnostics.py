"""What piper_node says about its control loop and its arms, as entries of /diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from diagnostic_msgs.msg import DiagnosticStatus

from wav_policy.control.control_loop import LoopState
from wav_policy.nodes.runtime.chunk_listener import ListenerState
from wav_policy.nodes.runtime.diagnostics import ERROR, OK, WARN, status
from wav_policy.piper.absent_arm import ABSENT
from wav_policy.piper.frames import ArmState
from wav_policy.piper.status import BEYOND_LIMIT, ArmStatus

LASTING: Final = ("collision", "not following", "jumped", "clock_step", "implausible_measurement", "targets missed")
"""Reasons to hold that are told with their details."""


def describe_loop(state: LoopState, configured_rate: float, scheduling: str = "ordinary") -> DiagnosticStatus:
    """Entry "piper_node: control loop"; `scheduling` as `take_priority` tells it."""
    why_not = why_not_commanding(state)
    leader = "the chunk" if state.commander in ("action_chunk", "") else state.commander
    message = why_not or (_holding(state) if state.holding else f"following {leader}")
    if not why_not and state.rejected_chunk:
        message += f" (last chunk rejected: {state.rejected_chunk})"
    stopped = bool(state.fault) or state.reason == "stopped"
    age = state.chunk_age
    return status(
        "piper_node: control loop",
        ERROR if stopped else WARN if state.holding or state.rejected_chunk else OK,
        message,
        control_rate_hz=state.timing.rate,
        configured_rate_hz=configured_rate,
        scheduling=scheduling,
        lateness_p50_ms=1e3 * state.timing.lateness_p50,
        lateness_p99_ms=1e3 * state.timing.lateness_p99,
        lateness_p999_ms=1e3 * state.timing.lateness_p999,
        chunk_age_s="" if age is None else age,
        chunk_age_p99_s=state.timing.chunk_age_p99,
        **state.timing.hops,
        holding=state.holding,
        reason=state.reason,
        detail=state.detail,
        fault=state.fault,
        rejected_chunk=state.rejected_chunk,
        phase=state.phase.value,
        commander=state.commander,
        tracking_joint=state.tracking.joint,
        tracking_error_rad=state.tracking.error,
        tracking_lost_for_s=state.tracking.duration,
        **{f"interventions_{cause}": count for cause, count in sorted(state.interventions.items())},
        **{f"newest_{cause}": detail for cause, detail in sorted(state.newest.items())},
    )


def _holding(state: LoopState) -> str:
    """With who is concerned and what to do next, where a new chunk alone does not help."""
    lasting = state.reason in LASTING and state.detail
    return f"holding: {state.reason}: {state.detail}" if lasting else f"holding: {state.reason}"


def describe_listener(state: ListenerState) -> DiagnosticStatus:
    """Entry "piper_node: chunk listener"."""
    return status(
        "piper_node: chunk listener",
        OK if state.listening else ERROR,
        "listening to action_chunk" if state.listening else "not heard: the arms hold until it is, and a chunk comes",
        silences=state.num_silences,
        restarts=state.num_restarts,
    )


def describe_absent_arm(side: str, arms: str) -> DiagnosticStatus:
    """Entry of an arm that this node was told to leave out, by its parameter `arms`."""
    reason = (
        f"piper_node runs with arms:={arms}, to run the other one alone: nothing is sent to this arm or read from it"
    )
    remedy = "end the system and start it with arms:=both"
    return _of_arm(side, status(f"piper_node: {side} arm", OK, ABSENT, reason=reason, remedy=remedy))


def _of_arm(side: str, entry: DiagnosticStatus) -> DiagnosticStatus:
    entry.hardware_id = f"{side} arm"
    return entry


def describe_arm(side: str, arm: ArmStatus, max_age: float, unfit_limits: Sequence[str] = ()) -> DiagnosticStatus:
    """Entry of one arm.

    Args:
        side: "left" or "right".
        arm: what it says.
        max_age: feedback older than this is an error [s].
        unfit_limits: what its flash would not let us do.
    """
    faulty = arm.state not in (ArmState.NORMAL, ArmState.TARGET_OUT_OF_LIMITS)
    if arm.outage:
        level, message = ERROR, arm.outage
    elif arm.feedback_age > max_age:
        level, message = ERROR, "no joint feedback"
    elif arm.leader_frames:
        level, message = ERROR, arm.inhibit
    elif faulty:
        level, message = ERROR, arm.state_name.lower().replace("_", " ")
    elif arm.faults:
        follows = arm.is_enabled and not arm.inhibit and all(fault.endswith(BEYOND_LIMIT) for fault in arm.faults)
        level, message = WARN, ("enabled, but " if follows else "") + "; ".join(arm.faults)
    elif not arm.is_enabled:
        level, message = WARN, "not enabled"
    elif arm.inhibit:
        level, message = WARN, arm.inhibit
    elif arm.state == ArmState.TARGET_OUT_OF_LIMITS:
        level, message = WARN, "enabled, but in state TARGET_OUT_OF_LIMITS: it may not follow"
    else:
        level, message = OK, "enabled"
    if unfit_limits and level == OK:
        level, message = WARN, f"enabled; limits in flash differ: {unfit_limits[0]}"
    entry = status(
        f"piper_node: {side} arm",
        level,
        message,
        mode=arm.mode_name,
        state=arm.state_name,
        enabled="".join("1" if on else "0" for on in arm.enabled),
        faults="; ".join(arm.faults),
        gripper=arm.gripper,
        feedback_rate_hz=arm.feedback_rate,
        feedback_age_ms=1e3 * arm.feedback_age,
        firmware=arm.firmware,
        firmware_remarks="; ".join(arm.firmware_remarks),
        outage=arm.outage,
        inhibit=arm.inhibit,
        hottest_c=max(arm.temperatures, default=0),
        lowest_voltage_v=arm.voltage,
        reconnects=arm.reconnects,
        limits_in_flash="; ".join(unfit_limits) or "fit the configuration",
        leader_frames=arm.leader_frames,
        undecodable_frames=arm.undecodable,
        offset_id_frames=arm.offset_frames,
    )
    return _of_arm(side, entry)


def why_not_commanding(state: LoopState) -> str:
    """In words; "" while the loop commands the arms."""
    if state.reason == "stopped":
        return f"stopped: {state.detail}"
    if state.engaged:
        return ""
    return f"not commanding: {state.detail or 'arms not enabled by this node'}"
