"""What the page shows, as one value: whoever fills it in, a running system or a recording, the page is the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from wav_models.types import ActionChunk, FloatArray, ImageArray
from wav_models.words import counted
from wav_policy.monitor.commands import in_words
from wav_policy.robot.joints import GRIPPERS, REVOLUTE

OK, WARN, ERROR = 0, 1, 2
"""Levels of diagnostic_msgs/DiagnosticStatus."""

LEVELS: Final = {OK: "ok", WARN: "warn", ERROR: "error"}

CONTROL, PLANNING, WORLD_REPORT = "piper_node: control loop", "policy_node: planning", "sim_node: world"
ARMS: Final = ("piper_node: left arm", "piper_node: right arm")
RECORDER: Final = "recorder_node: episode"
NODES: Final = "lifecycle_manager: nodes"
"""Names on /diagnostics."""
REPORTS: Final = frozenset((CONTROL, PLANNING, WORLD_REPORT, *ARMS, RECORDER))
"""Those that the page shows."""

_MAX_FEEDBACK_AGE: Final = 500.0
"""What an arm says of itself counts while its feedback is younger [ms]."""

_UNKNOWN: Final = "unknown"
_NEXT_STEPS: Final = {
    "stopped": "support both arms, tick it, Reset, then Start",
    "not enabled": "press Start",
    "collision": "press Home to clear the way, then Start",
}
"""By reason of the control loop, for texts that name no button."""
_NAMES_A_BUTTON: Final = re.compile(r"\b(Start|Home|Reset)\b")
_NUMBERS: Final = (
    ("control loop", CONTROL, "control_rate_hz", "{:.0f} Hz"),
    ("99 % of its ticks late by up to", CONTROL, "lateness_p99_ms", "{:.1f} ms"),
    ("half of the plans within", PLANNING, "plan_ms_p50", "{:.0f} ms"),
    ("99 % of the plans within", PLANNING, "plan_ms_p99", "{:.0f} ms"),
    ("from picture to chunk, half within", PLANNING, "observation_to_chunk_ms_p50", "{:.0f} ms"),
    ("rounds in the newest plan", PLANNING, "rounds", "{:.0f}"),
    ("plans since the start", PLANNING, "plans", "{:.0f}"),
    ("left arm's readings", ARMS[0], "feedback_rate_hz", "{:.0f} Hz"),
    ("right arm's readings", ARMS[1], "feedback_rate_hz", "{:.0f} Hz"),
    ("pictures of each camera", WORLD_REPORT, "image_rate", "{:.0f} Hz"),
    ("simulation, 1 is real time", WORLD_REPORT, "real_time_factor", "{:.2f}"),
)


@dataclass(frozen=True)
class StatusReport:
    """An entry of /diagnostics."""

    level: int
    message: str
    values: Mapping[str, str]

    def number(self, key: str) -> float | None:
        """A value as a number; None where it is not there, or none."""
        try:
            return float(self.values.get(key, ""))
        except ValueError:
            return None


@dataclass(frozen=True)
class Heard:
    """A report and when it came, time.monotonic() [s]."""

    at: float
    report: StatusReport


@dataclass(frozen=True)
class ReplayPlace:
    """Where one looks in a recording.

    Attributes:
        position, end: of the moment that is shown and of the last one [s].
        playing: whether it goes on by itself.
        speed: times real time.
        step: from one frame to the next [s].
        episode, num_episodes: which one of how many, from 0.
    """

    position: float
    end: float
    playing: bool
    speed: float
    step: float
    episode: int = 0
    num_episodes: int = 1


@dataclass(frozen=True)
class Snapshot:
    """Everything the page knows at one moment; None and absent keys mean: not known.

    Attributes:
        joints: measured positions, shape [14].
        real, imagined: newest pictures per view, uint8 [H, W, 3].
        chunk: what is being executed.
        value_times, values: predicted value over the horizon, shapes [T], seconds after the observation.
        recorded_values: of a recording, the return at those of `value_times` that it reaches to.
        recorded_actions: of a recording, what was commanded for the times of those rows of `chunk`, shape [<= H, 14].
        scores: of the futures per planning round, shape [K, M].
        taken: round and future in it that is acted on.
        futures: all futures of a round of the last plan, best first with their scores, uint8 [h, w, 3].
        instruction: the language command in force.
        reports: newest /diagnostics by name.
        silent: names of `reports` that have not been heard of for a while.
        available: commands that somebody would obey now.
        title: a line above all, for a recording.
        playback: of a recording.
    """

    joints: FloatArray | None = None
    real: Mapping[str, ImageArray] = field(default_factory=dict)
    imagined: Mapping[str, ImageArray] = field(default_factory=dict)
    chunk: ActionChunk | None = None
    value_times: FloatArray | None = None
    values: FloatArray | None = None
    recorded_values: FloatArray | None = None
    recorded_actions: FloatArray | None = None
    scores: FloatArray | None = None
    taken: tuple[int, int] | None = None
    futures: ImageArray | None = None
    instruction: str = ""
    reports: Mapping[str, StatusReport] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    available: frozenset[str] = frozenset()
    title: str = ""
    playback: ReplayPlace | None = None


@dataclass(frozen=True)
class StateLine:
    """What one part of the system says.

    Attributes:
        level: "ok", "warn", "error" or "unknown".
        name, text: of the part, and its state in words.
    """

    level: str
    name: str
    text: str


def arms_text(report: StatusReport) -> str:
    """What the control loop does and, where it holds, who is to blame."""
    detail = report.values.get("detail", "")
    return in_words(report.message if detail in report.message else f"{report.message}: {detail}")


def next_step(report: StatusReport) -> str:
    """What to do for the arms to follow again; "" where they do, or where `arms_text` says it."""
    step = _NEXT_STEPS.get(report.values.get("reason", ""), "")
    return "" if _NAMES_A_BUTTON.search(arms_text(report)) else step


def state_lines(snapshot: Snapshot) -> list[StateLine]:
    """State of arms, safety and planning; for a recording, of what there is in it."""
    lines = []
    parts = ("Arms", CONTROL), ("Left", ARMS[0]), ("Right", ARMS[1]), ("Policy", PLANNING), ("Recorder", RECORDER)
    for label, name in parts:
        report = snapshot.reports.get(name)
        if report is None:
            if snapshot.playback is None and name != RECORDER:  # few systems have one
                lines.append(StateLine(_UNKNOWN, label, "nothing heard"))
        elif name in snapshot.silent:
            lines.append(StateLine(_UNKNOWN, label, f"silent (last: {_said(name, report)})"))
        else:
            lines.append(StateLine(LEVELS.get(report.level, _UNKNOWN), label, _said(name, report)))
    return lines


def _said(name: str, report: StatusReport) -> str:
    if name == RECORDER:
        return in_words(f"{report.message}{_recorded(report)}")
    if name != CONTROL:
        return in_words(report.message)
    return " \u2192 ".join(text for text in (arms_text(report), next_step(report)) if text)


def _recorded(report: StatusReport) -> str:
    """How long the episode in progress is, and how many there are."""
    seconds = report.number("seconds")
    is_recording = report.message.startswith("recording") and seconds is not None
    length = f", {seconds:.1f} s" if is_recording else ""
    count = report.values.get("episodes", "")
    return f"{length}; {counted(int(count), 'episode')} in the dataset" if re.fullmatch(r"\d{1,9}", count) else length


def numbers(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Names and values of latencies and rates; for a recording, how far the plan is from what was done."""
    rows = []
    for label, name, key, form in _NUMBERS:
        report = snapshot.reports.get(name)
        if report is not None and name not in snapshot.silent and (value := report.number(key)) is not None:
            rows.append((label, form.format(value)))
    if snapshot.chunk is not None and snapshot.recorded_actions is not None and len(snapshot.recorded_actions):
        recorded = snapshot.recorded_actions
        apart = np.abs(snapshot.chunk.positions[: len(recorded)] - recorded).mean(axis=0)
        rows.append(("joints, plan against recording", f"{apart[REVOLUTE].mean():.3f} rad"))
        rows.append(("grippers, plan against recording", f"{1e3 * apart[GRIPPERS].mean():.1f} mm"))
    if snapshot.values is not None and snapshot.recorded_values is not None and len(snapshot.recorded_values):
        recorded = snapshot.recorded_values
        both = snapshot.values[: len(recorded)].mean(), recorded.mean()
        rows.append(("return, predicted and recorded", "{:.3f} and {:.3f}".format(*both)))
    return rows


def interventions(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What the safety filter has changed or refused, and in how many ticks of the control loop since the start."""
    report, prefix = snapshot.reports.get(CONTROL), "interventions_"
    values = report.values if report is not None else {}
    counts = {key.removeprefix(prefix): count for key, count in values.items() if key.startswith(prefix)}
    return [(cause.replace("_", " "), count) for cause, count in counts.items()]


def why_not_stopped(message: str, values: Mapping[str, str]) -> str:
    """What speaks against an arm's being stopped, by its report on /diagnostics; "" when it has confirmed the stop.

    An arm that is not heard, or whose joints are not, confirms nothing: its last state may be an old one.
    """
    if values.get("outage"):
        return values["outage"]
    try:
        age = float(values.get("feedback_age_ms", ""))
    except ValueError:
        age = math.nan
    if not age <= _MAX_FEEDBACK_AGE:
        return "no joint feedback"
    return "" if values.get("state") == "EMERGENCY_STOP" else message
