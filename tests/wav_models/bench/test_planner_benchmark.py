"""The plan without caches is the same plan; the files and results of `wav bench`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.wav_models.bench.shapes import SMALL, small_file
from wav_models.bench.model_file import BenchmarkModel, load_model
from wav_models.bench.naive import NaiveEngine
from wav_models.bench.planner import CachesDifferError, PlannerBenchmark, TimedPlans, gemm_rate, run
from wav_models.planner.timing import Stopwatch
from wav_models.presets import get_preset
from wav_policy.cli.main import main

MODEL = BenchmarkModel(SMALL, denoise_steps=3)


def write(path: Path, data: dict[str, Any]) -> str:
    path.write_text(json.dumps(data))
    return str(path)


@pytest.mark.parametrize("memory", ["full", "causal"])
@pytest.mark.parametrize("num_video_steps", [1, 2])
def test_plan_without_caches_is_the_same(memory: str, num_video_steps: int) -> None:
    """Scores of every round, actions and values: caches change no number."""
    model = BenchmarkModel(SMALL, denoise_steps=3, num_video_steps=num_video_steps)
    plans = TimedPlans(PlannerBenchmark(model, 2, 5, 3, memory=memory, threads=1))
    cached, naive = plans.plan(Stopwatch()), plans.naive(Stopwatch())
    for one, other in zip(cached.rounds, naive.rounds, strict=True):
        assert one.pair_score == pytest.approx(other.pair_score, abs=1e-4)
        assert one.pair_score.std() > 0.01
    torch.testing.assert_close(cached.actions, naive.actions, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(cached.values, naive.values, atol=1e-4, rtol=1e-4)


DTYPES = ["fp32"] if torch.backends.cpu.get_cpu_capability() == "AVX2" else ["fp32", "bf16"]
"""bf16 takes minutes where it is imitated."""


def test_the_shipped_benchmark_file_has_the_papers_horizons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`config/bench_scaled.json`, which docs/benchmarks.md measures with, from anywhere."""
    monkeypatch.chdir(tmp_path)
    horizon = load_model("config/bench_scaled.json").config.horizon
    assert (horizon.action_horizon, horizon.value_horizon) == (54, 54)


def test_wrong_cache_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    imagine = NaiveEngine.imagine
    monkeypatch.setattr(NaiveEngine, "imagine", lambda *a: tuple(x.flip(0) for x in imagine(*a)))
    with pytest.raises(CachesDifferError, match="standard deviations"):
        run(PlannerBenchmark(MODEL, 1, 4, 2, threads=1, repeat=1, naive=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory", ["full", "causal"])
def test_command_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str, memory: str) -> None:
    file = write(tmp_path / "small.json", small_file())
    arguments = ["--iterations", "1", "--video-samples", "4", "--value-samples", "2", "--threads", "1"]
    flags = ["--dtype", dtype, "--memory", memory, "--repeat", "2", "--json", "--naive"]
    assert main(["bench", "planner", "--preset", file, *arguments, *flags]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["plan"] == {
        "num_iterations": 1,
        "num_video_samples": 4,
        "num_value_samples": 2,
        "denoise_steps": 3,
        "num_video_steps": 1,
    }
    for part in (result["cached"], result["naive"]):
        for quantity in ("seconds", "flops", "gemm_fraction"):
            assert {"video", "value", "action", "total"} <= set(part[quantity])
            assert all(number > 0 for number in part[quantity].values())
        assert part["flops"]["total"] == sum(n for stage, n in part["flops"].items() if stage != "total")
    assert ("memory" in result["cached"]["seconds"]) == (memory == "causal")
    assert result["naive"]["flops"]["total"] > result["cached"]["flops"]["total"]
    assert result["speedup"] > 0
    assert result["gemm_flops_per_second"] > 0


def test_cost_command_prints_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "cost", "--plans", "1", "8", "5"]) == 0
    assert "computed, not measured" in capsys.readouterr().out
    assert main(["bench", "cost", "--plans", "1", "8", "5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["computed_not_measured"] is True
    assert set(result["plans"][0]["forms"]) == {"published", "exact", "causal"}


def test_file_becomes_the_configuration(tmp_path: Path) -> None:
    model = load_model(write(tmp_path / "small.json", small_file()))
    config = model.config
    assert (config.num_memory_frames, config.num_future_frames, config.num_tokens_per_frame) == (2, 3, 6)
    assert (config.text.max_tokens, config.horizon.action_horizon, config.horizon.value_horizon) == (6, 5, 7)
    assert (config.value.out_channels, config.action.out_channels, model.denoise_steps) == (17, 28, 3)
    assert load_model("wav-2b").config == get_preset("wav-2b")


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ((), "view", 3, "unknown key 'view'; did you mean 'views'"),
        (("video",), "num_layer", 3, "video: unknown key 'num_layer'; did you mean 'num_layers'"),
        ((), "views", 2, "views is 2, video.max_view 3"),
        ((), "memory_frames", 0, "memory_frames is 0; a whole number of at least 1 fits"),
        (("value",), "in_channels", "17", "value.in_channels is '17', a text; a whole number of at least 1 fits"),
        ((), "tokens_per_frame", [8], r"tokens_per_frame is \[8\]"),
        (("video",), "cross_attention_dim", 64, "cross_attention_dim is 64; 32 fits"),
    ],
)
def test_file_that_does_not_fit_is_refused(
    tmp_path: Path, place: tuple[str, ...], key: str, value: Any, message: str
) -> None:
    data = small_file()
    section = data
    for name in place:
        section = section[name]
    section[key] = value
    with pytest.raises(ValueError, match=message):
        load_model(write(tmp_path / "small.json", data))


def test_missing_key_is_named(tmp_path: Path) -> None:
    data = small_file()
    del data["denoise_steps"]
    with pytest.raises(ValueError, match="denoise_steps"):
        load_model(write(tmp_path / "small.json", data))


def test_command_reports_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "small.json", {**small_file(), "view": 3})
    assert main(["bench", "planner", "--preset", file]) == 2
    assert "unknown key 'view'" in capsys.readouterr().err
    assert main(["bench", "planner", "--preset", "wav-2c"]) == 2
    assert "did you mean 'wav-2b'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("repeat", 0, "repeat is 0; an integer >= 1 fits"),
        ("dtype", "fp8", "dtype is 'fp8'; fp32 or bf16 fits"),
        ("memory", "none", "memory is 'none'; full or causal fits"),
        ("num_video_samples", 0, "num_video_samples is 0"),
        ("clock", "cpu", "threads is 2; the cpu clock adds up all threads, 1 fits"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(argument: str, value: Any, message: str) -> None:
    counts = {"num_iterations": 1, "num_video_samples": 4, "num_value_samples": 2}
    with pytest.raises(ValueError, match=message):
        PlannerBenchmark(MODEL, **(counts | {argument: value}))


def test_matrix_product_rate_is_plausible() -> None:
    assert 1e9 < gemm_rate(torch.float32, num_runs=1) < 1e14
