"""What piper_node says about its control loop and its arms, as entries of /diagnostics."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from wav_policy.nodes.diagnostics import ERROR, OK, WARN, status
from wav_policy.piper.control_loop import LoopState
from wav_policy.piper.frames import ArmState
from wav_policy.piper.status import ArmStatus


def describe_loop(state: LoopState, configured_rate: float) -> DiagnosticStatus:
    """Entry "piper_node: control loop"."""
    why_not = why_not_commanding(state)
    message = why_not or (f"holding: {state.reason}" if state.holding else "following the chunk")
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
        lateness_p50_ms=1e3 * state.timing.lateness_p50,
        lateness_p99_ms=1e3 * state.timing.lateness_p99,
        chunk_age_s="" if age is None else age,
        chunk_age_p99_s=state.timing.chunk_age_p99,
        holding=state.holding,
        reason=state.reason,
        detail=state.detail,
        fault=state.fault,
        rejected_chunk=state.rejected_chunk,
        **{f"interventions_{cause}": count for cause, count in sorted(state.interventions.items())},
    )


def describe_arm(side: str, arm: ArmStatus, max_age: float) -> DiagnosticStatus:
    """Entry of one arm; feedback older than `max_age` [s] is an error."""
    silent = arm.feedback_age > max_age
    faulty = arm.state not in (ArmState.NORMAL, ArmState.TARGET_OUT_OF_LIMITS)
    if silent:
        level, message = ERROR, "no joint feedback"
    elif faulty:
        level, message = ERROR, arm.state_name.lower().replace("_", " ")
    elif arm.faults:
        level, message = WARN, "; ".join(arm.faults)
    elif not arm.is_enabled:
        level, message = WARN, "not enabled"
    else:
        level, message = OK, "enabled"
    return status(
        f"piper_node: {side} arm",
        level,
        message,
        mode=arm.mode_name,
        state=arm.state_name,
        enabled="".join("1" if on else "0" for on in arm.enabled),
        faults="; ".join(arm.faults),
        feedback_rate_hz=arm.feedback_rate,
        feedback_age_ms=1e3 * arm.feedback_age,
        firmware=arm.firmware,
        undecodable_frames=arm.undecodable,
        offset_id_frames=arm.offset_frames,
    )


def why_not_commanding(state: LoopState) -> str:
    """In words; "" while the loop commands the arms."""
    if state.reason == "stopped":
        return f"stopped: {state.detail}"
    return "" if state.engaged else "not commanding: arms not enabled by this node"
