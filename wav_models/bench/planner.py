"""Plans of a model with random weights, timed by stage; on request the same plan without caches, in the same run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any, Final

import numpy as np
import torch

from wav_models.bench.cost import Workload, plan_cost, stage_flops
from wav_models.bench.model_file import BenchmarkModel
from wav_models.bench.naive import NaiveEngine
from wav_models.bench.subject import SEED, Subject, published_planner
from wav_models.engines.torch_engine import DTYPES
from wav_models.engines.weights import with_weights_in
from wav_models.networks.random_weights import random_model
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.timing import Stopwatch
from wav_models.presets import ModelConfig

CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}
MEMORY: Final = ("full", "causal")
STAGES: Final = ("memory", "video", "value", "action")
SCORE_TOLERANCE: Final = {"fp32": 1e-3, "bf16": 0.15}
"""Largest accepted difference of a score with and without caches, as a fraction of the scores' standard deviation."""
GEMM_SIZE: Final = 2048
"""Edge of the square matrices: large enough for full speed, small enough for a fraction of a second."""


@dataclass(frozen=True)
class PlannerBenchmark:
    """What to run.

    Attributes:
        memory: "full": memory and future attend to each other; "causal": memory does not attend to the future.
        dtype: of weights and activations, "fp32" or "bf16".
        threads: of torch.
        repeat: timed plans; medians are reported. One more runs before them, untimed.
        naive: also run without caches.
        clock: "wall", or "cpu": the process's own time, for a machine that is busy with something else; one thread.
        compile: run the cached plan's networks through torch.compile, which fuses what lies between matrix products.
    """

    model: BenchmarkModel
    num_iterations: int
    num_video_samples: int
    num_value_samples: int
    dtype: str = "fp32"
    memory: str = "full"
    threads: int = 2
    repeat: int = 3
    naive: bool = False
    clock: str = "wall"
    compile: bool = False

    def __post_init__(self) -> None:
        for name in ("threads", "repeat"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; an integer >= 1 fits")
        for name, valid in (("dtype", tuple(SCORE_TOLERANCE)), ("memory", MEMORY), ("clock", tuple(CLOCKS))):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {' or '.join(valid)} fits")
        if self.clock == "cpu" and self.threads > 1:
            raise ValueError(f"threads is {self.threads}; the cpu clock adds up all threads, 1 fits")
        _ = self.planner  # its own checks

    @property
    def config(self) -> ModelConfig:
        video = replace(self.model.config.video, causal_memory=self.memory == "causal")
        return replace(self.model.config, video=video)

    @property
    def planner(self) -> PlannerConfig:
        model = self.model
        sizes = self.num_iterations, self.num_video_samples, self.num_value_samples
        return published_planner(*sizes, model.denoise_steps, model.num_video_steps)

    @property
    def workload(self) -> Workload:
        return Workload(
            self.num_iterations,
            self.num_video_samples,
            self.num_value_samples,
            self.model.denoise_steps,
            self.model.num_video_steps,
        )


class CachesDifferError(RuntimeError):
    """A plan's scores with and without caches are not the same."""


def run(
    benchmark: PlannerBenchmark, on_progress: Callable[[int, int, str], None] = lambda done, total, note: None
) -> dict[str, Any]:
    """Run the benchmark; the result is plain data for JSON (docs/benchmarks.md describes its keys).

    Args:
        on_progress: is told how many plans of how many are made, and what comes next: a large model takes minutes.

    Raises:
        CachesDifferError: the naive plan's scores differ from the cached one's.
    """
    torch.set_num_threads(benchmark.threads)
    load = os.getloadavg()[0]
    timed = TimedPlans(benchmark)
    paths: dict[str, Callable[[Stopwatch], LatentPlan]] = {"cached": timed.plan}
    if benchmark.naive:
        paths["naive"] = timed.naive
    on_progress(0, benchmark.repeat + 1, "a plan to warm up")
    plans = {name: path(Stopwatch()) for name, path in paths.items()}
    difference = _require_same_scores(plans["cached"], plans["naive"], benchmark.dtype) if benchmark.naive else None
    seconds, rate = _time(paths, benchmark, on_progress)
    result: dict[str, Any] = {
        "model": benchmark.model.config.name,
        "plan": asdict(benchmark.workload),
        **{name: getattr(benchmark, name) for name in ("dtype", "memory", "threads", "repeat", "clock", "compile")},
        "gemm_flops_per_second": rate,
        "machine": {"cpus": os.cpu_count(), "load_before": load, "torch": torch.__version__},
        "text_seconds": timed.text_seconds,
    }
    for name in paths:
        cached = name == "cached"
        flops = stage_flops(plan_cost(benchmark.config, benchmark.workload, cached=cached), cached=cached)
        result[name] = _summary(seconds[name], flops, rate)
    if benchmark.naive:
        pairs = zip(seconds["naive"], seconds["cached"], strict=True)
        result["speedup"] = median(sum(naive.values()) / sum(cached.values()) for naive, cached in pairs)
        result["score_difference"] = difference
    return result


def _time(
    paths: Mapping[str, Callable[[Stopwatch], LatentPlan]],
    benchmark: PlannerBenchmark,
    on_progress: Callable[[int, int, str], None],
) -> tuple[dict[str, list[dict[str, float]]], float]:
    """Seconds by stage of every repeat, paths in turns, and the best matrix product rate measured between them."""
    clock = CLOCKS[benchmark.clock]
    seconds: dict[str, list[dict[str, float]]] = {name: [] for name in paths}
    rates = []
    for number in range(1, benchmark.repeat + 1):
        on_progress(number, benchmark.repeat + 1, "")
        for name, path in paths.items():
            rates.append(gemm_rate(DTYPES[benchmark.dtype], clock=clock))
            stopwatch = Stopwatch(clock)
            path(stopwatch)
            seconds[name].append(stopwatch.seconds)
    return seconds, max(rates)


def gemm_rate(dtype: torch.dtype, num_runs: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """Operations per second of a square matrix product with torch's current number of threads: the fastest run."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(GEMM_SIZE, GEMM_SIZE, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty(GEMM_SIZE, GEMM_SIZE, dtype=dtype)
    torch.mm(left, right, out=out)  # the first call plans and allocates
    fastest = float("inf")
    for _ in range(num_runs):
        start = clock()
        torch.mm(left, right, out=out)
        fastest = min(fastest, clock() - start)
    return 2 * GEMM_SIZE**3 / fastest


class TimedPlans(Subject):
    """A model, an observation of it, and the two ways to plan."""

    def __init__(self, benchmark: PlannerBenchmark) -> None:
        dtype, generator = DTYPES[benchmark.dtype], torch.Generator().manual_seed(SEED)
        model = with_weights_in(random_model(benchmark.config, generator), dtype)
        super().__init__(model, benchmark.planner, dtype=benchmark.dtype, compile=benchmark.compile)
        self._naive = NaiveEngine(model)
        start = time.perf_counter()
        self.engine.encode_text("instruction")
        self.text_seconds = time.perf_counter() - start

    def naive(self, stopwatch: Stopwatch) -> LatentPlan:
        return self.plan_with(self._naive, self.observed, stopwatch)


def _summary(runs: list[dict[str, float]], flops: dict[str, int], rate: float) -> dict[str, Any]:
    """Medians over the runs, and what fraction of the machine's matrix product rate they reach."""
    stages = [stage for stage in STAGES if flops[stage]]
    seconds = {stage: median(run[stage] for run in runs) for stage in stages}
    seconds["total"] = median(sum(run.values()) for run in runs)
    counted = {stage: flops[stage] for stage in stages} | {"total": sum(flops.values())}
    return {
        "seconds": seconds,
        "flops": counted,
        "gemm_fraction": {stage: counted[stage] / seconds[stage] / rate for stage in seconds},
    }


def _require_same_scores(cached: LatentPlan, naive: LatentPlan, dtype: str) -> float | None:
    """Largest difference of a first-round score, in standard deviations of the scores; None without rounds.

    Later rounds start from refitted noise: where two futures score all but the same, rounding may swap them.
    """
    if not cached.rounds:
        return None
    first, second = cached.rounds[0].pair_score, naive.rounds[0].pair_score
    difference = float(np.abs(first - second).max() / max(np.std(second), np.finfo(np.float32).tiny))
    if not difference <= SCORE_TOLERANCE[dtype]:
        raise CachesDifferError(
            f"scores with and without caches differ by {difference:.2g} standard deviations; "
            f"{dtype} allows {SCORE_TOLERANCE[dtype]:g}: a cache of the engine is wrong"
        )
    return difference
