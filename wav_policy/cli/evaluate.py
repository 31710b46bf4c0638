"""`wav evaluate`: success rate of a checkpoint in closed loop, in the simulator, without ROS."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from wav_models.presets import did_you_mean
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.bringup.paths import resolve

if TYPE_CHECKING:
    from wav_models.evaluation.closed_loop import TrialResult
    from wav_models.planner.config import PlannerConfig
    from wav_policy.policy import WAVPolicy

STANDARD_OUTPUT = Path("-")


@dataclass(frozen=True)
class EvaluateArguments:
    """Run episodes from successive seeds. Several values of --iterations or --selection are compared on the same
    seeds. Planner parameters that are not given are those stored with the checkpoint."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    task: str = "bowl"
    """Task of the simulator."""
    episodes: int = 50
    """Episodes per condition."""
    seed: int = 1000
    """First seed; that of the training data is in the checkpoint's training.json."""
    iterations: tuple[int, ...] = ()
    """Planning rounds K; 0 = no planning."""
    selection: tuple[str, ...] = ()
    """What is acted on: sample, mean, best, or worst."""
    video_samples: int | None = None
    """Futures per round (M)."""
    value_samples: int | None = None
    """Value samples per future (N)."""
    video_elites: int | None = None
    """Futures that the video noise is refitted to."""
    value_elites: int | None = None
    """Value samples that the value noise is refitted to."""
    video_steps: int | None = None
    """Passes of the video DiT per future."""
    value_steps: int | None = None
    """Euler steps of the value expert."""
    score: str | None = None
    """Score of a future: snr, mean, or lower_bound."""
    action_noise_std: float | None = None
    """Scale of the action noise."""
    replan_steps: int = 4
    """Steps between plans."""
    latency_steps: int = 0
    """Steps between an observation and the first use of its plan; the chunk before it goes on meanwhile."""
    max_steps: int = 200
    """Steps after which an episode has failed."""
    engine: str = "auto"
    """What runs the networks: auto, torch, onnxruntime or tensorrt."""
    dtype: str = "fp32"
    """Number format of the networks: fp32, bf16, or auto."""
    workers: int = 2
    """Processes, one torch thread each."""
    json: Path | None = None
    """Where to write the result; "-" or nothing: to standard output, progress to standard error."""


def main(argv: list[str]) -> int:
    """Entry point of `wav evaluate`."""
    arguments = tyro.cli(EvaluateArguments, prog="wav evaluate", args=_with_json_target(argv))
    arguments = replace(arguments, checkpoint=resolve(str(arguments.checkpoint)))
    from wav_models.checkpoint import CheckpointError
    from wav_policy.sim import ENVIRONMENTS

    if arguments.task not in ENVIRONMENTS.values():
        hint = did_you_mean(arguments.task, ENVIRONMENTS.values())
        print(f"wav evaluate: no task {arguments.task!r}{hint}", file=sys.stderr)
        return 2
    if min(arguments.episodes, arguments.workers, arguments.replan_steps, arguments.max_steps) < 1:
        print("wav evaluate: episodes, workers, replan-steps and max-steps must be at least 1", file=sys.stderr)
        return 2
    try:
        _evaluate(arguments, "wav evaluate " + shlex.join(argv))
    except KeyboardInterrupt:
        return 130
    except (CheckpointError, ValueError, OSError) as error:
        print(f"wav evaluate: {error}", file=sys.stderr)
        return 1
    return 0


def _evaluate(arguments: EvaluateArguments, command: str) -> None:
    from wav_models.checkpoint import load_checkpoint
    from wav_models.evaluation.closed_loop import TrialSettings
    from wav_models.evaluation.trials import checkpoint_hash, run_trials, summarise

    load_checkpoint(arguments.checkpoint)  # a damaged checkpoint fails here, once, not in every worker
    planners = make_conditions(arguments)
    policies = {name: partial(_make_policy, arguments, config) for name, config in planners.items()}
    settings = TrialSettings(arguments.replan_steps, arguments.latency_steps, arguments.max_steps)
    seeds = range(arguments.seed, arguments.seed + arguments.episodes)
    results = run_trials(
        partial(_make_environment, arguments.task),
        policies,
        seeds,
        settings,
        num_workers=arguments.workers,
        report=_Counter(arguments.episodes),
    )
    summary: dict[str, Any] = {
        "command": command,
        "task": arguments.task,
        "checkpoint": arguments.checkpoint.name,
        "checkpoint_sha256": checkpoint_hash(arguments.checkpoint),
        "settings": asdict(settings),
        "planners": {name: asdict(config) for name, config in planners.items()},
        **summarise(results),
    }
    text = json.dumps(summary, indent=1) + "\n"
    if arguments.json == STANDARD_OUTPUT:
        print(describe(summary), file=sys.stderr)
        sys.stdout.write(text)
        return
    print(describe(summary))
    if arguments.json is not None:
        arguments.json.write_text(text, encoding="utf-8")


def _with_json_target(argv: list[str]) -> list[str]:
    """`--json` without a file means standard output."""
    result = list(argv)
    for index, word in enumerate(argv):
        if word == "--json" and (index + 1 == len(argv) or argv[index + 1].startswith("--")):
            result[index] = f"--json={STANDARD_OUTPUT}"
    return result


def make_conditions(arguments: EvaluateArguments) -> dict[str, PlannerConfig]:
    """Planner configuration per condition, by its name.

    Raises:
        ValueError: a parameter that does not fit, by name.
    """
    from wav_policy.policy import stored_planner_config

    stored = stored_planner_config(arguments.checkpoint)
    video_samples = arguments.video_samples or stored.num_video_samples
    value_samples = arguments.value_samples or stored.num_value_samples
    given = {
        "num_video_samples": video_samples,
        "num_value_samples": value_samples,
        "num_video_elites": arguments.video_elites or min(stored.num_video_elites, video_samples),
        "num_value_elites": arguments.value_elites or min(stored.num_value_elites, video_samples * value_samples),
        "num_video_steps": arguments.video_steps,
        "num_value_steps": arguments.value_steps,
        "score": arguments.score,
        "action_noise_std": arguments.action_noise_std,
    }
    base = replace(stored, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    iterations = arguments.iterations or (stored.num_iterations,)
    selections = arguments.selection or (stored.selection,)
    return {
        f"K={k} {selection}" if len(selections) > 1 else f"K={k}": replace(base, num_iterations=k, selection=selection)
        for k, selection in product(iterations, selections)
    }


def describe(summary: dict[str, Any]) -> str:
    """The result as a few lines of text."""
    rates = [
        f"{name}: {c['successes']}/{c['episodes']} = {c['success_rate']:.0%} "
        f"[{c['interval_95'][0]:.0%}, {c['interval_95'][1]:.0%}]  "
        f"plan {c['plan_ms_p50']:.0f} ms median, {c['plan_ms_p99']:.0f} ms p99"
        for name, c in summary["conditions"].items()
    ]
    comparisons = [
        f"{pair['second']} against {pair['first']}: +{pair['only_second_succeeded']} "
        f"-{pair['only_first_succeeded']}, McNemar p = {pair['mcnemar_p']:.3f}"
        for pair in summary["comparisons"]
    ]
    return "\n".join(rates + comparisons)


class _Counter:
    """One line per finished trial."""

    def __init__(self, episodes: int) -> None:
        self._episodes = episodes
        self._done: dict[str, list[bool]] = {}

    def __call__(self, condition: str, result: TrialResult) -> None:
        done = self._done.setdefault(condition, [])
        done.append(result.success)
        outcome = "success" if result.success else "failure"
        print(
            f"[{condition}] {len(done)}/{self._episodes} seed {result.seed}: {outcome} in {result.steps} steps; "
            f"{sum(done)} of {len(done)}",
            file=sys.stderr,
            flush=True,
        )


def _make_environment(task: str) -> Any:
    import gymnasium

    from wav_policy.sim import ENVIRONMENTS

    name = next(name for name, its_task in ENVIRONMENTS.items() if its_task == task)
    return gymnasium.make(name, disable_env_checker=True)


def _make_policy(arguments: EvaluateArguments, planner: PlannerConfig) -> WAVPolicy:
    from wav_policy.policy import WAVPolicy

    return WAVPolicy.load(
        arguments.checkpoint, engine=arguments.engine, planner=planner, num_threads=1, dtype=arguments.dtype
    )
