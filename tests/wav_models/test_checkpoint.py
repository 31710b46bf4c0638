"""Checkpoints: complete or not at all, strict, and never silently partial."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.wav_models.small_checkpoint import SMALL, save_small
from wav_models import checkpoint as checkpoint_module
from wav_models.checkpoint import (
    CheckpointError,
    load_checkpoint,
    load_planner_config,
    load_pretrained,
)
from wav_models.checkpoint_files import SUMS
from wav_models.embodiments import LIBERO_PANDA
from wav_models.networks.autoencoder import TinyAutoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.presets import expert_configs


@pytest.fixture
def directory(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage; without hashes, so that what is in the files is all there is to judge by."""
    copy = Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))
    (copy / SUMS).unlink()
    return copy


def _edit(path: Path, **changes: Tensor | None) -> None:
    tensors: dict[str, Tensor | None] = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def test_a_saved_checkpoint_keeps_the_planner_of_the_one_it_replaces(directory: Path) -> None:
    (directory / "planner.json").write_text('{"num_iterations": 2}')
    (directory / "engines").mkdir()
    save_small(directory, seed=1)
    assert load_checkpoint(directory).planner == PlannerConfig(num_iterations=2)
    assert not (directory / "engines").exists()


def test_the_planner_is_part_of_the_checkpoint(directory: Path) -> None:
    assert load_checkpoint(directory).planner == PlannerConfig()
    changes = {"num_iterations": 2, "score": "gain", "deadline": 0.5}
    planner = replace(PlannerConfig(), **changes)  # type: ignore[arg-type]
    save_small(directory, planner=planner)
    assert json.loads((directory / "planner.json").read_text()) == changes
    assert load_checkpoint(directory).planner == load_planner_config(directory) == planner


def test_round_trip(small_checkpoint: Path) -> None:
    torch.manual_seed(0)
    expected = WAVModel(SMALL)
    loaded = load_checkpoint(small_checkpoint)
    assert loaded.config == SMALL
    assert loaded.training_record == {"seed": 0, "command": "wav train"}
    np.testing.assert_array_equal(loaded.normalization.state_mean, np.arange(14.0))
    assert isinstance(loaded.autoencoder, TinyAutoencoder)
    assert (loaded.autoencoder.latent_mean == 0.5).all()
    for name, tensor in expected.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name
    torch.testing.assert_close(loaded.model.video.rope_cos, expected.video.rope_cos)
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_who_may_read_one_file_may_read_all(small_checkpoint: Path) -> None:
    """A robot runs as another user than who trains."""
    modes = {path.name: path.stat().st_mode & 0o777 for path in small_checkpoint.iterdir()}
    assert {"model.safetensors", "autoencoder.safetensors", "config.json"} <= modes.keys()
    assert set(modes.values()) == {modes["config.json"]}


def test_published_names_and_no_pickle(small_checkpoint: Path) -> None:
    assert sorted(path.name for path in small_checkpoint.iterdir()) == [
        "SHA256SUMS",
        "autoencoder.safetensors",
        "config.json",
        "model.safetensors",
        "normalization.json",
        "training.json",
    ]
    names = load_file(small_checkpoint / "model.safetensors")
    assert "transformer_blocks.1.attn1.to_out.0.weight" in names
    assert "value_time_embed.emb.timestep_embedder.linear_1.bias" in names
    assert "action_blocks.0.ff.net.0.proj.weight" in names


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "autoencoder.safetensors", "normalization.json"])
def test_missing_and_damaged_files_are_named(directory: Path, file: str) -> None:
    path = directory / file
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(directory)
    path.unlink()
    with pytest.raises(CheckpointError, match=file):
        load_checkpoint(directory)


def test_missing_directory_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nothing-here: no such checkpoint.*wav train"):
        load_checkpoint(tmp_path / "nothing-here")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proj_in.bias": None}, r"missing \(1\): proj_in.bias"),
        ({"value_blocks.0.extra": torch.zeros(1)}, r"unknown \(1\): value_blocks.0.extra"),
        ({"action_proj_out.bias": torch.zeros(3)}, r"action_proj_out.bias \[3\], expected \[28\]"),
        ({"proj_out.bias": torch.full((32,), torch.nan)}, r"not finite \(1\): proj_out.bias"),
        ({"proj_out.bias": torch.zeros(32, dtype=torch.int64)}, r"no floating point \(1\): proj_out.bias"),
        ({"proj_out.bias": torch.zeros(32, dtype=torch.bool)}, r"no floating point \(1\): proj_out.bias"),
        ({"proj_out.bias": torch.zeros(32, dtype=torch.complex64)}, r"no floating point \(1\): proj_out.bias"),
        *(
            ({"proj_out.bias": torch.zeros(32).to(kind)}, rf"of too few bits \(1\): proj_out.bias {kind}")
            for kind in (torch.float8_e4m3fn, torch.float8_e5m2)
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(directory: Path, changes: dict[str, Tensor | None], message: str) -> None:
    _edit(directory / "model.safetensors", **changes)
    with pytest.raises(CheckpointError, match=r"model.safetensors: .*" + message):
        load_checkpoint(directory)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_an_autoencoder_of_any_format_encodes(directory: Path, kind: torch.dtype) -> None:
    path = directory / "autoencoder.safetensors"
    save_file({name: tensor.to(kind) for name, tensor in load_file(path).items()}, path)
    checkpoint = load_checkpoint(directory)
    config = checkpoint.config
    height, width = config.latent.image_size
    images = torch.zeros(1, len(config.embodiment.views), 1, height, width, 3, dtype=torch.uint8)
    assert checkpoint.autoencoder.encode_future(images).dtype == torch.float32


def test_statistics_of_another_horizon_are_named(directory: Path) -> None:
    path = directory / "normalization.json"
    data = json.loads(path.read_text())
    data.update({key: rows[:9] for key, rows in data.items() if "_diff_" in key})
    path.write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match=r"normalization.json: statistics of 9 action steps.* action_horizon 16"):
        load_checkpoint(directory)


def test_unknown_configuration_key_is_named(directory: Path) -> None:
    data = json.loads((directory / "config.json").read_text())
    data["video"]["num_layer"] = 3
    (directory / "config.json").write_text(json.dumps(data))
    with pytest.raises(
        CheckpointError, match=r"config.json: video: unknown key 'num_layer'; did you mean 'num_layers'"
    ):
        load_checkpoint(directory)


def test_replacing_keeps_the_old_one_until_the_new_one_is_complete(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module, "_write_tensors", full_disk)
        with pytest.raises(OSError, match="No space"):
            save_small(directory, seed=1)
    assert load_checkpoint(directory).training_record["seed"] == 0
    save_small(directory, seed=1)
    assert load_checkpoint(directory).training_record["seed"] == 1
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_killed_between_the_two_renames_the_old_one_is_kept(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.rename(directory.with_name(f".{directory.name}.previous"))
    with monkeypatch.context() as patch:
        patch.setattr(
            safetensors.torch, "save_file", lambda *_: (_ for _ in ()).throw(SafetensorError("File too large"))
        )
        with pytest.raises(CheckpointError, match="cannot be written .*File too large.*free space"):
            save_small(directory, seed=1)
    assert load_checkpoint(directory).training_record["seed"] == 0


def _published(model: WAVModel, *, without: tuple[str, ...] = ()) -> dict[str, Tensor]:
    tensors = {checkpoint_module.official_name(n): t for n, t in model.state_dict().items()}
    return {n: t.clone() for n, t in tensors.items() if not n.startswith(without)}


def test_pretrained_video_weights_leave_the_experts_initialised(tmp_path: Path) -> None:
    """As from LTX-Video: in shards, without views and experts."""
    torch.manual_seed(2)
    source, model = WAVModel(SMALL), WAVModel(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensors = list(_published(source, without=("view_", "value_", "action_")).items())
    save_file(dict(tensors[:9]), tmp_path / "model-00001-of-00002.safetensors")
    save_file(dict(tensors[9:]), tmp_path / "model-00002-of-00002.safetensors")
    assert load_pretrained(tmp_path, model) == ("views", "value", "action")
    for name, tensor in model.state_dict().items():
        kept = name.startswith(("value.", "action.", "video.view_"))
        assert torch.equal(tensor, before[name] if kept else source.state_dict()[name]), name


def test_two_models_in_one_directory_are_not_mixed(tmp_path: Path) -> None:
    tensors = _published(WAVModel(SMALL))
    save_file(tensors, tmp_path / "wav-0.9.safetensors")
    save_file(tensors, tmp_path / "wav-0.9.1.safetensors")
    with pytest.raises(CheckpointError, match=r"wav-0.9.safetensors: also in another file: action_.*one model only"):
        load_pretrained(tmp_path, WAVModel(SMALL))


def test_single_file_release_names(tmp_path: Path) -> None:
    source, model = WAVModel(SMALL), WAVModel(SMALL)
    renamed = {"vae.decoder.bias": torch.zeros(2)}
    for name, tensor in _published(source, without=("view_", "value_", "action_")).items():
        name = name.replace("proj_in.", "patchify_proj.").replace("time_embed.", "adaln_single.")
        renamed["model.diffusion_model." + name.replace("norm_q.", "q_norm.").replace("norm_k.", "k_norm.")] = tensor
    save_file(renamed, tmp_path / "ltx.safetensors")
    load_pretrained(tmp_path / "ltx.safetensors", model)
    assert torch.equal(model.video.proj_in.weight, source.video.proj_in.weight)


def test_pretrained_wav_weights_load_whole(tmp_path: Path) -> None:
    source, model = WAVModel(SMALL), WAVModel(SMALL)
    save_file(_published(source), tmp_path / "wav.safetensors")
    assert load_pretrained(tmp_path / "wav.safetensors", model) == ()
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), source.state_dict().values(), strict=True)
    )


def test_another_robots_channels_stay_initialised(tmp_path: Path) -> None:
    value, action = expert_configs(LIBERO_PANDA, SMALL.value.num_attention_heads, SMALL.value.attention_head_dim)
    source, model = WAVModel(SMALL), WAVModel(replace(SMALL, value=value, action=action, embodiment=LIBERO_PANDA))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(_published(source), tmp_path / "wav.safetensors")
    initialised = load_pretrained(tmp_path / "wav.safetensors", model)
    assert initialised == ("action.proj_in", "action.proj_out", "value.proj_in", "value.proj_out")
    for name, tensor in model.state_dict().items():
        theirs = source.state_dict()[name]
        assert torch.equal(tensor, theirs if theirs.shape == tensor.shape else before[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"value_proj_in.bias": None}, "missing .*value_proj_in.bias"),
        ({"transformer_blocks.0.attn1.to_q.bias": None}, "missing .*transformer_blocks.0.attn1.to_q.bias"),
        ({"transformer_blocks.7.scale_shift_table": torch.zeros(6, 32)}, "unknown .*transformer_blocks.7"),
    ],
)
def test_pretrained_parts_are_complete_or_absent(
    tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    path = tmp_path / "wav.safetensors"
    model = WAVModel(SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(_published(WAVModel(SMALL)), path)
    _edit(path, **changes)
    with pytest.raises(CheckpointError, match=message):
        load_pretrained(path, model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
