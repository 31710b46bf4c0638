"""Numbers reach the trackers that were asked for, and no other one is imported."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import Mock

import pytest

from tests.wav_models.training.recorded import wav_train
from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.loop import Budget, train
from wav_models.training.randomness import RngStreams
from wav_models.training.stage_table import make_stage
from wav_models.training.trackers import tracking


class Wandb(ModuleType):
    """What accelerate uses of the package."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.Error = RuntimeError
        self.options: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []

    def init(self, **options: Any) -> Wandb:
        self.options = options
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.options["finished"] = True


def test_a_stages_losses_and_metrics_are_tracked(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    lines: list[str] = []
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    stage = make_stage("video", model, batches, TrainConfig(), lambda: {"video_loss@0": 0.5})
    with tracking(("tensorboard", "wandb"), tmp_path / "run", "video", {"seed": 3}) as track:
        train(stage, loop_config, Budget(steps=2), 0, tmp_path / "s.safetensors", track=track, report=lines.append)
    assert wandb.options["config"] == {"seed": 3}
    assert (wandb.options["group"], wandb.options["finished"]) == ("run", True)
    (step, losses), (_, metrics) = wandb.logged
    assert (step, metrics) == (2, {"video/video_loss@0": 0.5})
    assert losses.keys() == {"video/loss", "video/samples_per_s", "video/waiting"}
    assert 0.0 < losses["video/waiting"] < 1.0
    assert "training begins" in lines[0]
    assert f"{losses['video/samples_per_s']:.1f} samples/s" in lines[1]
    assert [line.rpartition("] ")[2].partition(":")[0] for line in lines[2:]] == [
        "looking at held-out observations",
        "held out",
    ]
    assert [path.name[:6] for path in (tmp_path / "run/tensorboard/video").iterdir()] == ["events"]


def test_a_missing_package_is_named_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    nowhere = ["--data", str(tmp_path / "data"), "--out", str(tmp_path), "--config", str(tmp_path / "run.yaml")]
    assert wav_train(["video", *nowhere, "--steps", "1", "--trackers", "wandb"]) == 2
    assert "tracker wandb: its package is not installed; pip install wandb" in capsys.readouterr().err


def test_why_no_run_begins_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(wandb, "init", Mock(side_effect=wandb.Error("No API key configured.")))
    with (
        pytest.raises(ValueError, match="tracker wandb: No API key configured. WANDB_MODE=offline"),
        tracking(("wandb",), tmp_path, "video", {}),
    ):
        pass


def test_the_time_that_data_took_is_told(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, pause = batches.draw, 0.2
    told: list[dict[str, float]] = []

    def slowly(size: int, streams: RngStreams) -> Batch:
        time.sleep(pause)
        return draw(size, streams)

    monkeypatch.setattr(batches, "draw", slowly)
    stage = make_stage("video", model, batches, TrainConfig(), dict)
    path = tmp_path / "s.safetensors"
    train(stage, loop_config, Budget(steps=2), 0, path, track=lambda values, step: told.append(values))
    (speed,) = told
    seconds = 2 * loop_config.batch_size / speed["samples_per_s"]
    assert 2 * pause <= speed["waiting"] * seconds < seconds


def test_nothing_is_imported_that_was_not_asked_for() -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "import wav_models.training.steps; from wav_models.training.trackers import tracking\n"
        "with tracking((), Path(), 'video', {}) as track: track({'loss': 1.0}, 1)\n"
        "assert not {'wandb', 'tensorboard', 'accelerate.tracking'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
