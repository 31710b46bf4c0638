"""What a state says of its making, and what is refused because of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wav_models.checkpoint_files import file_sha256
from wav_models.configuration import ConfigurationError
from wav_models.data.normalization import Normalization, NormalizationError
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import WAV_TINY
from wav_models.training.assembly import _ancestors, _autoencoder_record, _read_record, _trained_config
from wav_models.training.config import STAGES, AugmentationConfig, LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.data.frames import Table, load_frames
from wav_models.training.data.latent_files import (
    LatentFiles,
    check_augmentation,
    check_episodes,
    check_origin,
    make_origin,
)
from wav_models.training.loop import Budget, train
from wav_models.training.run import Run
from wav_models.training.stage_table import make_stage
from wav_models.training.state import Provenance, StageProgress, StateError, load_progress, save_tensors
from wav_models.training.steps import _split


def call(number: int, step: int = 0, **config: Any) -> dict[str, Any]:
    return {"started": f"2030-01-01T00:00:0{number}Z", "step": step, **({"config": config} if config else {})}


def run_in(directory: Path, config: TrainConfig | None = None) -> Run:
    return Run(directory, (), config or TrainConfig(), "wav train")


def test_a_stage_does_not_go_on_after_those_before_it_have(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    video, value = (tmp_path / f"{stage}.state.safetensors" for stage in ("video", "value"))

    def run(name: str, path: Path, steps: int, resume: bool) -> StageProgress:
        before = {"video": load_progress(video, "").weights} if name == "value" else {}
        stage, provenance = make_stage(name, model, batches, TrainConfig(), dict), Provenance(before=before)
        quiet = {"report": lambda _: None}
        return train(stage, loop_config, Budget(steps), 0, path, resume=resume, provenance=provenance, **quiet).progress

    run("video", video, 1, False)
    run("value", value, 1, False)
    run("video", video, 1, True)  # trains nothing
    assert run("value", value, 2, True).step == 2
    run("video", video, 2, True)
    with pytest.raises(StateError, match=r"value\.state.* began with other weights of stage video .*without --resume"):
        run("value", value, 3, True)
    assert run("value", value, 1, False).step == 1


def test_what_another_version_wrote_is_refused(tmp_path: Path) -> None:
    numbers = asdict(StageProgress(step=3))
    for kind, others in {"older": {"step": 3, "inputs": "1234 5678"}, "newer": {**numbers, "more": 1}}.items():
        path = tmp_path / f"{kind}.state.safetensors"
        save_tensors(path, {"weights.w": torch.zeros(1)}, others)
        with pytest.raises(StateError, match=f"{kind}.state.safetensors: written by another version; train anew"):
            load_progress(path, "")
    save_tensors(tmp_path / "table.safetensors", {"states": torch.zeros(1, 14)}, {"instructions": ["go"]})
    with pytest.raises(StateError, match=r"table.safetensors: written by another version; run `wav train latents`"):
        Table.load(tmp_path / "table.safetensors")


def test_other_seeds_splits_and_tables_are_told_apart(tmp_path: Path) -> None:
    for name in ("table.safetensors", "latents.json", "normalization.json"):
        (tmp_path / name).write_text(name)
    run = run_in(tmp_path)
    trained = StageProgress(inputs=run.inputs())
    trained.require_inputs(tmp_path / "x", run.inputs())
    for other, name in (
        (TrainConfig(seed=1), "seed"),
        (TrainConfig(validation_fraction=0.5), "validation_fraction"),
        (TrainConfig(preset="wav-2b"), "preset"),
    ):
        with pytest.raises(StateError, match=f"not trained with the {name} of now"):
            trained.require_inputs(tmp_path / "x", run_in(tmp_path, other).inputs())
    (tmp_path / "table.safetensors").write_text("labelled again")
    with pytest.raises(StateError, match="not trained with the table of now"):
        trained.require_inputs(tmp_path / "x", run.inputs())


def test_a_run_that_starts_from_itself_keeps_its_history(tmp_path: Path) -> None:
    path = tmp_path / "video.state.safetensors"
    earlier = StageProgress(step=2, calls=[call(1)])
    video = StageProgress(step=2, calls=[call(2)], ancestors=earlier.lineage(path))
    value = StageProgress(step=1, calls=[call(3)], ancestors=video.lineage(path))
    (kept,) = _ancestors(run_in(tmp_path), {"video": video, "value": value})
    assert (kept["path"], kept["calls"]) == (str(path), [call(1)])


def test_a_run_is_no_ancestor_of_its_own(tmp_path: Path) -> None:
    """Not by another path either, nor after a call that trained nothing."""
    video = StageProgress(step=2, calls=[call(1)])
    value = StageProgress(step=1, calls=[call(2)], ancestors=video.lineage(Path("runs/a/video.state.safetensors")))
    video.calls.append(call(3, step=2))
    assert _ancestors(run_in(tmp_path), {"video": video, "value": value}) == []
    video.calls.append(call(4, step=2))
    video.step = 4
    assert len(_ancestors(run_in(tmp_path), {"video": video, "value": value})) == 1


def test_the_record_has_the_configuration_of_each_stage() -> None:
    def record(stage: str, steps: int, start_steps: int, draws: int) -> dict[str, Any]:
        config = {"start_steps": start_steps, **{name: {"draws": draws} for name in STAGES}}
        return {"steps": steps, "calls": [call(1, **config), call(2, step=5, start_steps=7)]}

    stages = {name: record(name, 5, place, place) for place, name in enumerate(STAGES)}
    config = _trained_config(stages)
    assert config["start_steps"] == 2
    assert [config[stage] for stage in STAGES] == [{"draws": 0}, {"draws": 1}, {"draws": 2}]


def test_the_record_of_the_autoencoder_is_of_the_one_there_is(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    (tmp_path / "autoencoder.safetensors").write_bytes(b"after 5 steps")
    sha256 = file_sha256(tmp_path / "autoencoder.safetensors")
    run.record_path("autoencoder").write_text(json.dumps({"steps": 5, "sha256": sha256}))
    assert _autoencoder_record(run)["steps"] == 5
    (tmp_path / "autoencoder.safetensors").write_bytes(b"after 9 steps, and killed before the record")
    with pytest.raises(StateError, match="not the auto-encoder that .* is of; run `wav train autoencoder --resume`"):
        _autoencoder_record(run)


@pytest.mark.parametrize("content", [b"", b"null", b'{"steps": 5', b"[" * 100_000, b"\xff\xfe\x00"])
def test_a_damaged_file_of_a_run_is_named_with_what_helps(tmp_path: Path, content: bytes) -> None:
    run = run_in(tmp_path)
    run.record_path("value").write_bytes(content)
    with pytest.raises(StateError, match=r"value\.json: damaged .*the same `wav train value` as before with --resume"):
        _read_record(run, "value")
    (tmp_path / "latents.json").write_bytes(content)
    with pytest.raises(StateError, match=r"latents\.json: damaged .*remove it, then run `wav train latents`"):
        check_episodes(tmp_path, [])
    (tmp_path / "normalization.json").write_bytes(content)
    with pytest.raises(NormalizationError, match=r"normalization\.json"):
        Normalization.from_json(tmp_path / "normalization.json", BIMANUAL_PIPER)
    save_tensors(tmp_path / "video.state.safetensors", {"weights.w": torch.zeros(1)}, [1])
    with pytest.raises(StateError, match=r"video\.state\.safetensors: damaged \(holds list"):
        load_progress(tmp_path / "video.state.safetensors", "train anew")


def test_what_is_damaged_in_the_journal_of_an_encoding_is_encoded_again(tmp_path: Path) -> None:
    files = LatentFiles(tmp_path, WAV_TINY, make_origin(WAV_TINY, "of mine", ["a", "b", "c"]), np.array([0, 1, 2, 3]))
    assert files.prepare() == [0, 1, 2]
    for episode in (0, 2):
        files.finish(episode)
    journal = tmp_path / "latents.journal"
    journal.write_bytes(journal.read_bytes().replace(b"\n0\n", b"\n\xff\n"))
    assert files.prepare() == [0, 1]


def test_latents_of_another_version_are_named(tmp_path: Path) -> None:
    (tmp_path / "latents.json").write_text('{"augmentation": {"encodings": 1, "hue": 0.5}}')
    with pytest.raises(ConfigurationError, match=r"latents\.json: augmentation.*'hue'"):
        check_augmentation(tmp_path, AugmentationConfig(encodings=1))
    with pytest.raises(StateError, match="encoded with another auto-encoder"):
        check_origin(tmp_path, WAV_TINY, "of mine")


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: b"\x00" + whole[1:]])
def test_a_damaged_array_of_a_run_is_named_with_what_helps(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "frames.npy"
    np.save(path, np.arange(6, dtype=np.uint8))
    assert load_frames(path).tolist() == list(range(6))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StateError, match=r"frames\.npy: damaged .*remove it, it is made anew"):
        load_frames(path)


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.05), (3, 1.0)])
def test_a_split_with_an_empty_side_is_refused(count: int, fraction: float) -> None:
    episodes = [["a", index, 2, None] for index in range(count)]
    starts = 2 * torch.arange(count + 1).numpy()
    with pytest.raises(ValueError, match=f"of {count} episodes? held out .*change validation_fraction"):
        _split(starts, episodes, replace(TrainConfig(), validation_fraction=fraction))
