"""`wav evaluate`: success rate of a checkpoint on the robot's own stack, in the simulator, without ROS."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count
from wav_models.words import counted
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.bringup.paths import find_checkpoint
from wav_policy.cli.json_output import say_result, trials_file
from wav_policy.cli.options import checkpoint_to_load, refuse_idle, require_tasks, require_within_time_limit

if TYPE_CHECKING:
    from wav_models.planner.config import PlannerConfig


@dataclass(frozen=True)
class EvaluateArguments:
    """Run episodes from successive seeds. Several --conditions, or values of --iterations or --selection, are compared
    on the same seeds. Planner parameters that are not given are those stored with the checkpoint.

    With --suite NAME: trials of a public benchmark, see wav evaluate --suite=NAME --help."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    task: tuple[str, ...] = ("bowl",)
    """Tasks of the simulator."""
    episodes: AtLeastOne = 50
    """Episodes per task and condition."""
    seed: Count = 1000
    """First seed; that of the training data is in the checkpoint's training.json."""
    split: Literal["train", "held_out"] = "train"
    """Layouts; no held-out one is ever recorded for training."""
    phrasing: Literal["train", "held_out"] = "train"
    """Phrasings of the instruction."""
    instruction_of: str | None = None
    """Give the instructions of this task in the scenes of the others, whose own predicates count. With --task bowls
    green_bowl, which share a scene, a policy that listens succeeds where task and instruction agree, and only there."""
    conditions: tuple[str, ...] = ()
    """Named conditions: k0 (no planning), k0-zero (its noise shrunken to nothing), shrunk (K = 3 with random
    elites: noise shrunken as planning shrinks it), best, worst (of one round's futures), k1, k3, k5, fresh (K = 3
    without refitting), paper (the search as published). With --diagnose: searches to be compared."""
    iterations: tuple[Count, ...] = ()
    """Planning rounds K; 0 = no planning."""
    selection: tuple[str, ...] = ()
    """What is acted on: sample, mean, best, or worst."""
    video_samples: AtLeastOne | None = None
    """Futures per round (M)."""
    value_samples: AtLeastOne | None = None
    """Value samples per future (N)."""
    planner: tuple[str, ...] = ()
    """Any parameters of the planner as NAME=VALUE, for example video_times=[0.25] score=mean (fields of
    PlannerConfig)."""
    replan_steps: AtLeastOne = 4
    """Steps between plans."""
    latency_steps: Count = 0
    """Steps between an observation and the first use of its plan; the chunk before it goes on meanwhile."""
    bare: Flag = False
    """Act on the rows of a chunk as they are, without the robot's chunk continuation, executor and safety filter."""
    max_steps: AtLeastOne | None = None
    """Steps after which an episode has failed; the task's time limit when not given."""
    engine: str = "torch"
    """What runs the networks: torch, so that results do not depend on what was exported on a machine; onnxruntime;
    tensorrt; or auto, the fastest that was exported, which is the default of what runs the robot."""
    dtype: str = "fp32"
    """Number format of the networks: fp32, bf16, or auto."""
    workers: AtLeastOne = 2
    """Processes, one torch thread each."""
    scheduler: str | None = None
    """Address of a dask scheduler, tcp://HOST:8786, whose workers run the trials instead ('wav-policy[cluster]')."""
    diagnose: Flag = False
    """Find the weak link of planning instead: see docs/planning.md. Runs torch in fp32; other options of closed-loop
    trials are refused. One set of planner parameters; --conditions acts out what these planners choose, too; --data
    where there is a dataset."""
    pretrained: Path | None = None
    """Local LTX-Video directory, for checkpoints that use its auto-encoder and T5."""
    data: Path | None = None
    """Labelled dataset with successes and failures, for --diagnose."""
    teacher: Path | None = None
    """With --diagnose and --data: the checkpoint whose choices are held against those of --checkpoint, at moments of
    held-out episodes and with the same new noises."""
    teacher_planner: tuple[str, ...] = ()
    """The same as --planner, for the teacher."""
    json: Path | None = None
    """Where to write the result; "-" or `--json` alone: to standard output, progress to standard error. Finished trials
    are kept in FILE.trials.jsonl, those of an evaluation before in FILE.trials.jsonl.old."""
    resume: Flag = False
    """Do not run again what FILE.trials.jsonl holds of this checkpoint with these parameters; episodes, tasks and
    conditions may have been added."""


def main(argv: list[str]) -> None:
    """Entry point of `wav evaluate`."""
    if any(word.split("=")[0] == "--suite" for word in argv):
        from wav_policy.cli.evaluate_suite import main as evaluate_suite

        evaluate_suite(argv)
        return
    arguments = parsed(EvaluateArguments, "wav evaluate", argv)
    _check(arguments)
    arguments = replace(arguments, checkpoint=find_checkpoint(arguments.checkpoint))
    run = _diagnose if arguments.diagnose else _evaluate
    run(arguments, "wav evaluate " + shlex.join(argv))


_ONLY_OF_TRIALS: Final = (
    *("phrasing", "instruction_of", "iterations", "selection", "latency_steps", "bare"),
    *("engine", "dtype", "scheduler", "pretrained", "resume"),
)


def _check(arguments: EvaluateArguments) -> None:
    """ConfigurationError for options that do not fit each other, or do nothing."""
    require_tasks((*arguments.task, *filter(None, [arguments.instruction_of])))
    if arguments.max_steps is not None:
        require_within_time_limit(arguments.max_steps, arguments.task)
    if arguments.diagnose:
        refuse_idle(arguments, _ONLY_OF_TRIALS, "--diagnose")
    elif arguments.data is not None:
        raise ConfigurationError("--data is read by --diagnose only")
    if arguments.teacher is not None and not (arguments.diagnose and arguments.data is not None):
        raise ConfigurationError("--teacher needs --diagnose and --data: choices are compared on recorded episodes")
    if arguments.teacher_planner and arguments.teacher is None:
        raise ConfigurationError("--teacher-planner is of a --teacher")
    if arguments.scheduler is not None:
        refuse_idle(arguments, ["workers"], "--scheduler, which has workers of its own,")
    if arguments.conditions and (arguments.iterations or arguments.selection):
        raise ConfigurationError("give either --conditions, or --iterations and --selection")
    trials_file(arguments.json, arguments.resume)


def _evaluate(arguments: EvaluateArguments, command: str) -> None:
    from wav_models.checkpoint import load_checkpoint
    from wav_models.evaluation.closed_loop import TrialSettings
    from wav_models.evaluation.trial_log import TrialLog
    from wav_policy.experiments.closed_loop import SimTrials
    from wav_policy.experiments.robot_stack import StackConfig

    planners = make_conditions(arguments)
    checkpoint_to_load(arguments.checkpoint, arguments.engine, arguments.dtype)
    # A damaged checkpoint fails here, once, not in every worker.
    load_checkpoint(arguments.checkpoint, autoencoder_directory=arguments.pretrained)
    trials = SimTrials(
        arguments.checkpoint,
        arguments.task,
        range(arguments.seed, arguments.seed + arguments.episodes),
        arguments.split,
        arguments.phrasing,
        arguments.instruction_of,
        TrialSettings(arguments.replan_steps, arguments.latency_steps, arguments.max_steps),
        None if arguments.bare else StackConfig(),
        arguments.engine,
        arguments.dtype,
        arguments.workers,
        arguments.scheduler,
        arguments.pretrained,
    )
    log = TrialLog(trials_file(arguments.json, arguments.resume), resume=arguments.resume)
    count = len(planners) * len(arguments.task) * arguments.episodes
    print(
        f"{counted(count, 'trial')} in {counted(arguments.workers, 'process', 'processes')}; a line after each of them",
        file=sys.stderr,
        flush=True,
    )
    summary = {
        **header(arguments, command),
        "split": trials.split,
        "phrasing": trials.phrasing,
        "instruction_of": trials.instruction_of,
        "settings": asdict(trials.settings),
        "stack": None if trials.stack is None else asdict(trials.stack),
        "planners": {name: asdict(config) for name, config in planners.items()},
        "tasks": trials.run(planners, log),
    }
    say_result(summary, describe(summary), arguments.json)


def _diagnose(arguments: EvaluateArguments, command: str) -> None:
    from wav_models.experiments.branching import BranchSettings
    from wav_models.experiments.conditions import named_conditions
    from wav_models.experiments.diagnosis import describe as describe_links
    from wav_models.planner.scoring import make_score
    from wav_policy.experiments.diagnose_command import OF_RECORDINGS, DiagnosisPlan, diagnose
    from wav_policy.sim.operator import ACTION_PERIOD
    from wav_policy.sim.tasks import make_task

    planner = base_planner(arguments)
    make_score(planner.score)  # raises where elites are random: there is nothing to diagnose
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    teacher = None
    if arguments.teacher is not None:
        directory = find_checkpoint(arguments.teacher)
        own = replace(arguments, checkpoint=directory, planner=arguments.teacher_planner)
        teacher = directory, base_planner(own, "--teacher-planner")
    links: dict[str, dict[str, Any]] = {}
    for task in dict.fromkeys(arguments.task):
        branch = BranchSettings(
            planner.num_video_samples,
            planner.num_value_samples,
            arguments.max_steps or round(make_task(task).time_limit / ACTION_PERIOD),
            replan_steps=arguments.replan_steps,
        )
        plan = DiagnosisPlan(
            arguments.checkpoint,
            planner,
            task,
            arguments.split,
            seeds,
            None if links else arguments.data,
            branch,
            arguments.workers,
            named_conditions(planner, arguments.conditions),
            None if links else teacher,
        )
        links[task] = diagnose(plan)
        first = next(iter(links.values()))
        links[task] |= {name: first[name] for name in OF_RECORDINGS}  # looked at once: they are of no task here
    summary = {**header(arguments, command), "planner": asdict(planner), "tasks": links}
    if teacher is not None:
        directory, of_teacher = teacher
        summary["teacher"] = {**_identity(directory), "planner": asdict(of_teacher)}
    text = "\n".join(
        f"{task}, video passes at {plan.planner.video_times}:\n{describe_links(r)}" for task, r in links.items()
    )
    say_result(summary, text, arguments.json)


def header(arguments: EvaluateArguments, command: str) -> dict[str, Any]:
    """What result is this: command, checkpoint, seeds."""
    seeds = [arguments.seed, arguments.seed + arguments.episodes]
    return {"command": command, **_identity(arguments.checkpoint), "seeds": seeds}


def _identity(checkpoint: Path) -> dict[str, str]:
    from wav_models.checkpoint import checkpoint_hash

    return {"checkpoint": checkpoint.name, "checkpoint_sha256": checkpoint_hash(checkpoint)}


def make_conditions(arguments: EvaluateArguments) -> dict[str, PlannerConfig]:
    """Planner configuration per condition, by its name.

    Raises:
        ValueError: a parameter that does not fit, by name, or an unknown condition.
    """
    from wav_models.experiments.conditions import named_conditions

    base = base_planner(arguments)
    if arguments.conditions:
        return named_conditions(base, arguments.conditions)
    iterations = arguments.iterations or (base.num_iterations,)
    selections = arguments.selection or (base.selection,)
    return {
        f"K={k} {selection}" if len(selections) > 1 else f"K={k}": replace(base, num_iterations=k, selection=selection)
        for k, selection in product(iterations, selections)
    }


def base_planner(arguments: EvaluateArguments, given_by: str = "--planner") -> PlannerConfig:
    """The planner stored with the checkpoint, with the parameters that were given; errors name the option.

    It has no deadline: in lockstep no clock may decide how many rounds run.
    """
    import wav_models.experiments  # noqa: F401  its planners have names here
    from wav_models.checkpoint import load_planner_config
    from wav_models.configuration import with_assignments

    planner = load_planner_config(arguments.checkpoint).with_samples(arguments.video_samples, arguments.value_samples)
    if len(arguments.selection) == 1:
        planner = replace(planner, selection=arguments.selection[0])
    return replace(with_assignments(planner, arguments.planner, given_by), deadline=None)


def describe(summary: dict[str, Any]) -> str:
    """The result in a few lines: what carried out the chunks, every condition, and how it compares with the first."""
    from wav_models.evaluation.trials import describe_pair

    lines = [
        "chunks as they are (--bare)" if summary["stack"] is None else "chunks carried out by the robot's own stack"
    ]
    for task, result in summary["tasks"].items():
        lines += [
            f"{task} {name}: {c['successes']}/{c['episodes']} = {c['success_rate']:.0%} "
            f"[{c['interval_95'][0]:.0%}, {c['interval_95'][1]:.0%}]  "
            f"plan {c['plan_ms_p50']:.0f} ms median, {c['plan_ms_p99']:.0f} ms p99"
            for name, c in result["conditions"].items()
        ]
        lines += [
            f"{task} {name}: ran on {' and '.join(c['engines'])}; without --resume all trials run on what is there now"
            for name, c in result["conditions"].items()
            if len(c["engines"]) > 1
        ]
        first = next(iter(result["conditions"]))
        lines += [f"{task} {describe_pair(pair)}" for pair in result["comparisons"] if pair["first"] == first]
    return "\n".join(lines)
