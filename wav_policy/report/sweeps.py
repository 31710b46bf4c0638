"""Closed-loop success against conditions and planner parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from wav_models.planner.config import PlannerConfig
from wav_policy.cli.evaluate import NAMED_CONDITIONS, EvaluateArguments, base_planner, make_conditions, run_conditions
from wav_policy.report.inputs import Files, ReportInputs

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
    arguments = replace(_arguments(inputs), conditions=tuple(NAMED_CONDITIONS))
    tasks = run_conditions(arguments, make_conditions(arguments), inputs.log)
    return {"success.json": {"seeds": _seeds(inputs), "tasks": tasks}}


def measure_search(inputs: ReportInputs) -> Files:
    """Success against K, M and N, one at a time, the others as stored with the checkpoint."""
    return {"search.json": {"seeds": _seeds(inputs), "sweeps": _sweeps(inputs, SEARCH)}}


def measure_refit(inputs: ReportInputs) -> Files:
    """Success against alpha, beta and the number of video elites, one at a time."""
    return {"refit.json": {"seeds": _seeds(inputs), "sweeps": _sweeps(inputs, REFIT)}}


def _sweeps(inputs: ReportInputs, parameters: dict[str, tuple[str, tuple[Any, ...]]]) -> list[dict[str, Any]]:
    arguments = _arguments(inputs)
    base = base_planner(arguments)
    sweeps = []
    for name, (label, values) in parameters.items():
        planners = {str(value): with_parameter(base, name, value) for value in values}
        tasks = run_conditions(arguments, planners, inputs.log)
        sweeps.append({"parameter": name, "label": label, "values": values, "tasks": tasks})
    return sweeps


def with_parameter(base: PlannerConfig, name: str, value: Any) -> PlannerConfig:
    """`base` with one parameter changed, and the numbers of samples and elites made to fit it."""
    changed = {"num_video_samples": base.num_video_samples, "num_value_samples": base.num_value_samples, name: value}
    video = max(changed["num_video_samples"], changed.get("num_video_elites", 1))
    pairs = video * changed["num_value_samples"]
    fitting = {
        "num_video_elites": min(base.num_video_elites, video),
        "num_value_elites": min(base.num_value_elites, pairs),
    }
    return replace(base, **{**fitting, **changed, "num_video_samples": video})


def _arguments(inputs: ReportInputs) -> EvaluateArguments:
    return EvaluateArguments(
        checkpoint=inputs.checkpoint,
        task=inputs.tasks,
        episodes=inputs.episodes,
        seed=inputs.seed,
        dtype=inputs.dtype,
        workers=inputs.workers,
    )


def _seeds(inputs: ReportInputs) -> list[int]:
    return [inputs.seed, inputs.seed + inputs.episodes]
