"""`wav bench`: what a plan costs, measured on this machine (`planner`) or counted from the shapes (`cost`)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from wav_policy.cli.bench_continuation import ContinuationArguments, run_continuation
from wav_policy.cli.bench_latency import LatencyArguments, run_latency

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]


@dataclass(frozen=True)
class PlannerArguments:
    """Time plans of a model with random weights, by stage; the medians, and the fraction of this machine's matrix
    product rate they reach."""

    model_config: str
    """JSON file of shapes, or a preset."""
    iterations: int = 1
    """Planning rounds (K)."""
    video_samples: int = 8
    """Futures per round (M)."""
    value_samples: int = 5
    """Value samples per future (N)."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Of weights and activations."""
    memory: Literal["full", "causal"] = "full"
    """causal: memory does not attend to the future, and is encoded once per observation."""
    threads: int = 2
    """Of torch."""
    repeat: int = 3
    """Timed plans."""
    naive: Flag = False
    """Also run the same plan without caches, compare the scores, and print the ratio."""
    compile: Flag = False
    """Run the cached plan through torch.compile (needs a C++ compiler, and minutes before the first plan)."""
    clock: Literal["wall", "cpu"] = "wall"
    """cpu: count the process's own time, where the machine is busy with something else; needs --threads 1."""
    json: Flag = False
    """Print JSON."""


@dataclass(frozen=True)
class CostArguments:
    """Count operations and bytes of plans, and what peak rates bound them to. Computed, not measured."""

    preset: str = "wav-2b"
    """Preset, or JSON file of shapes."""
    plans: tuple[tuple[int, int, int], ...] = ((1, 8, 5), (3, 8, 5), (1, 30, 5), (3, 30, 5))
    """Triples K M N."""
    training: Flag = False
    """Memory of training on every GPU instead: all stages, sharded or not, activations kept or computed again."""
    gpus: tuple[int, ...] = (1, 8, 64)
    """With --training: numbers of GPUs."""
    samples: int = 4
    """With --training: samples on each GPU at a time."""
    json: Flag = False
    """Print JSON."""


@dataclass(frozen=True)
class HopArguments:
    """From a camera's picture to a CAN frame, per hop, of the system that runs (`wav up ...` in another terminal)."""

    seconds: float = 60.0
    """How long it is watched [s]."""
    namespace: str = ""
    """Of the system."""


SUB_COMMANDS: dict[str, Callable[..., Any]] = {
    "planner": PlannerArguments,
    "cost": CostArguments,
    "splices": ContinuationArguments,
    "latency": LatencyArguments,
    "hops": HopArguments,
}


def main(argv: list[str]) -> int:
    """Entry point of `wav bench`."""
    arguments: Any = tyro.extras.subcommand_cli_from_dict(SUB_COMMANDS, prog="wav bench", args=argv)
    try:
        if isinstance(arguments, PlannerArguments):
            return _planner(arguments)
        if isinstance(arguments, ContinuationArguments):
            return run_continuation(arguments)
        if isinstance(arguments, LatencyArguments):
            return run_latency(arguments)
        if isinstance(arguments, HopArguments):
            return _hops(arguments)
        return _cost(arguments)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"wav bench: {error}", file=sys.stderr)
        return 1


def _hops(arguments: HopArguments) -> int:
    from wav_policy.experiments.hop_latency import hops_text, measure_hops

    if not 1.0 <= arguments.seconds <= 3600.0:
        raise ValueError(f"seconds is {arguments.seconds}; 1 to 3600 fits")
    print(hops_text(measure_hops(arguments.seconds, arguments.namespace)))
    return 0


def _planner(arguments: PlannerArguments) -> int:
    from wav_models.bench.model_file import load_model
    from wav_models.bench.planner import CachesDifferError, PlannerBenchmark, run
    from wav_models.bench.report import planner_text

    benchmark = PlannerBenchmark(
        load_model(arguments.model_config),
        arguments.iterations,
        arguments.video_samples,
        arguments.value_samples,
        dtype=arguments.dtype,
        memory=arguments.memory,
        threads=arguments.threads,
        repeat=arguments.repeat,
        naive=arguments.naive,
        clock=arguments.clock,
        compile=arguments.compile,
    )
    try:
        result = run(benchmark)
    except CachesDifferError as error:
        print(f"wav bench planner: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result, indent=2) if arguments.json else planner_text(result))
    return 0


def _training(arguments: CostArguments) -> int:
    from wav_models.bench.model_file import load_model
    from wav_models.bench.training_memory import training_table, training_text

    if arguments.samples < 1 or min(arguments.gpus, default=0) < 1:
        raise ValueError(f"gpus is {arguments.gpus}, samples {arguments.samples}; integers >= 1 fit")
    table = training_table(load_model(arguments.preset).config, arguments.gpus, arguments.samples)
    print(json.dumps(table, indent=2) if arguments.json else training_text(table))
    return 0


def _cost(arguments: CostArguments) -> int:
    from wav_models.bench.cost_table import cost_table
    from wav_models.bench.model_file import load_model
    from wav_models.bench.report import cost_text

    if arguments.training:
        return _training(arguments)
    result = cost_table(load_model(arguments.preset), arguments.plans)
    print(json.dumps(result, indent=2) if arguments.json else cost_text(result))
    return 0
