"""`wav evaluate --suite NAME`: success in other people's benchmarks, by their own environments and checks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count
from wav_policy.bringup.paths import find_checkpoint
from wav_policy.cli.json_output import say_result, trials_file
from wav_policy.cli.options import checkpoint_to_load, refuse_idle

if TYPE_CHECKING:
    from wav_policy.experiments.suites.catalogue import Suite


@dataclass(frozen=True)
class SuiteArguments:
    """Trials from the suite's own initial states; every trial runs to the largest budget and is counted in each."""

    suite: str
    """Name of the suite; `wav suite list` has all."""
    player: Literal["checkpoint", "operator", "random"] = "checkpoint"
    """Who acts: a checkpoint, the suite's scripted operator, or random commands."""
    checkpoint: Path | None = None
    """Checkpoint directory."""
    conditions: tuple[str, ...] = ()
    """Named conditions of planning, such as k0 and k3, compared on the same states; the checkpoint's own if none."""
    tasks: tuple[Count, ...] = ()
    """Tasks; all if not given."""
    trials: AtLeastOne | None = None
    """Initial states of every task, from the first on; all if not given."""
    budgets: tuple[str, ...] = ()
    """Steps to count within, by name (`wav suite list` has them); all if not given. The largest ends a trial."""
    replan_steps: AtLeastOne | None = None
    """Commands of a chunk that are run; as the checkpoint says if not given."""
    dtype: str = "fp32"
    """Number format of the networks: fp32, bf16, or auto."""
    pretrained: Path | None = None
    """Local LTX-Video directory, for checkpoints that use its auto-encoder and T5."""
    workers: AtLeastOne = 2
    """Processes, each with one of the suite's."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output. Finished trials are kept in FILE.trials.jsonl."""
    resume: Flag = False
    """Do not run again what FILE.trials.jsonl holds, but for trials whose environment was lost; tasks, trials and
    conditions may have been added."""


def main(argv: list[str]) -> None:
    """Entry point of `wav evaluate --suite`."""
    arguments = parsed(SuiteArguments, "wav evaluate", argv)
    from wav_policy.experiments.suites.catalogue import get_suite
    from wav_policy.experiments.suites.installation import python_of

    suite = get_suite(arguments.suite)
    _check(arguments, suite)
    checkpoint = arguments.checkpoint and find_checkpoint(arguments.checkpoint)
    python_of(suite.package)  # not installed: said at once, and nothing else
    if checkpoint is not None:
        arguments = replace(arguments, checkpoint=checkpoint_to_load(checkpoint, dtype=arguments.dtype))
    if arguments.budgets:
        suite = replace(suite, budgets={name: suite.budgets[name] for name in arguments.budgets})
    _evaluate(arguments, suite, "wav evaluate " + shlex.join(argv))


def _check(arguments: SuiteArguments, suite: Suite) -> None:
    """ConfigurationError for options that do not fit the suite, or each other."""
    beyond = [task for task in arguments.tasks if not 0 <= task < suite.num_tasks]
    unknown = [name for name in arguments.budgets if name not in suite.budgets]
    fault = ""
    if beyond:
        fault = f"--tasks is {beyond[0]}; {suite.name} has 0 to {suite.num_tasks - 1}"
    elif (arguments.trials or 0) > suite.num_states:
        fault = f"--trials is {arguments.trials}; {suite.name} has {suite.num_states} initial states of every task"
    elif unknown:
        fault = f"--budgets is {unknown[0]}; {suite.name} has {' and '.join(suite.budgets)}"
    elif (arguments.player == "checkpoint") != (arguments.checkpoint is not None):
        fault = "give --checkpoint DIRECTORY, or --player operator or random, not both"
    elif arguments.player != "checkpoint" and arguments.conditions:
        fault = f"--conditions are of planning; --player {arguments.player} does not plan"
    elif arguments.player == "operator" and not suite.has_operator:
        fault = f"{suite.name} has no scripted operator"
    if fault:
        raise ConfigurationError(fault)
    if arguments.player != "checkpoint":
        refuse_idle(arguments, ("replan_steps", "dtype", "pretrained"), f"--player {arguments.player}")
    trials_file(arguments.json, arguments.resume)


def _evaluate(arguments: SuiteArguments, suite: Suite, command: str) -> None:
    from wav_models.checkpoint import checkpoint_hash
    from wav_models.evaluation.trial_log import TrialLog
    from wav_policy.experiments.suites.players import PlayerSpec, checkpoint_players
    from wav_policy.experiments.suites.trials import SuiteTrials, describe

    if (checkpoint := arguments.checkpoint) is None:
        players = {str(arguments.player): PlayerSpec(arguments.player)}
    else:
        players = checkpoint_players(
            checkpoint,
            suite,
            arguments.conditions,
            replan_steps=arguments.replan_steps,
            dtype=arguments.dtype,
            pretrained=arguments.pretrained,
        )
    tasks = tuple(dict.fromkeys(arguments.tasks)) or tuple(range(suite.num_tasks))
    trials = SuiteTrials(suite, players, tasks, arguments.trials or suite.num_states, arguments.workers)
    summary: dict[str, Any] = {
        "command": command,
        "suite": suite.name,
        "package": list(suite.package.requirements),
        "checkpoint": checkpoint and checkpoint.name,
        "checkpoint_sha256": checkpoint and checkpoint_hash(checkpoint),
        **trials.run(TrialLog(trials_file(arguments.json, arguments.resume), resume=arguments.resume)),
    }
    say_result(summary, describe(suite, summary), arguments.json)
