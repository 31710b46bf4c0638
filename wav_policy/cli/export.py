"""`wav export`: a checkpoint as compiled graphs, compared with torch if asked."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wav_models.checkpoint import Checkpoint
    from wav_models.engines.parity import Agreement
    from wav_models.planner.config import PlannerConfig


@dataclass(frozen=True)
class ExportArguments:
    """Write the graphs of a checkpoint for one size of the search; sizes that are not given, and all step counts, are
    those of the planner stored with the checkpoint. `--engine onnxruntime` and `auto` find them beside it."""

    checkpoint: Annotated[Path, tyro.conf.Positional]
    """Checkpoint directory."""
    engine: str = "onnxruntime"
    """What shall run the graphs: onnxruntime."""
    precision: str = "fp32"
    """Of weights and arithmetic: fp32."""
    video_samples: int | None = None
    """Futures per round (M)."""
    value_samples: int | None = None
    """Value samples per future (N)."""
    out: Path | None = None
    """Where to write, instead of CHECKPOINT/engines/..."""
    verify: bool = False
    """Compare all graphs, and whole plans, with torch; and measure both on one thread."""
    repeats: int = 10
    """Calls of which the fastest counts, with --verify."""


def main(argv: list[str]) -> int:
    """Entry point of `wav export`; exit code 1 as well if --verify finds a difference."""
    arguments = tyro.cli(ExportArguments, prog="wav export", args=argv)
    from wav_models.checkpoint import CheckpointError
    from wav_models.engines.base import EngineError

    try:
        return _export(arguments)
    except KeyboardInterrupt:
        return 130
    except (CheckpointError, EngineError, ValueError, OSError) as error:
        print(f"wav export: {error}", file=sys.stderr)
        return 1


def _export(arguments: ExportArguments) -> int:
    from wav_models.checkpoint import load_checkpoint
    from wav_models.engines.manifest import PlanShape
    from wav_models.engines.onnx_export import export, export_directory
    from wav_models.engines.select import require_exporter

    require_exporter(arguments.engine)
    checkpoint = load_checkpoint(arguments.checkpoint)
    planner = _planner(arguments)
    shape = PlanShape.of(planner)
    directory = arguments.out or export_directory(arguments.checkpoint, shape, arguments.precision)
    began = time.perf_counter()
    export(
        checkpoint,
        shape,
        directory,
        precision=arguments.precision,
        report=lambda name, seconds: print(f"{name:<16} {seconds:6.1f} s", flush=True),
    )
    print(f"{directory}: written in {time.perf_counter() - began:.0f} s")
    return 0 if not arguments.verify or _verify(checkpoint, directory, planner, arguments.repeats) else 1


def _planner(arguments: ExportArguments) -> PlannerConfig:
    """The checkpoint's planner with the sizes asked for."""
    from wav_policy.policy import stored_planner_config

    stored = stored_planner_config(arguments.checkpoint)
    futures = arguments.video_samples or stored.num_video_samples
    samples = arguments.value_samples or stored.num_value_samples
    return replace(
        stored,
        num_video_samples=futures,
        num_value_samples=samples,
        num_video_elites=min(stored.num_video_elites, futures),
        num_value_elites=min(stored.num_value_elites, futures * samples),
        deadline=None,
    )


def _verify(checkpoint: Checkpoint, directory: Path, planner: PlannerConfig, repeats: int) -> bool:
    """Print what differs and what takes how long; whether everything is equal."""
    import torch

    from wav_models.engines.manifest import read_manifest
    from wav_models.engines.onnx_engine import OnnxEngine
    from wav_models.engines.parity import Trial, compare_graphs, compare_plans, measure
    from wav_models.engines.torch_engine import TorchEngine
    from wav_models.networks.text_encoder import make_text_encoder

    torch.set_num_threads(1)
    text_encoder = make_text_encoder(checkpoint.config)
    parts = (checkpoint.model, checkpoint.autoencoder, text_encoder)
    reference = TorchEngine(*parts)
    engine = OnnxEngine(directory, read_manifest(directory), checkpoint.config, text_encoder, num_threads=1)
    trial = Trial.draw(engine, checkpoint.normalization, planner)
    agreements = compare_graphs(reference, engine, trial)
    plans = compare_plans(reference, engine, trial)
    engines = (reference, TorchEngine(*parts, dtype="bf16"), engine)
    print_table(agreements, measure(engines, trial, repeats))
    equal = plans.equal and all(a.equal for a in agreements.values())
    elites = "the same elites" if plans.same_elites else "OTHER ELITES"
    print(f"plans, K = {planner.num_iterations}: {elites}, action tokens differ by at most {plans.chunk_error:.1e}")
    print("equal to torch within the tolerances" if equal else "NOT EQUAL to torch: do not use these graphs")
    return equal


def print_table(agreements: dict[str, Agreement], times: list[dict[str, float]]) -> None:
    """One line per graph: difference from torch fp32, then the times of torch fp32, torch bf16 and ONNX Runtime."""
    print(f"{'':<16}{'max error':>11}{'cosine':>11}{'torch fp32':>13}{'torch bf16':>13}{'onnxruntime':>13}")
    for name in times[0]:
        found = agreements.get(name)
        difference = f"{found.max_error:>11.1e}{found.cosine:>11.6f}" if found else " " * 22
        print(f"{name:<16}{difference}" + "".join(f"{1e3 * t[name]:>10.1f} ms" for t in times))
