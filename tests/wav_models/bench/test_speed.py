"""What makes a CPU faster changes no number."""

from __future__ import annotations

import pytest
import torch

from tests.wav_models.bench.shapes import SMALL
from wav_models.bench.model_file import BenchmarkModel
from wav_models.bench.planner import PlannerBenchmark, TimedPlans
from wav_models.engines import torch_engine
from wav_models.networks.blocks import FeedForward
from wav_models.planner.timing import Stopwatch


@pytest.mark.parametrize("memory", ["full", "causal"])
@pytest.mark.parametrize("activations", [1, 5800], ids=["one by one", "uneven"])
def test_futures_imagined_in_parts_are_those_of_one_batch(
    monkeypatch: pytest.MonkeyPatch, memory: str, activations: int
) -> None:
    benchmark = PlannerBenchmark(BenchmarkModel(SMALL, denoise_steps=3), 2, 5, 3, memory=memory, threads=1)
    whole = TimedPlans(benchmark).plan(Stopwatch())
    monkeypatch.setattr(torch_engine, "CPU_ACTIVATIONS", activations)
    parted = TimedPlans(benchmark).plan(Stopwatch())
    for one, other in zip(whole.rounds, parted.rounds, strict=True):
        assert one.pair_score == pytest.approx(other.pair_score, abs=1e-4)
    torch.testing.assert_close(whole.actions, parted.actions, atol=1e-4, rtol=1e-4)


def test_size_of_a_part_follows_the_shapes() -> None:
    tokens = 3 * 5 * 6
    cpu = torch.device("cpu")
    assert torch_engine._futures_at_once(SMALL, cpu) == torch_engine.CPU_ACTIVATIONS // (tokens * 32)
    assert torch_engine._futures_at_once(SMALL, torch.device("cuda")) > 1e6


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2e-2)])
def test_fused_feed_forward_equals_the_differentiable_one(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    layer = FeedForward(48).to(dtype)
    x = 3.0 * torch.randn(2, 3, 7, 48, dtype=dtype)
    expected = layer(x)
    assert expected.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected.detach(), atol=tolerance, rtol=tolerance)


def test_exported_feed_forward_has_portable_operators() -> None:
    with torch.no_grad():
        exported = torch.export.export(FeedForward(8).eval(), (torch.randn(2, 8),))
    names = [str(node.target) for node in exported.graph.nodes]
    assert any("gelu" in name for name in names)
    assert not any("mkldnn" in name for name in names)
