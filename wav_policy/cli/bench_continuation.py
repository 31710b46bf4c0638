"""`wav bench splices`: ways to continue an action chunk with the next, compared on the simulated robot."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav_models.command_line import parsed
from wav_models.configuration import AtLeastOne, Count, NotNegative, Positive
from wav_models.progress import progress
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.json_output import say_result
from wav_policy.cli.options import checkpoint_to_load

if TYPE_CHECKING:
    from wav_policy.experiments.continuation_trial import ContinuationCondition, ContinuationTrial


@dataclass(frozen=True)
class ContinuationArguments:
    """Episodes in the simulator at control rate, with chunks that take over some time after their observation:
    success, jumps and jerk by method and latency, on the same seeds. Prints a Markdown table."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    task: str = "bowl"
    """Task of the simulator."""
    methods: tuple[str, ...] = ("naive", "fade", "average", "rtc")
    """What is compared. naive: switch at once; fade: fade the disagreement; average: average overlapping chunks, then
    fade; rtc: real-time chunking, then fade."""
    latency_ms: tuple[NotNegative, ...] = (0.0, 100.0, 300.0, 500.0)
    """From the observation to the take-over of its chunk [ms]."""
    episodes: AtLeastOne = 20
    """Episodes per method and latency."""
    seed: Count = 1000
    """First seed."""
    jacobian: str = "unit"
    """Jacobian of the guidance: unit, or network (exact, torch only)."""
    replan_interval: Positive = 0.2
    """Time between plans, where the latency allows it [s]."""
    engine: str = "auto"
    """What runs the networks: auto, torch, onnxruntime or tensorrt."""
    dtype: str = "fp32"
    """Number format of the networks: fp32, bf16, or auto."""
    workers: AtLeastOne = 1
    """Processes, one thread each."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""
    plot: Path | None = None
    """Where to draw it (PNG)."""


def main(argv: list[str]) -> None:
    """Entry point of `wav bench splices`."""
    arguments = parsed(ContinuationArguments, "wav bench splices", argv)
    from wav_policy.experiments.continuation_bench import ContinuationBenchmark, plot, run, table

    benchmark = ContinuationBenchmark(
        checkpoint=checkpoint_to_load(arguments.checkpoint, arguments.engine, arguments.dtype),
        task=arguments.task,
        methods=arguments.methods,
        latencies=tuple(1e-3 * latency for latency in arguments.latency_ms),
        seeds=tuple(range(arguments.seed, arguments.seed + arguments.episodes)),
        jacobian=arguments.jacobian,
        engine=arguments.engine,
        dtype=arguments.dtype,
        replan_interval=arguments.replan_interval,
        num_workers=arguments.workers,
    )
    finished, total = itertools.count(1), len(benchmark.conditions()) * len(benchmark.seeds)
    with progress("episodes") as tell:
        tell(0, total)

        def report(condition: ContinuationCondition, trial: ContinuationTrial) -> None:
            tell(next(finished), total)
            outcome = f"{'success' if trial.success else 'failure'} after {trial.seconds:.1f} s"
            tell.say(f"{condition.name}, {1e3 * condition.latency:.0f} ms, seed {trial.seed}: {outcome}")

        result: dict[str, Any] = run(benchmark, report)
    result["settings"]["checkpoint"] = str(arguments.checkpoint)
    say_result(result, table(result), arguments.json)
    if arguments.plot is not None:
        plot(result, arguments.plot)
