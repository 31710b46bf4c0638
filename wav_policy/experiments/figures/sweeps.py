"""Closed-loop success against conditions and planner parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wav_models.checkpoint import load_planner_config
from wav_models.experiments.conditions import named_conditions
from wav_models.planner.config import PlannerConfig
from wav_policy.experiments.closed_loop import SimTrials
from wav_policy.experiments.figures.inputs import Files, ReportInputs

SEARCH: dict[str, tuple[str, tuple[int, ...]]] = {
    "num_iterations": ("K, rounds", (0, 1, 3, 5)),
    "num_video_samples": ("M, futures per round", (2, 4, 8)),
    "num_value_samples": ("N, value samples per future", (1, 2, 4)),
}
REFIT: dict[str, tuple[str, tuple[float, ...]]] = {
    "mean_update_rate": ("alpha", (0.1, 0.5, 0.9)),
    "std_update_rate": ("beta", (0.1, 0.5, 0.9)),
    "num_video_elites": ("K1, video elites", (1, 2, 4)),
}


def measure_success(inputs: ReportInputs) -> Files:
    """Every named condition on the same seeds."""
    planners = named_conditions(load_planner_config(inputs.checkpoint))
    return {"success.json": {"seeds": _seeds(inputs), "tasks": _trials(inputs).run(planners, inputs.log)}}


def measure_search(inputs: ReportInputs) -> Files:
    """Success against K, M and N, one at a time, the others as stored with the checkpoint."""
    return {"search.json": {"seeds": _seeds(inputs), "sweeps": _sweeps(inputs, SEARCH)}}


def measure_refit(inputs: ReportInputs) -> Files:
    """Success against alpha, beta and the number of video elites, one at a time."""
    return {"refit.json": {"seeds": _seeds(inputs), "sweeps": _sweeps(inputs, REFIT)}}


def _sweeps(inputs: ReportInputs, parameters: dict[str, tuple[str, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    trials, base = _trials(inputs), load_planner_config(inputs.checkpoint)
    sweeps = []
    for name, (label, values) in parameters.items():
        planners = {str(value): with_parameter(base, name, value) for value in values}
        tasks = trials.run(planners, inputs.log)
        sweeps.append({"parameter": name, "label": label, "values": values, "tasks": tasks})
    return sweeps


def with_parameter(base: PlannerConfig, name: str, value: Any) -> PlannerConfig:
    """`base` with one parameter changed, and the numbers of samples and elites made to fit it."""
    if name in ("num_video_samples", "num_value_samples"):
        return base.with_samples(**{name: value})
    if name == "num_video_elites":
        base = base.with_samples(max(base.num_video_samples, value))
    return replace(base, **{name: value})


def _trials(inputs: ReportInputs) -> SimTrials:
    seeds = range(*_seeds(inputs))
    return SimTrials(inputs.checkpoint, inputs.tasks, seeds, dtype=inputs.dtype, workers=inputs.workers)


def _seeds(inputs: ReportInputs) -> list[int]:
    return [inputs.seed, inputs.seed + inputs.episodes]
