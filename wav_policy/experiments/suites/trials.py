"""Many trials of a suite in several processes; one whose environment is lost is repeated once, then counted."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

from wav_models.checkpoint import checkpoint_hash
from wav_models.evaluation.closed_loop import TrialResult
from wav_models.evaluation.statistics import wilson_interval
from wav_models.evaluation.trial_log import TrialLog, fingerprint
from wav_models.evaluation.trials import compare_pairs, describe_pair, run_logged
from wav_models.words import counted
from wav_policy.experiments.suites.catalogue import Suite
from wav_policy.experiments.suites.environment import EnvironmentLost, SuiteEnvironment
from wav_policy.experiments.suites.players import Player, PlayerSpec, play, trial_number

TRIALS_VERSION: Final = 1
"""To be raised with every change that changes what becomes of a trial: those of an earlier one are not resumed."""
ATTEMPTS: Final = 2


@dataclass(frozen=True)
class SuiteTrials:
    """What to run.

    Attributes:
        players: by the name of the condition; all on the same states.
        tasks: of the suite.
        num_states: first initial states of every task.
    """

    suite: Suite
    players: Mapping[str, PlayerSpec]
    tasks: Sequence[int]
    num_states: int
    workers: int = 2

    def run(self, log: TrialLog) -> dict[str, Any]:
        """Summary of all conditions; what the log has is not run again.

        Raises:
            SuiteError: the suite is not installed.
            ChildProcessError: a worker died.
        """
        numbers = [trial_number(self.suite, task, state) for task in self.tasks for state in range(self.num_states)]
        results = run_logged(
            partial(_Worker, self.suite, dict(self.players)),
            {name: self._fingerprint(spec) for name, spec in self.players.items()},
            numbers,
            log,
            self.suite.name,
            num_workers=self.workers,
            name=lambda number: "task {} state {}".format(*divmod(number, self.suite.num_states)),
        )
        return summarise(self.suite, results)

    def _fingerprint(self, spec: PlayerSpec) -> str:
        """What decides the outcome of a trial beside its number."""
        checkpoint = None if spec.checkpoint is None else checkpoint_hash(spec.checkpoint)
        return fingerprint(
            {
                **asdict(spec),
                "version": TRIALS_VERSION,
                "suite": self.suite.name,
                "package": self.suite.package.requirements,
                "max_steps": self.suite.max_steps,
                "checkpoint": checkpoint,
            }
        )


class _Worker:
    """One process of ours with one of the suite's; players are made when first needed."""

    def __init__(self, suite: Suite, players: Mapping[str, PlayerSpec]) -> None:
        self.suite, self._specs = suite, players
        self._environment = SuiteEnvironment(suite)
        self._players: dict[str, Player] = {}

    def run(self, name: str, number: int) -> TrialResult:
        if name not in self._players:
            self._players[name] = self._specs[name].make(self.suite)
        environment, player, place = self._environment, self._players[name], divmod(number, self.suite.num_states)
        return with_repeats(lambda: play(environment, player, *place), number)


def with_repeats(trial: Callable[[], TrialResult], number: int) -> TrialResult:
    """A trial whose environment is lost begins anew, once; lost again, it has failed, and says why."""
    lost = ""
    for _ in range(ATTEMPTS):
        try:
            return trial()
        except EnvironmentLost as error:
            lost = str(error)
            print(f"trial {number}: {lost}", file=sys.stderr, flush=True)
    return TrialResult(number, False, 0, (), fault=lost)


def succeeded_within(trial: TrialResult, budget: int) -> bool:
    """Whether the task was done within so many steps: longer trials say what shorter ones would have said."""
    return trial.success and trial.steps <= budget


def summarise(suite: Suite, results: Mapping[str, Sequence[TrialResult]]) -> dict[str, Any]:
    """Plain data for JSON: success per condition and budget, faults, and every two conditions on the same states."""
    outcomes = {
        budget: {name: [succeeded_within(trial, steps) for trial in trials] for name, trials in results.items()}
        for budget, steps in suite.budgets.items()
    }
    return {
        "conditions": {
            name: {
                "trials": [
                    {"task": t.seed // suite.num_states, "state": t.seed % suite.num_states}
                    | {"success": t.success, "steps": t.steps, "fault": t.fault}
                    for t in trials
                ],
                "faults": sorted({t.fault for t in trials if t.fault}),
                "num_faults": sum(bool(t.fault) for t in trials),
                "budgets": {
                    budget: {"steps": suite.budgets[budget], **_rate(of[name])} for budget, of in outcomes.items()
                },
            }
            for name, trials in results.items()
        },
        "comparisons": {budget: compare_pairs(of) for budget, of in outcomes.items()},
    }


def _rate(outcomes: Sequence[bool]) -> dict[str, Any]:
    successes, total = sum(outcomes), len(outcomes)
    return {
        "successes": successes,
        "trials": total,
        "success_rate": successes / total,
        "interval_95": wilson_interval(successes, total),
    }


def describe(suite: Suite, summary: Mapping[str, Any]) -> str:
    """One table: a line per condition and budget, then faults and comparisons."""
    lines = [f"{'suite':22} {'condition':14} {'budget':>16} {'success':>12} {'95 % interval':>16}"]
    for name, condition in summary["conditions"].items():
        for budget, rate in condition["budgets"].items():
            low, high = rate["interval_95"]
            lines.append(
                f"{suite.name:22} {name:14} {budget + ' ' + str(rate['steps']):>16} "
                f"{rate['successes']:>5}/{rate['trials']:<4} {low:>8.1%} to {high:.1%}"
            )
        lost = Counter(trial["fault"] for trial in condition["trials"] if trial["fault"])
        lines += [f"  {name}: {counted(count, 'trial')} failed by {fault}" for fault, count in lost.items()]
    for budget, pairs in summary["comparisons"].items():
        lines += [f"{budget}: {describe_pair(pair)}" for pair in pairs]
    return "\n".join(lines)
