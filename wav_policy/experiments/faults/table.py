"""Outcomes of the campaign as lines of a Markdown table."""

from __future__ import annotations

from wav_policy.experiments.faults.outcome import Outcome


def heading() -> str:
    """The first two lines."""
    return "| fault | reaction | brakes after | rests after | way back | lost | |\n|---|---|---|---|---|---|---|"


def line(outcome: Outcome) -> str:
    """One outcome; what was wrong with it beside it."""
    verdict = "ok" if outcome.passed else f"FAILED: {' '.join(outcome.detail.split())}"
    times = f"{_milliseconds(outcome.hold_ms)} | {_milliseconds(outcome.rest_ms)}"
    way_back = ", ".join(outcome.way_back)
    return f"| {outcome.fault} | {outcome.reaction} | {times} | {way_back} | {outcome.lost} | {verdict} |"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} ms"
