"""`wav export`: a checkpoint as compiled graphs, compared with torch if asked."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, check_choice
from wav_models.endings import FAILED, OK
from wav_models.engines.names import RUNTIMES
from wav_models.progress import Tell, progress
from wav_policy.bringup.paths import find_checkpoint
from wav_policy.cli.options import refuse_idle

if TYPE_CHECKING:
    from wav_models.checkpoint import Checkpoint
    from wav_models.engines.export import ExportTarget
    from wav_models.engines.parity import Agreement
    from wav_models.planner.config import PlannerConfig


@dataclass(frozen=True)
class ExportArguments:
    """Write the graphs of a checkpoint for one size of the search; sizes that are not given, and all step counts, are
    those of the planner stored with the checkpoint. The engines find them beside it."""

    checkpoint: Path | None = None
    """Checkpoint directory."""
    engine: str = "onnxruntime"
    """What shall run the graphs: onnxruntime or tensorrt."""
    precision: str = "fp32"
    """Number format of weights and arithmetic: fp32, fp16; int8 with onnxruntime; bf16 with tensorrt."""
    video_samples: AtLeastOne | None = None
    """Futures per round (M)."""
    value_samples: AtLeastOne | None = None
    """Value samples per future (N)."""
    out: Path | None = None
    """Where to write, instead of CHECKPOINT/engines/..."""
    verify: Flag = False
    """Compare all graphs, and whole plans, with torch; and measure them."""
    repeat: AtLeastOne = 10
    """Calls of which the fastest counts, with --verify."""
    threads: AtLeastOne = 1
    """Threads of all engines, with --verify."""
    pretrained: Path | None = None
    """Local LTX-Video directory, for checkpoints that use its auto-encoder and T5."""
    preset: str | None = None
    """Instead of a checkpoint: random weights in the shapes of a preset, to see what an export takes."""
    graphs: tuple[str, ...] = ()
    """Only these graphs."""


def main(argv: list[str]) -> int:
    """Entry point of `wav export`; exit code 1 if --verify finds a difference."""
    arguments = parsed(ExportArguments, "wav export", argv)
    if (arguments.checkpoint is None) == (arguments.preset is None):
        raise ConfigurationError("give --checkpoint DIRECTORY, or --preset NAME with --out DIRECTORY")
    if arguments.preset is not None and arguments.verify:
        raise ConfigurationError("--verify is for a --checkpoint: nothing follows from random weights")
    if arguments.preset is not None:
        refuse_idle(arguments, ["pretrained"], "--preset")
    if not arguments.verify:
        refuse_idle(arguments, ("repeat", "threads"), "wav export without --verify")
    checkpoint = arguments.checkpoint and find_checkpoint(arguments.checkpoint)
    check_choice("engine", arguments.engine, RUNTIMES)
    from wav_models.engines.runtimes import get_runtime

    runtime = get_runtime(arguments.engine)
    check_choice(f"precision of {runtime.name}", arguments.precision, runtime.precisions)
    runtime.require()
    if checkpoint is not None:
        return _export_checkpoint(arguments, checkpoint)
    assert arguments.preset is not None
    _export_random(arguments, arguments.preset)
    return OK


def _export_checkpoint(arguments: ExportArguments, path: Path) -> int:
    from wav_models.checkpoint import load_checkpoint
    from wav_models.engines.export import export, export_directory

    print(f"loading {path}", flush=True)
    checkpoint = load_checkpoint(path, autoencoder_directory=arguments.pretrained)
    planner = _with_sizes(checkpoint.planner, arguments)
    target = _target(arguments, planner)
    directory = arguments.out or export_directory(checkpoint.directory, target)
    with progress("graphs") as tell, _Report(directory, tell) as report:
        manifest = export(checkpoint, target, directory, only=arguments.graphs, report=report)
    print(f"for engine auto: {manifest.measured.described(f'{target.engine} {target.precision}')}")
    return OK if not arguments.verify or _verify(checkpoint, directory, planner, arguments) else FAILED


def _export_random(arguments: ExportArguments, preset: str) -> None:
    import torch

    from wav_models.engines.export import export_model
    from wav_models.networks.random_weights import random_autoencoder, random_model
    from wav_models.planner.config import PlannerConfig
    from wav_models.presets import get_preset

    if arguments.out is None:
        raise ConfigurationError("--preset needs --out")
    config = get_preset(preset)
    planner = _with_sizes(PlannerConfig(num_value_steps=10, num_action_steps=10), arguments)
    target = _target(arguments, planner)
    model = random_model(config, torch.Generator().manual_seed(0), target.dtype)
    with progress("graphs") as tell, _Report(arguments.out, tell) as report:
        export_model(
            model,
            random_autoencoder(config),
            f"random weights of {preset}",
            target,
            arguments.out,
            only=arguments.graphs,
            report=report,
        )


class _Report:
    """Prints graphs as they are finished, then time, memory and size of all."""

    def __init__(self, directory: Path, tell: Tell) -> None:
        self._directory = directory
        self._tell = tell
        self._began = self._last = time.perf_counter()

    def __enter__(self) -> _Report:
        return self

    def __call__(self, name: str, number: int, total: int) -> None:
        self._tell(number, total)
        before, self._last = self._last, time.perf_counter()
        seconds, memory = self._last - before, _peak_gigabytes()
        print(f"{number} of {total}  {name:<16} {seconds:6.1f} s   peak memory {memory:.1f} GB", flush=True)

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:
            size = sum(file.stat().st_size for file in self._directory.iterdir()) / 1e6
            seconds = time.perf_counter() - self._began
            print(f"{self._directory}: {size:.0f} MB, written in {seconds:.0f} s")


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _target(arguments: ExportArguments, planner: PlannerConfig) -> ExportTarget:
    from wav_models.engines.export import ExportTarget
    from wav_models.engines.manifest import PlanShape

    return ExportTarget(arguments.engine, arguments.precision, PlanShape.of(planner))


def _with_sizes(stored: PlannerConfig, arguments: ExportArguments) -> PlannerConfig:
    return replace(stored.with_samples(arguments.video_samples, arguments.value_samples), deadline=None)


def _verify(checkpoint: Checkpoint, directory: Path, planner: PlannerConfig, arguments: ExportArguments) -> bool:
    """Print what differs and what takes how long; whether everything is within the tolerance of the precision."""
    import torch

    from wav_models.engines.base import EngineOptions
    from wav_models.engines.parity import TOLERANCES, Trial, compare_graphs, compare_plans, measure
    from wav_models.engines.runtimes import load_engine
    from wav_models.engines.torch_engine import TorchEngine
    from wav_models.networks.text_encoder import make_text_encoder

    torch.set_num_threads(arguments.threads)
    text_encoder = make_text_encoder(checkpoint.config, arguments.pretrained)
    parts = (checkpoint.model, checkpoint.autoencoder, text_encoder)
    reference, half = TorchEngine(*parts), TorchEngine(*parts, dtype="bf16")
    engine = load_engine(directory, checkpoint, text_encoder, EngineOptions(num_threads=arguments.threads))
    trial = Trial.draw(engine, checkpoint.normalization, planner)
    tolerance = TOLERANCES[engine.precision]
    engines = (reference, half, engine)
    clock = time.process_time if arguments.threads == 1 and engine.name == "onnxruntime" else time.perf_counter
    with progress("comparing with torch") as tell:
        tell(0, 4)
        agreements = compare_graphs(reference, engine, trial)
        tell(1, 4)
        times = measure(engines, trial, arguments.repeat, clock=clock)
        tell(2, 4)
        plans = {}
        for compared in (half, engine):
            plans[compared.description] = compare_plans(reference, compared, trial)
            tell(2 + len(plans), 4)
    print_table(agreements, [e.description for e in engines], times)
    for name, same in plans.items():
        print(
            f"plans of {name} against torch fp32, K = {planner.num_iterations}: {same.elites:.0%} of the elites are "
            f"the same, action tokens differ by at most {same.chunk_error:.1e} standard deviations"
        )
    equal = all(found.within(tolerance) for found in agreements.values()) and plans[engine.description].within(
        tolerance
    )
    print(f"tolerance: {tolerance}")
    print("equal to torch within the tolerance" if equal else "NOT EQUAL to torch: do not use these graphs")
    return equal


def print_table(
    agreements: Mapping[str, Agreement], names: Sequence[str], times: Sequence[Mapping[str, float]]
) -> None:
    """One line per graph: difference of the last engine from the first, then the times of all."""
    print(f"{'':<18}{'max error':>11}{'cosine':>11}" + "".join(f"{name:>18}" for name in names))
    for name in times[0]:
        found = agreements.get(name)
        difference = f"{found.max_error:>11.1e}{found.cosine:>11.6f}" if found else " " * 22
        print(f"{name:<18}{difference}" + "".join(f"{1e3 * t[name]:>15.1f} ms" for t in times))
