"""Counted operations against torch's counter, and the table of the published model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.wav_models.bench.shapes import SMALL
from wav_models.bench.cost import plan_cost, stage_flops, total
from wav_models.bench.cost_table import ACCELERATORS, cost_table, lower_bound
from wav_models.bench.model_file import BenchmarkModel
from wav_models.bench.planner import PlannerBenchmark, TimedPlans
from wav_models.planner.timing import Stopwatch
from wav_models.presets import WAV_2B

PUBLISHED_TABLE = {
    (1, 8, 5): (99, 43.5, 21.4),
    (3, 8, 5): (285, 121, 55),
    (1, 30, 5): (355, 151, 68),
    (3, 30, 5): (1054, 443, 195),
}
"""TFLOP of the published code, with exact caches, and with causal memory besides."""


def _linear_gelu_flops(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * int(torch.Size(x).numel()) * int(weight[0])


def counted(path: Any) -> int:
    fused = {torch.ops.mkldnn._linear_pointwise: _linear_gelu_flops}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=fused) as counter:
        path(Stopwatch())
    return counter.get_total_flops()


@pytest.mark.parametrize("memory", ["full", "causal"])
@pytest.mark.parametrize("num_video_steps", [1, 2])
def test_every_operation_of_both_paths_is_counted(memory: str, num_video_steps: int) -> None:
    model = BenchmarkModel(SMALL, denoise_steps=3, num_video_steps=num_video_steps)
    benchmark = PlannerBenchmark(model, 2, 3, 4, memory=memory, threads=1)
    plans = TimedPlans(benchmark)
    uncached = plan_cost(benchmark.config, benchmark.workload, cached=False)
    assert counted(plans.naive) == total(uncached).flops
    cached = plan_cost(benchmark.config, benchmark.workload, cached=True)
    assert counted(plans.plan) == total(cached).flops - cached["text"].flops  # encoded before the plan
    stages = stage_flops(cached, cached=True)
    assert sum(stages.values()) == counted(plans.plan)


@pytest.mark.parametrize("plan", PUBLISHED_TABLE)
def test_published_model_costs_what_its_table_says(plan: tuple[int, int, int]) -> None:
    (entry,) = cost_table(BenchmarkModel(WAV_2B), [plan])["plans"]
    for form, expected in zip(entry["forms"].values(), PUBLISHED_TABLE[plan], strict=True):
        assert form["total"]["flops"] / 1e12 == pytest.approx(expected, rel=0.015)


def test_weights_are_read_once_per_pass() -> None:
    """Without futures, the bytes are those of one plan of one future: every pass reads its network's weights."""
    benchmark = PlannerBenchmark(BenchmarkModel(WAV_2B), 0, 1, 1)
    costs = plan_cost(benchmark.config, benchmark.workload, cached=True)
    video_weights = 2 * 1.95e9
    assert 0.7 * video_weights < costs["video"].bytes < 1.1 * video_weights
    double = plan_cost(benchmark.config, replace(benchmark.workload, num_video_steps=2), cached=True)
    assert double["video"].bytes == 2 * costs["video"].bytes


def test_bound_is_the_slower_of_arithmetic_and_memory() -> None:
    accelerator = ACCELERATORS[0]
    assert lower_bound(accelerator, int(accelerator.flops), 0) == pytest.approx(1.0)
    assert lower_bound(accelerator, 0, int(2 * accelerator.bandwidth)) == pytest.approx(2.0)


@pytest.mark.parametrize("plan", [(1, 0, 5), (-1, 8, 5), (1, 8, 0)])
def test_impossible_plan_is_refused(plan: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="K >= 0, M >= 1 and N >= 1 fit"):
        cost_table(BenchmarkModel(WAV_2B), [plan])
