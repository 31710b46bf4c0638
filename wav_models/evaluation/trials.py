"""Many closed-loop trials over worker processes: several conditions on the same seeds, and what came of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from wav_models.evaluation.closed_loop import TrialPolicy, TrialResult, TrialRobot, TrialSettings, run_trial
from wav_models.evaluation.statistics import mcnemar, wilson_interval
from wav_models.evaluation.trial_log import TrialLog
from wav_models.progress import progress, time_left
from wav_models.words import counted
from wav_models.worker_pool import prepare, with_prepared, worker_pool

Results = dict[str, list[TrialResult]]


class Worker(Protocol):
    """Runs trials, one after the other, in a process of its own."""

    def run(self, condition: str, seed: int) -> TrialResult:
        """One trial."""


class PolicyWorker:
    """One robot, and one policy per condition, made when first needed.

    Args:
        make_robot, policies: make what is asked for; by condition.
        settings: how an episode is run.
    """

    def __init__(
        self,
        make_robot: Callable[[], TrialRobot],
        policies: Mapping[str, Callable[[], TrialPolicy]],
        settings: TrialSettings,
    ) -> None:
        self._make_policy, self._settings = policies, settings
        self._robot = make_robot()
        self._policies: dict[str, TrialPolicy] = {}

    def run(self, condition: str, seed: int) -> TrialResult:
        if condition not in self._policies:
            self._policies[condition] = self._make_policy[condition]()
        return run_trial(self._robot, self._policies[condition], seed, self._settings)


def _run(worker: Worker, condition: str, seed: int) -> tuple[str, TrialResult]:
    return condition, worker.run(condition, seed)


def run_trials(
    make_worker: Callable[[], Worker],
    conditions: Iterable[str],
    seeds: Sequence[int],
    *,
    num_workers: int = 2,
    scheduler: str | None = None,
    done: Mapping[str, Mapping[int, TrialResult]] | None = None,
    report: Callable[[str, TrialResult], None] = lambda condition, result: None,
) -> Results:
    """Every condition on every seed; results are in the order of `seeds`.

    Args:
        make_worker: called once per process; must be picklable.
        done: by condition and seed, trials that need not be run again; they are not reported.
        scheduler: see `worker_pool`; its workers do the trials instead of those of this machine.
        report: called with every finished trial.

    Raises:
        ChildProcessError: a worker died.
    """
    results = {condition: dict((done or {}).get(condition, {})) for condition in conditions}
    jobs = [(condition, seed) for seed in seeds for condition in results if seed not in results[condition]]
    if jobs:
        with worker_pool(min(num_workers, len(jobs)), prepare, (make_worker,), scheduler) as pool:
            futures = [pool.submit(with_prepared, _run, condition, seed) for condition, seed in jobs]
            for finished in as_completed(futures):
                condition, result = finished.result()
                results[condition][result.seed] = result
                report(condition, result)
    return {condition: [trials[seed] for seed in seeds] for condition, trials in results.items()}


def run_logged(
    make_worker: Callable[[], Worker],
    keys: Mapping[str, str],
    seeds: Sequence[int],
    log: TrialLog,
    title: str,
    *,
    num_workers: int,
    scheduler: str | None = None,
    name: Callable[[int], str] = lambda seed: f"seed {seed}",
) -> Results:
    """The same of what a log does not have; every finished trial is kept there and told on standard error.

    One that could not be played, of which the log knows no more than the fault, is run again.

    Args:
        keys: by condition, the fingerprint under which the log has its trials.
        title: of what is run.
        name: of a seed.
    """
    done = {
        condition: {seed: trial for seed, trial in log.of(key, seeds).items() if not trial.fault}
        for condition, key in keys.items()
    }
    outcomes = {condition: [trial.success for trial in trials.values()] for condition, trials in done.items()}
    began, before, total = time.monotonic(), sum(map(len, done.values())), len(keys) * len(seeds)

    def report(condition: str, trial: TrialResult) -> None:
        log.add(keys[condition], trial)
        known = outcomes[condition]
        known.append(trial.success)
        outcome = trial.fault or ("success" if trial.success else "failure")
        finished = sum(map(len, outcomes.values()))
        left = (time.monotonic() - began) / (finished - before) * (total - finished)
        tell(finished, total)
        tell.say(
            f"[{title} {condition}] {len(known)}/{len(seeds)} {name(trial.seed)}: {outcome} in "
            f"{counted(trial.steps, 'step')}; {sum(known)} of {len(known)}; {time_left(left)}"
        )

    with log.kept_by_us(), progress(title) as tell:
        tell(before, total)
        return run_trials(
            make_worker, keys, seeds, num_workers=num_workers, scheduler=scheduler, done=done, report=report
        )


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


def describe_pair(pair: Mapping[str, Any]) -> str:
    """One of `compare_pairs`, in words."""
    return (
        f"{pair['second']} against {pair['first']}: +{pair['only_second_succeeded']} -{pair['only_first_succeeded']}, "
        f"McNemar p = {pair['mcnemar_p']:.2g}"
    )
