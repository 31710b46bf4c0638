"""Fine-tuning a checkpoint on another lab's dataset, which is read through a mapping and never copied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.wav_models.training.recorded import wav_train as main
from tests.wav_policy.recording.foreign import CAMERAS, make_foreign, record
from wav_models.checkpoint import load_checkpoint, save_checkpoint
from wav_models.data.dataset import Dataset
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.normalization import Normalization
from wav_models.experiments.held_out import recorded_split
from wav_models.networks.autoencoder import TinyAutoencoder, make_autoencoder
from wav_models.networks.random_weights import random_model
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY
from wav_models.training.base import load_base, load_teacher, with_given_steps
from wav_models.training.config import TrainConfig
from wav_models.training.run import Run
from wav_models.training.state import StateError, load_tensors, save_tensors
from wav_policy.robot.joints import JOINT_NAMES, ROBOT

CONFIG = """
preset: wav-tiny
workers: 1
validation_samples: 2
frozen: [video.]
datasets:
  theirs: {mapping: {cameras: {CAMERAS}, fps: 10}}
action: {loop: {batch_size: 2, bf16: false, keep: 2}, mask_padding: true, lora: {rank: 2, targets: [attn1.to_v]},
         prefix_steps: [0, 6]}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A checkpoint of random weights, trained on something else."""
    torch.manual_seed(3)
    rng, horizon = np.random.default_rng(0), WAV_TINY.horizon.action_horizon
    chunks = rng.normal(size=(2, 5, horizon, 14))
    autoencoder = make_autoencoder(WAV_TINY)
    assert isinstance(autoencoder, TinyAutoencoder)
    save_checkpoint(
        tmp_path / "base",
        model=random_model(WAV_TINY, torch.Generator().manual_seed(0)),
        autoencoder=autoencoder,
        normalization=Normalization.fit(rng.normal(size=(5, 14)), *chunks, rng.normal(size=(5, 17)), ROBOT),
        training_record={"data": {"identities": {"trained_on": ["before"], "held_out": []}}, "stages": {"action": {}}},
        planner=PlannerConfig(num_video_samples=3, num_video_elites=2),
    )
    return tmp_path / "base"


def test_a_checkpoint_is_built_on_with_another_labs_data(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    config = tmp_path / "run.yaml"
    cameras = ", ".join(f"{view}: observation.images.{name}" for view, name in CAMERAS.items())
    config.write_text(CONFIG.replace("CAMERAS", cameras))
    common = ["--data", str(data), "--out", str(tmp_path / "run"), "--config", str(config)]
    start = ["--start", str(base)]
    assert main(["latents", *common, *start]) == 0
    assert main(["action", *common, *start, "--steps", "2", "--set", "action.loop.learning_rate=3e-4"]) == 0
    assert main(["checkpoint", *common]) == 2
    assert "first, or name the checkpoint to build on by --start" in capsys.readouterr().err
    assert main(["checkpoint", *common, *start, "--best"]) == 0
    before, after = load_checkpoint(base), load_checkpoint(tmp_path / "run/checkpoint")
    weights = before.model.state_dict()
    changed = {name for name, tensor in after.model.state_dict().items() if not torch.equal(tensor, weights[name])}
    assert changed == {name for name in weights if name.endswith("attn1.to_v.weight") and not name.startswith("video.")}
    assert after.planner == before.planner
    assert (before.config.horizon.given_steps, after.config.horizon.given_steps) == (None, 6)
    np.testing.assert_array_equal(after.normalization.action_diff_std, before.normalization.action_diff_std)
    assert after.training_record["config"]["action"]["loop"]["learning_rate"] == 3e-4
    mapping = DataMapping({v: f"observation.images.{n}" for v, n in CAMERAS.items()}, fps=10)
    mapped = MappedDataset(data, mapping, ROBOT)
    first, second = (episode.identity for episode in mapped)
    assert after.training_record["data"]["identities"] == {
        "trained_on": sorted([first, "before"]),
        "held_out": [second],
    }
    assert recorded_split(after.training_record, mapped) == ([1], "held out")


def test_a_run_has_the_auto_encoder_of_what_it_builds_on(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    autoencoder = make_autoencoder(WAV_TINY)
    assert isinstance(autoencoder, TinyAutoencoder)
    (tmp_path / "run").mkdir()
    save_tensors(tmp_path / "run/autoencoder.safetensors", dict(autoencoder.state_dict()), {})
    data, config = record(tmp_path / "bowl"), tmp_path / "run.yaml"
    assert len(Dataset(data)) == 2
    config.write_text("workers: 1")
    command = ["latents", "--data", str(data), "--out", str(tmp_path / "run"), "--config", str(config)]
    (tmp_path / "run/normalization.json").write_text("its own")
    assert main([*command, "--start", str(base)]) == 1
    assert "another auto-encoder than that of" in capsys.readouterr().err
    assert (tmp_path / "run/normalization.json").read_text() == "its own"


def test_what_is_no_checkpoint_is_not_started_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training from random weights would go unnoticed."""
    (tmp_path / "data").mkdir()
    command = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--set", "compile=false"]
    for option, stage in (("--start", "latents"), ("--teacher", "distil")):
        assert main([stage, *command, option, str(tmp_path / "tinny")]) == 2
        assert f"{option} {tmp_path / 'tinny'} is no directory" in capsys.readouterr().err
    for stage in ("autoencoder", "distil"):
        assert main([stage, *command, "--start", str(tmp_path / "data")]) == 2
        assert f"is no checkpoint; give `{stage}` one, or leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("teacher", [False, True])
def test_units_and_latents_are_those_of_the_checkpoint(base: Path, tmp_path: Path, teacher: bool) -> None:
    """A pretrained auto-encoder is everybody's; the normalisation is not."""
    run = Run(tmp_path, (), TrainConfig(), "", start=None if teacher else base, teacher=base if teacher else None)
    checkpoint, model = load_checkpoint(base), WAVModel(WAV_TINY)

    def load() -> object:
        return load_teacher(run, model) if teacher else load_base(run, model)

    assert isinstance(checkpoint.autoencoder, TinyAutoencoder)
    save_tensors(tmp_path / "autoencoder.safetensors", dict(checkpoint.autoencoder.state_dict()), {})
    with pytest.raises(StateError, match=r"normalization.json: no such file; run `wav train latents --start"):
        load()
    checkpoint.normalization.to_json(tmp_path / "normalization.json")
    load()
    state_mean = checkpoint.normalization.state_mean + 1e-3
    replace(checkpoint.normalization, state_mean=state_mean).to_json(tmp_path / "normalization.json")
    with pytest.raises(StateError, match=r"normalization.json: not the normalisation of .*base; begin in a new run"):
        load()


def test_a_teacher_is_given_as_many_steps_as_its_student(base: Path, tmp_path: Path) -> None:
    run, checkpoint = Run(tmp_path, (), TrainConfig(), "", teacher=base), load_checkpoint(base)
    assert isinstance(checkpoint.autoencoder, TinyAutoencoder)
    save_tensors(tmp_path / "autoencoder.safetensors", dict(checkpoint.autoencoder.state_dict()), {})
    checkpoint.normalization.to_json(tmp_path / "normalization.json")
    with pytest.raises(StateError, match="base: is given 0 steps of a chunk, what starts 4"):
        load_teacher(run, WAVModel(with_given_steps(WAV_TINY, 4)))
    teacher, lineage = load_teacher(run, WAVModel(WAV_TINY))
    assert isinstance(teacher, WAVModel)
    assert [state["trained_on"] for state in lineage] == [["before"]]


def test_an_auto_encoder_is_trained_on_from_that_of_a_checkpoint(base: Path, tmp_path: Path) -> None:
    data, config, run = record(tmp_path / "bowl"), tmp_path / "run.yaml", tmp_path / "run"
    config.write_text("{workers: 1, autoencoder: {loop: {learning_rate: 0.0, batch_size: 2, bf16: false}}}")
    command = ["--data", str(data), "--out", str(run), "--config", str(config), "--steps", "1"]
    assert main(["autoencoder", *command, "--start", str(base)]) == 0
    before, _ = load_tensors(base / "autoencoder.safetensors", "")
    after, _ = load_tensors(run / "autoencoder.safetensors", "")
    trained = [name for name in before if not name.startswith("latent_")]
    assert trained
    for name in trained:
        torch.testing.assert_close(after[name], before[name])


def _changed(checkpoint: Path, copy: Path) -> Path:
    """A copy with other weights."""
    held = load_checkpoint(checkpoint)
    next(held.model.action.parameters()).add_(1.0)
    save_checkpoint(
        copy, model=held.model, autoencoder=held.autoencoder, normalization=held.normalization, training_record={}
    )
    return copy


def test_unknown_datasets_and_keys_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, config = record(tmp_path / "bowl"), tmp_path / "run.yaml"
    config.write_text("workers: 1")
    command = ["latents", "--data", str(data), "--out", str(tmp_path / "run"), "--config", str(config), "--set"]
    for setting, message in (
        ("datasets.bowls.weight=2", "unknown dataset in `datasets` 'bowls'; did you mean 'bowl'"),
        ("datasets.bowl.weigth=2", "unknown key 'weigth'; did you mean 'weight'"),
        ("datasets.bowl.episodes=failure and success", "none of 2 episodes is meant"),
        ("datasets.bowl.imitated=index == 0", "`imitated` leaves no episode whose actions are learnt, or none"),
        ("datasets.bowl.imitated=sucess", "unknown name 'sucess'; did you mean 'success'"),
        ("vide.loop.batch_size=2", "unknown key 'vide'; did you mean 'video'"),
        ("seed", "'seed' is no NAME=VALUE"),
    ):
        assert main([*command, setting]) == 2
        assert message in capsys.readouterr().err


def test_weights_that_no_stage_has_trained_are_asked_for(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They would be random: frozen parts are those of the checkpoint that the stages began with."""
    data = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    cameras = ", ".join(f"{view}: observation.images.{name}" for view, name in CAMERAS.items())
    loop = "{loop: {batch_size: 2, bf16: false}}"
    config.write_text(
        "{preset: wav-tiny, workers: 1, validation_samples: 2, frozen: [video.transformer_blocks.0.],"
        f"datasets: {{theirs: {{mapping: {{cameras: {{{cameras}}}, fps: 10}}}}}},"
        f"video: {loop}, value: {loop}, action: {loop}}}"
    )
    common = ["--data", str(data), "--out", str(run), "--config", str(config)]
    start = ["--start", str(base)]
    assert main(["latents", *common, *start]) == 0
    for stage in ("video", "value", "action"):
        assert main([stage, *common, *start, "--steps", "1"]) == 0
    assert main(["checkpoint", *common]) == 1
    assert "such as video.transformer_blocks.0." in capsys.readouterr().err
    assert main(["checkpoint", *common, *start]) == 0
    before, after = load_checkpoint(base).model, load_checkpoint(run / "checkpoint").model
    assert torch.equal(
        before.video.transformer_blocks[0].attn1.to_v.weight, after.video.transformer_blocks[0].attn1.to_v.weight
    )


def test_a_student_of_a_checkpoint_plans_with_its_own_steps(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    config, run = tmp_path / "run.yaml", tmp_path / "run"
    cameras = ", ".join(f"{view}: observation.images.{name}" for view, name in CAMERAS.items())
    config.write_text(
        "{preset: wav-tiny, workers: 1, validation_samples: 2, frozen: [video., action.],"
        f"datasets: {{theirs: {{mapping: {{cameras: {{{cameras}}}, fps: 10}}}}}},"
        "distil: {num_futures: 2, num_value_samples: 1, teacher: {video_times: [0.0], num_value_steps: 2,"
        "num_action_steps: 1}, student: {video_times: [0.0], num_value_steps: 1, num_action_steps: 1},"
        "loop: {batch_size: 2, bf16: false}}}"
    )
    common = ["--data", str(data), "--out", str(run), "--config", str(config)]
    start = ["--start", str(base)]
    assert main(["latents", *common, *start]) == 0
    assert main(["distil", *common, *start, "--steps", "1"]) == 0
    assert "captured" in capsys.readouterr().out
    assert main(["distil", *common, *start, "--steps", "2", "--resume", "--teacher", str(base)]) == 1
    assert "not trained with the --teacher of now" in capsys.readouterr().err
    for stage in (["distil", "--steps", "2", "--resume"], ["checkpoint"]):
        assert main([*stage, *common, "--start", str(_changed(base, tmp_path / "other"))]) == 1
        assert "not trained with the --start of now" in capsys.readouterr().err
    assert main(["checkpoint", *common, *start]) == 0
    before, after = load_checkpoint(base), load_checkpoint(run / "checkpoint")
    weights = before.model.state_dict()
    changed = {n.split(".")[0] for n, x in after.model.state_dict().items() if not torch.equal(x, weights[n])}
    assert changed == {"value"}
    assert after.planner == replace(before.planner, num_value_steps=1, num_action_steps=1)
    assert list(after.training_record["stages"]) == ["distil"]
    assert main(["distil", *common, "--start", str(run / "checkpoint"), "--steps", "1"]) == 2
    assert "is a student itself: name what both learn from with --teacher" in capsys.readouterr().err
    assert main(["value", *common, *start, "--steps", "1", "--teacher", str(base)]) != 0
    assert "--teacher is for `distil`" in capsys.readouterr().err
