"""`wav bench latency`: from camera images to an action chunk, stage by stage."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne, Count, NotNegative
from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.cli.json_output import say_result
from wav_policy.cli.options import checkpoint_to_load

if TYPE_CHECKING:
    from wav_policy.experiments.latency_bench import LatencyReport


@dataclass(frozen=True)
class LatencyArguments:
    """Time what lies between three camera images and the published chunk: percentiles, JSON and a plot."""

    checkpoint: Path = Path(DEFAULT_CHECKPOINT)
    """Checkpoint directory."""
    engine: str = "auto"
    """What runs the networks: auto, torch, onnxruntime or tensorrt."""
    dtype: str = "auto"
    """Number format of the networks."""
    plans: AtLeastOne = 100
    """Plans that count."""
    threads: AtLeastOne = 1
    """Threads of the networks."""
    providers: tuple[str, ...] = ()
    """Execution providers of ONNX Runtime, best first; none: CUDA's on a GPU, else the CPU's."""
    compile: Flag = False
    """Compile torch's networks (torch.compile)."""
    cuda_graphs: Flag = False
    """Record GPU work once and replay it."""
    iterations: Count | None = None
    """Rounds (K) instead of the checkpoint's."""
    new_instruction: Flag = False
    """Another instruction for every plan, so that the text encoder runs."""
    imagine_rate: NotNegative = 0.0
    """Imagine beside planning, as the node does while somebody watches; 0: not [Hz]."""
    seed: Count = 0
    """Seed of images and plans."""
    plot: Path | None = None
    """PNG to write."""
    json: Path | None = None
    """Where to write the result; `--json` alone: to standard output."""


def main(argv: list[str]) -> None:
    """Entry point of `wav bench latency`."""
    arguments = parsed(LatencyArguments, "wav bench latency", argv)
    checkpoint = checkpoint_to_load(arguments.checkpoint, arguments.engine, arguments.dtype)
    from wav_models.checkpoint import load_planner_config
    from wav_models.engines.select import EngineOptions
    from wav_policy.experiments.latency_bench import measure_latency
    from wav_policy.policy.wav_policy import WAVPolicy

    planner = load_planner_config(checkpoint)
    if arguments.iterations is not None:
        planner = replace(planner, num_iterations=arguments.iterations)
    began = time.perf_counter()
    with progress("timing plans") as tell:
        policy = WAVPolicy.load(
            checkpoint,
            engine=arguments.engine,
            dtype=arguments.dtype,
            planner=planner,
            num_threads=arguments.threads,
            options=EngineOptions(
                providers=arguments.providers, compile=arguments.compile, cuda_graphs=arguments.cuda_graphs
            ),
        )
        loading = time.perf_counter() - began
        report = measure_latency(
            policy,
            arguments.plans,
            seed=arguments.seed,
            new_instruction=arguments.new_instruction,
            imagine_rate=arguments.imagine_rate,
            on_progress=tell,
        )
    result = {
        "engine": policy.engine.description,
        "planner": {"K": planner.num_iterations, "M": planner.num_video_samples, "N": planner.num_value_samples},
        "plans": arguments.plans,
        "imagine_rate": arguments.imagine_rate,
        "load_s": loading,
        "first_plan_ms": 1e3 * report.total[0],
        "tenth_plan_ms": 1e3 * report.total[min(9, arguments.plans - 1)],
        "milliseconds": report.percentiles(),
    }
    if arguments.plot is not None:
        plot(report, result, arguments.plot)
    say_result(result, latency_text(result), arguments.json)


def latency_text(result: dict[str, Any]) -> str:
    """One line per stage."""
    columns = next(iter(result["milliseconds"].values()))
    lines = [
        f"{result['engine']}",
        f"{counted(result['plans'], 'plan')} of {result['planner']}, [ms]; first "
        f"{result['first_plan_ms']:.1f}, tenth {result['tenth_plan_ms']:.1f}",
        f"{'':<12}" + "".join(f"{name:>10}" for name in columns),
    ]
    for name, values in result["milliseconds"].items():
        lines.append(f"{name:<12}" + "".join(f"{value:>10.2f}" for value in values.values()))
    return "\n".join(lines)


def plot(report: LatencyReport, result: dict[str, Any], path: Path) -> None:
    """Stages as one stacked bar per percentile of the total, beside the distribution of the total."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    order = np.argsort(report.total)
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    labels, picked = [], []
    for percentile in (50, 90, 99):
        labels.append(f"p{percentile}")
        picked.append(order[round(percentile / 100 * (len(order) - 1))])
    start = np.zeros(len(picked))
    for index, (name, values) in enumerate(report.stages.items()):
        widths = 1e3 * np.array([values[i] for i in picked])
        left.barh(labels, widths, left=start, label=name, color=colormaps["tab10"](index))
        start += widths
    left.set_xlabel("milliseconds, plans at these percentiles of the total")
    left.invert_yaxis()
    left.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize="small", frameon=False)
    right.plot(np.arange(1, len(report.total) + 1), 1e3 * np.array(report.total), ".", markersize=4)
    right.set_xlabel("plan")
    right.set_ylabel("camera to action [ms]")
    right.set_ylim(bottom=0)
    sizes = ", ".join(f"{name} = {value}" for name, value in result["planner"].items())
    figure.suptitle(f"{result['engine'].split(' (')[0].split(';')[0]}, {sizes}", fontsize=10)
    figure.savefig(path, format=path.suffix[1:] or "png", dpi=130)
