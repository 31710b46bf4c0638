"""`wav bench latency` on a real checkpoint of random weights: everything is counted, and counted once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wav_models.types import Plan
from wav_policy.cli.main import main
from wav_policy.policy.wav_policy import WAVPolicy

pytest.importorskip("rclpy")

from wav_policy.experiments.latency_bench import measure_latency

pytestmark = pytest.mark.ros


def test_stages_add_up_to_the_total_and_everything_is_written(
    random_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--engine", "torch", "--dtype", "fp32", "--plans", "3", "--iterations", "2", "--new-instruction"]
    plot = tmp_path / "latency.png"
    arguments = ["bench", "latency", "--checkpoint", str(random_checkpoint), *options, "--plot", str(plot), "--json"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    times = result["milliseconds"]
    stages = set(times) - {"round", "total"}
    assert stages == {
        "decode",
        "preprocess",
        "text",
        "images",
        "memory",
        "video",
        "value",
        "action",
        "planner",
        "publish",
    }
    assert all(times[name]["p50"] > 0.0 for name in times)
    assert sum(times[name]["p50"] for name in stages) == pytest.approx(times["total"]["p50"], rel=0.3)
    assert times["round"]["p50"] * 2 == pytest.approx(times["video"]["p50"] + times["value"]["p50"], rel=0.3)
    assert result["engine"].startswith("torch fp32")
    assert plot.stat().st_size > 10_000


def test_plans_are_imagined_beside_planning(random_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = WAVPolicy.load(random_checkpoint, engine="torch", num_threads=1)
    monkeypatch.setattr(policy, "warm_up", lambda *_: None)  # it imagines too
    imagined: list[tuple[str, Plan]] = []
    for name in ("imagine", "alternatives"):
        monkeypatch.setattr(policy, name, lambda plan, *_, name=name: imagined.append((name, plan)))
    assert len(measure_latency(policy, 4, imagine_rate=100.0).total) == 4
    assert {name for name, _ in imagined} == {"imagine", "alternatives"}
    assert imagined[-1][1] is not imagined[0][1]
    imagined.clear()
    measure_latency(policy, 2)
    assert not imagined


def test_no_plans_are_refused(random_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "latency", "--checkpoint", str(random_checkpoint), "--plans", "0"]) == 2
    assert "plans is 0; a whole number of at least 1 fits" in capsys.readouterr().err
