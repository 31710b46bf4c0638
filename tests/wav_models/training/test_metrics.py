"""Held-out metrics of a model that was fitted to them, against one that was not."""

from __future__ import annotations

from pathlib import Path

import torch

from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.loop import Budget, train
from wav_models.training.metrics import HeldOut
from wav_models.training.stages import make_stage


def test_training_improves_the_metrics(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    held_out = HeldOut(model, batches, num_samples=24, seed=0)
    stage = make_stage("action", model, batches, TrainConfig(), held_out.action)
    with torch.no_grad():
        before = held_out.action()
        assert held_out.action() == before
    train(stage, loop_config, Budget(steps=150), 0, tmp_path / "state.safetensors", report=lambda _: None)
    with torch.no_grad():
        after = held_out.action()
    assert before.keys() == after.keys()
    for kind in ("0", "0.75", "imagined"):
        assert after[f"all_steps_rad@{kind}"] < 0.8 * before[f"all_steps_rad@{kind}"]
    assert after["video_loss@0"] < 0.8 * before["video_loss@0"]


def test_metrics_are_made_on_the_device_of_the_model(model: WAVModel, batches: Batches) -> None:
    """Whatever does not name its device is put elsewhere, and does not meet the rest."""
    held_out = HeldOut(model, batches, num_samples=8, seed=0)
    with torch.no_grad():
        expected = held_out.action()
        with torch.device("meta"):
            assert held_out.action() == expected


def test_stage_two_reports_no_actions(model: WAVModel, batches: Batches) -> None:
    held_out = HeldOut(model, batches, num_samples=8, seed=0)
    with torch.no_grad():
        assert held_out.video().keys() == {"video_loss@0", "video_loss@0.75"}
        assert held_out.value().keys() == {"video_loss@0", "video_loss@0.75", "return_r2@0", "return_r2@0.75"}
