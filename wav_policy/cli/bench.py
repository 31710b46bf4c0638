"""`wav bench planner`, `cost`, `hops`, `cameras`: what plans cost, measured here or counted, what their way takes, and
what cameras cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, Count, Range
from wav_models.progress import progress
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.json_output import say_result
from wav_policy.cli.options import checkpoint_to_load, refuse_idle


@dataclass(frozen=True)
class PlannerArguments:
    """Time plans of a model with random weights, by stage; the medians, and the fraction of this machine's matrix
    product rate they reach."""

    preset: str
    """Preset, or JSON file of shapes."""
    iterations: Count = 1
    """Planning rounds (K)."""
    video_samples: AtLeastOne = 8
    """Futures per round (M)."""
    value_samples: AtLeastOne = 5
    """Value samples per future (N)."""
    dtype: Literal["fp32", "bf16"] = "fp32"
    """Number format of weights and activations."""
    memory: Literal["full", "causal"] = "full"
    """Attention of the memory frames. causal: none to the future; they are encoded once per observation then."""
    threads: AtLeastOne = 2
    """Threads of torch."""
    repeat: AtLeastOne = 3
    """Timed plans."""
    naive: Flag = False
    """Also run the same plan without caches, compare the scores, and print the ratio."""
    compile: Flag = False
    """Run the cached plan through torch.compile (needs a C++ compiler, and minutes before the first plan)."""
    clock: Literal["wall", "cpu"] = "wall"
    """What is counted. cpu: the process's own time, for a machine that is busy otherwise; needs --threads 1."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""


@dataclass(frozen=True)
class CostArguments:
    """Count operations and bytes of plans, and what peak rates bound them to. Computed, not measured."""

    preset: str = "wav-2b"
    """Preset, or JSON file of shapes."""
    plans: tuple[tuple[Count, AtLeastOne, AtLeastOne], ...] = ((1, 8, 5), (3, 8, 5), (1, 30, 5), (3, 30, 5))
    """Triples K M N."""
    training: Flag = False
    """Memory of training on every GPU instead: all stages, sharded or not, activations kept or computed again."""
    gpus: tuple[AtLeastOne, ...] = (1, 8, 64)
    """With --training: numbers of GPUs."""
    samples: AtLeastOne = 4
    """With --training: samples on each GPU at a time."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""


@dataclass(frozen=True)
class HopArguments:
    """From a camera's picture to a CAN frame, per hop, of the system that runs (`wav up ...` in another terminal)."""

    seconds: Annotated[float, Range(1.0, 3600.0)] = 60.0
    """How long it is watched [s]."""
    namespace: str = ""
    """Namespace of the system, such as robot1; empty: it has none."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""


@dataclass(frozen=True)
class CameraArguments:
    """Three cameras into policy_node and recorder_node at once: processor time, pictures lost, their age when used."""

    size: tuple[AtLeastOne, AtLeastOne] = (640, 480)
    """Width and height of the pictures [px]."""
    rate: Annotated[float, Range(1.0, 120.0)] = 30.0
    """Rate of each camera [Hz]."""
    encoding: Literal["rgb8", "jpeg"] = "rgb8"
    """Raw pictures, or compressed ones."""
    seconds: Annotated[float, Range(1.0, 3600.0)] = 30.0
    """How long it is watched [s]."""
    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory of the policy that plans."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""


def planner(argv: list[str]) -> None:
    """`wav bench planner`."""
    arguments = parsed(PlannerArguments, "wav bench planner", argv)
    from wav_models.bench.model_file import load_model
    from wav_models.bench.planner import PlannerBenchmark, run
    from wav_models.bench.report import planner_text

    benchmark = PlannerBenchmark(
        load_model(arguments.preset),
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
    with progress("timing plans") as tell:
        result = run(benchmark, tell)
    say_result(result, planner_text(result), arguments.json)


def cost(argv: list[str]) -> None:
    """`wav bench cost`."""
    arguments = parsed(CostArguments, "wav bench cost", argv)
    from wav_models.bench.cost_table import cost_table
    from wav_models.bench.model_file import load_model
    from wav_models.bench.report import cost_text
    from wav_models.bench.training_memory import training_table, training_text

    if arguments.training:
        refuse_idle(arguments, ["plans"], "--training")
    else:
        refuse_idle(arguments, ("gpus", "samples"), "wav bench cost without --training")
    model = load_model(arguments.preset)
    if not arguments.training:
        result = cost_table(model, arguments.plans)
        say_result(result, cost_text(result), arguments.json)
        return
    table = training_table(model.config, arguments.gpus, arguments.samples)
    say_result(table, training_text(table), arguments.json)


def hops(argv: list[str]) -> None:
    """`wav bench hops`."""
    arguments = parsed(HopArguments, "wav bench hops", argv)
    from wav_policy.experiments.hop_latency import hop_text, measure_hops

    result = measure_hops(arguments.seconds, arguments.namespace)
    say_result(result, hop_text(result), arguments.json)


def cameras(argv: list[str]) -> None:
    """`wav bench cameras`."""
    arguments = parsed(CameraArguments, "wav bench cameras", argv)
    from wav_policy.experiments.camera_load import camera_text, measure_cameras

    checkpoint = checkpoint_to_load(arguments.checkpoint)
    with TemporaryDirectory(prefix="wav-cameras-") as directory:
        result = measure_cameras(
            arguments.size, arguments.rate, arguments.encoding, arguments.seconds, Path(directory), checkpoint
        )
    say_result(result, camera_text(result), arguments.json)
