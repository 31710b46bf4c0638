"""Held-out metrics of a model that was fitted to them, against one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wav_models.data.normalization import Normalization
from wav_models.networks.wav_model import WAVModel
from wav_models.training import metrics
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.loop import Budget, train
from wav_models.training.metrics import HeldOut, _r_squared, _returns
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage


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


def test_actions_that_are_not_imitated_are_not_measured(
    model: WAVModel, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CHUNK", 1)
    held_out = HeldOut(model, batches, num_samples=8, seed=0)
    steps = [int(part[0]) for part in held_out.parts]
    batches.episodes.imitated[steps[1:]] = False
    monkeypatch.setattr(
        held_out, "_action_error", lambda batch, *_: torch.full((1, 4, 12), batches.episodes.states[steps[0], 0])
    )
    with torch.no_grad():
        found = held_out.action()
    assert found["all_steps_rad@imagined"] == pytest.approx(float(batches.episodes.states[steps[0], 0]))
    batches.episodes.imitated[:] = False
    with torch.no_grad():
        assert held_out.action().keys() == found.keys() - {
            f"{steps}_rad@{kind}" for steps in ("first_step", "all_steps") for kind in ("0", "0.75", "imagined")
        }


def test_stage_two_reports_no_actions(model: WAVModel, batches: Batches) -> None:
    held_out = HeldOut(model, batches, num_samples=8, seed=0)
    with torch.no_grad():
        assert held_out.video().keys() == {"video_loss@0", "video_loss@0.75"}
        assert held_out.value().keys() == {"video_loss@0", "video_loss@0.75", "return_r2@0", "return_r2@0.75"}


def test_a_perfect_prediction_explains_all_and_the_mean_nothing() -> None:
    true = torch.tensor([1.0, 2.0, 6.0])
    assert _r_squared(true, true) == 1.0
    assert _r_squared(torch.full((3,), 3.0), true) == pytest.approx(0.0)
    assert _r_squared(torch.tensor([1.0, 2.0, 3.0]), true) == pytest.approx(1.0 - 9.0 / 14.0)


def test_the_return_of_an_observation_is_the_mean_of_the_last_channel() -> None:
    values = torch.zeros(2, 3, 4, 5)  # [B, R, T, C]
    values[..., :4] = 9.0
    values[1, :, :, 4] = torch.arange(12.0).reshape(3, 4)
    assert _returns(values).tolist() == [0.0, 5.5]


def test_an_action_error_has_no_sign(model: WAVModel, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that are 0.5 rad too low, in the unit of the joints; grippers do not count."""
    held_out = HeldOut(model, batches, num_samples=8, seed=0)
    batch = batches.at(batches.steps[:8])
    low = batch.targets - 0.5
    low[..., [6, 13]] += 9.0
    monkeypatch.setattr(model.action, "context", lambda *seen: None)
    monkeypatch.setattr(metrics, "euler", lambda velocity, x_0, num_steps: x_0)
    monkeypatch.setattr(Normalization, "decode_actions", lambda self, x, state: low)
    error = held_out._action_error(batch, None, (), streams_at(0, "test", 0))
    torch.testing.assert_close(error, torch.full((8, 4, 12), 0.5))
