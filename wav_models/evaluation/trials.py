"""Many closed-loop trials over worker processes: several conditions on the same seeds, and what came of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from wav_models.evaluation.closed_loop import TrialPolicy, TrialResult, TrialRobot, TrialSettings, run_trial
from wav_models.evaluation.statistics import mcnemar, wilson_interval
from wav_models.worker_pool import worker_pool

MakeRobot = Callable[[], TrialRobot]
MakePolicy = Callable[[], TrialPolicy]
Results = dict[str, list[TrialResult]]


@dataclass(frozen=True)
class _Job:
    condition: str
    seed: int


class _Worker:
    """One process: one robot, one policy per condition, made when first needed."""

    def __init__(self, make_robot: MakeRobot, policies: Mapping[str, MakePolicy], settings: TrialSettings) -> None:
        self._make_policy, self._settings = policies, settings
        self._robot = make_robot()
        self._policies: dict[str, TrialPolicy] = {}

    def run(self, job: _Job) -> tuple[str, TrialResult]:
        if job.condition not in self._policies:
            self._policies[job.condition] = self._make_policy[job.condition]()
        return job.condition, run_trial(self._robot, self._policies[job.condition], job.seed, self._settings)


_worker: _Worker | None = None


def _start(make_robot: MakeRobot, policies: Mapping[str, MakePolicy], settings: TrialSettings) -> None:
    import torch

    torch.set_num_threads(1)
    global _worker
    _worker = _Worker(make_robot, policies, settings)


def _run(job: _Job) -> tuple[str, TrialResult]:
    assert _worker is not None
    return _worker.run(job)


def run_trials(
    make_robot: MakeRobot,
    policies: Mapping[str, MakePolicy],
    seeds: Sequence[int],
    settings: TrialSettings,
    *,
    num_workers: int = 2,
    scheduler: str | None = None,
    done: Mapping[str, Mapping[int, TrialResult]] | None = None,
    report: Callable[[str, TrialResult], None] = lambda condition, result: None,
) -> Results:
    """Every condition on every seed; results are in the order of `seeds`.

    Args:
        done: by condition and seed, trials that need not be run again; they are not reported.
        scheduler: see `worker_pool`; its workers do the trials instead of those of this machine.
        make_robot: called once per worker process; must be picklable.
        policies: by condition, what makes its policy; picklable, called at most once per worker.
        report: called with every finished trial.

    Raises:
        ChildProcessError: a worker died.
    """
    results = {condition: dict((done or {}).get(condition, {})) for condition in policies}
    jobs = [_Job(condition, seed) for seed in seeds for condition in policies if seed not in results[condition]]
    with worker_pool(num_workers, _start, (make_robot, dict(policies), settings), scheduler) as pool:
        for finished in as_completed([pool.submit(_run, job) for job in jobs]):
            condition, result = finished.result()
            results[condition][result.seed] = result
            report(condition, result)
    return {condition: [trials[seed] for seed in seeds] for condition, trials in results.items()}


def summarise(results: Results) -> dict[str, Any]:
    """Plain data for JSON: a summary per condition, and every pair of conditions compared on its seeds."""
    outcomes = {condition: [trial.success for trial in trials] for condition, trials in results.items()}
    return {
        "conditions": {condition: summarise_condition(trials) for condition, trials in results.items()},
        "comparisons": compare_pairs(outcomes),
    }


def summarise_condition(trials: Sequence[TrialResult]) -> dict[str, Any]:
    """Success rate with its 95 % interval, planning times and the trials themselves."""
    successes = sum(trial.success for trial in trials)
    plan_ms = np.array([ms for trial in trials for ms in trial.plan_ms])
    return {
        "episodes": len(trials),
        "successes": successes,
        "success_rate": successes / len(trials),
        "interval_95": wilson_interval(successes, len(trials)),
        "engines": sorted({trial.engine for trial in trials}),
        "plans": len(plan_ms),
        "plan_ms_p50": float(np.percentile(plan_ms, 50)),
        "plan_ms_p99": float(np.percentile(plan_ms, 99)),
        "trials": [{"seed": t.seed, "success": t.success, "steps": t.steps} for t in trials],
    }


def compare_pairs(outcomes: Mapping[str, Sequence[bool]]) -> list[dict[str, Any]]:
    """Every pair of conditions, compared on its seeds; outcomes are in the order of the seeds."""
    tests = {pair: mcnemar(*(outcomes[condition] for condition in pair)) for pair in combinations(outcomes, 2)}
    return [
        {
            "first": first,
            "second": second,
            "only_second_succeeded": test.gained,
            "only_first_succeeded": test.lost,
            "mcnemar_p": test.p_value,
        }
        for (first, second), test in tests.items()
    ]
