"""What a state says of its making, and what is refused because of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from wav_models.checkpoint_files import file_sha256
from wav_models.networks.wav_model import WAVModel
from wav_models.training.assembly import _ancestors, _autoencoder_record, _trained_config
from wav_models.training.config import STAGES, LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.data.frames import Table
from wav_models.training.loop import Budget, train
from wav_models.training.run import Run
from wav_models.training.stage_table import make_stage
from wav_models.training.state import Progress, Provenance, StateError, load_progress, save_tensors
from wav_models.training.steps import _split


def call(number: int, step: int = 0, **config: Any) -> dict[str, Any]:
    return {"started": f"2030-01-01T00:00:0{number}Z", "step": step, **({"config": config} if config else {})}


def run_in(directory: Path, config: TrainConfig | None = None) -> Run:
    return Run(directory, (), config or TrainConfig(), "wav train")


def test_a_stage_does_not_go_on_after_those_before_it_have(
    model: WAVModel, batches: Batches, loop_config: LoopConfig, tmp_path: Path
) -> None:
    video, value = (tmp_path / f"{stage}.state.safetensors" for stage in ("video", "value"))

    def run(name: str, path: Path, steps: int, resume: bool) -> Progress:
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
    numbers = asdict(Progress(step=3))
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
    trained = Progress(inputs=run.inputs())
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
    earlier = Progress(step=2, calls=[call(1)])
    video = Progress(step=2, calls=[call(2)], ancestors=earlier.lineage(path))
    value = Progress(step=1, calls=[call(3)], ancestors=video.lineage(path))
    (kept,) = _ancestors(run_in(tmp_path), {"video": video, "value": value})
    assert (kept["path"], kept["calls"]) == (str(path), [call(1)])


def test_a_run_is_no_ancestor_of_its_own(tmp_path: Path) -> None:
    """Not by another path either, nor after a call that trained nothing."""
    video = Progress(step=2, calls=[call(1)])
    value = Progress(step=1, calls=[call(2)], ancestors=video.lineage(Path("runs/a/video.state.safetensors")))
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


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.05), (3, 1.0)])
def test_a_split_with_an_empty_side_is_refused(count: int, fraction: float) -> None:
    episodes = [["a", index, 2, None] for index in range(count)]
    starts = 2 * torch.arange(count + 1).numpy()
    with pytest.raises(ValueError, match=f"of {count} episodes? held out .*change validation_fraction"):
        _split(starts, episodes, replace(TrainConfig(), validation_fraction=fraction))
