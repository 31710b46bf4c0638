"""The last step of a run: the averaged weights of its stages as a checkpoint, and the record of how they came about."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wav_models.checkpoint import PLANNER, load_planner_config, load_pretrained, save_checkpoint
from wav_models.checkpoint_files import file_sha256
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.normalization import Normalization
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.training.base import load_base
from wav_models.training.config import DISTIL, EVERY_STAGE, Schedule
from wav_models.training.data.frames import TABLE, Table, fingerprints, held_out_episodes
from wav_models.training.data.latent_files import check_episodes, check_origin
from wav_models.training.data.latents import AUTOENCODER, autoencoder_sha256, load_autoencoder
from wav_models.training.loop import weights_path
from wav_models.training.run import NORMALIZATION, Run
from wav_models.training.state import Ancestor, StageProgress, StateError, joined, load_json, training_calls
from wav_models.training.steps import copy_averages, load_averages, print_warning, summary
from wav_models.words import counted


def assemble_checkpoint(run: Run, directory: Path, label: str | None = None) -> None:
    """Write the averaged weights of all stages as a checkpoint, over those of the one that is built on, if any.

    Args:
        label: of the kept weights of the last stage, see `weights_path`; the last ones when None.

    Raises:
        StateError: a stage is missing, or was trained with another preset or split, or on other data, than the run has
            now, or began with other weights of the stages before it; or the latents are of other data; or some weights
            were trained by no stage.
    """
    model = WAVModel(run.config.model)
    _forget(model)
    if run.weights is not None:
        load_pretrained(run.weights, model)
    load_base(run, model)
    trained = load_averages(run, model, EVERY_STAGE, warn=print_warning)
    if not trained:
        raise StateError(f"{run.directory}: no stage was trained here; run `wav train action` first")
    if label is not None:
        last = list(trained)[-1]
        trained[last], _ = copy_averages(weights_path(run.directory, last, label), model, "average.", "")
    _require_all_weights(run, model)
    autoencoder = load_autoencoder(run.config.model, run.directory, run.pretrained)
    sha256 = autoencoder_sha256(run.config.model, run.directory, run.pretrained)
    check_origin(run.directory, run.config.model, sha256)
    dataset = run.dataset()
    check_episodes(run.directory, fingerprints(dataset))
    _require_one_training(run, trained)
    is_trained_here = not run.config.model.latent.is_pretrained and run.base is None
    stages = {"autoencoder": _autoencoder_record(run)} if is_trained_here else {}
    stages |= {stage: {**_read_record(run, stage), **summary(progress)} for stage, progress in trained.items()}
    record: dict[str, Any] = {
        "config": _trained_config(stages),
        "data": _data_record(run, dataset, trained),
        "stages": stages,
        "ancestors": _ancestors(run, trained),
    }
    save_checkpoint(
        directory,
        model=model,
        autoencoder=autoencoder,
        normalization=Normalization.from_json(run.directory / NORMALIZATION, run.config.model.embodiment),
        training_record=record,
        planner=_planner(run, directory, record["config"][DISTIL] if DISTIL in trained else None),
    )


def _forget(model: WAVModel) -> None:
    """Weights that nothing replaces shall not pass for trained ones."""
    for parameter in model.parameters():
        parameter.data.fill_(math.nan)


def _require_all_weights(run: Run, model: WAVModel) -> None:
    """StateError where no stage has trained some: they were frozen, and are those that the stages began with."""
    missing = [name for name, parameter in model.named_parameters() if parameter.isnan().any()]
    if missing:
        raise StateError(
            f"{run.directory}: no stage has trained {counted(len(missing), 'weight')}, such as {missing[0]}; name what "
            "the stages began with: the checkpoint by --start, or published weights by --weights"
        )


def _planner(run: Run, directory: Path, distilled: dict[str, Any] | None) -> PlannerConfig | None:
    """How it is to plan: as the checkpoint before it there, else as what it was built on; a student as it learnt to."""
    stored = [place for place in (directory, run.base) if place is not None and (place / PLANNER).is_file()]
    planner = load_planner_config(stored[0]) if stored else None
    if distilled is None:
        return planner
    student = Schedule(**{**distilled["student"], "video_times": tuple(distilled["student"]["video_times"])})
    own = planner or replace(PlannerConfig(), score=distilled["score"], selection="best")
    return replace(student.applied(own), action_noise_std=distilled["action_noise_std"])


def _require_one_training(run: Run, trained: dict[str, StageProgress]) -> None:
    """StateError unless the stages were trained on what the run has now, each upon the others as they are now."""
    inputs, weights = run.inputs(), {stage: progress.weights for stage, progress in trained.items()}
    if run.base is not None:  # whose weights the checkpoint has where no stage has trained them
        inputs["--start"] = run.began_with()["--start"]
    for stage, progress in trained.items():
        progress.require_inputs(run.state_path(stage), inputs)
        progress.require_before(run.state_path(stage), weights)


def _trained_config(stages: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the last stage was trained with, and every other one's section as that one was."""
    last = {stage: training_calls(record["steps"], record["calls"])[-1]["config"] for stage, record in stages.items()}
    return {**last[list(stages)[-1]], **{stage: config[stage] for stage, config in last.items()}}


def _data_record(run: Run, dataset: DatasetGroup, trained: dict[str, StageProgress]) -> dict[str, Any]:
    """What was trained on and what was held out: by place in the datasets, and by what the episodes are."""
    held_out = held_out_episodes(fingerprints(dataset), run.config.validation_fraction, run.config.seed)
    return {
        "names": [path.name for path in run.data],
        "instructions": sorted({episode.instruction for episode in dataset.episodes}),
        "successes": sum(episode.success is True for episode in dataset.episodes),
        "episodes": len(dataset),
        "frames": sum(episode.length for episode in dataset.episodes),
        "fps": dataset.fps,
        "seeds": _span([e.seed for e in dataset.episodes if e.seed is not None]),
        "held_out_of": _per_dataset(dataset, held_out),
        "identities": _identities(run, held_out, trained),
    }


def _identities(run: Run, held_out: np.ndarray, trained: dict[str, StageProgress]) -> dict[str, Any]:
    """Episodes by what they are; what the weights were trained on before counts as trained on."""
    table = Table.load(run.directory / TABLE)
    before = {i for progress in trained.values() for state in progress.ancestors for i in state.get("trained_on", ())}
    own = set(np.array(table.identities)[~held_out].tolist())
    kept = set(table.identities) - own - before
    return {"trained_on": sorted(own | before), "held_out": sorted(kept)}


def _ancestors(run: Run, trained: dict[str, StageProgress]) -> list[Ancestor]:
    """Every state whose weights the stages began with, but for these stages as they are now."""
    lineages = joined(*(progress.lineage(run.state_path(stage)) for stage, progress in trained.items()))
    now = {(run.state_path(stage).name, progress.weights) for stage, progress in trained.items()}
    return [state for key, state in lineages.items() if key not in now]


def _autoencoder_record(run: Run) -> dict[str, Any]:
    """The record of the auto-encoder that the run has, beyond which its state may have gone on.

    StateError where the record is of another one, or missing.
    """
    record, path = _read_record(run, "autoencoder"), run.directory / AUTOENCODER
    if record.get("sha256") != file_sha256(path):
        raise StateError(
            f"{path}: not the auto-encoder that {run.record_path('autoencoder')} is of; run `wav train autoencoder "
            f"--resume` to its end, or copy both from one run"
        )
    return record


def _read_record(run: Run, stage: str) -> dict[str, Any]:
    """What a stage wrote when it ended; empty if it has not yet."""
    path = run.record_path(stage)
    remedy = f"the same `wav train {stage}` as before with --resume writes it anew"
    return load_json(path, dict, remedy) if path.is_file() else {}


def _per_dataset(group: DatasetGroup, held_out: np.ndarray) -> dict[str, list[int]]:
    """Held-out episodes by the name of their dataset, as that one counts them."""
    places = [group.place(number) for number in np.flatnonzero(held_out)]
    return {
        dataset.root.name: [index for name, index in places if name == dataset.root.name] for dataset in group.datasets
    }


def _span(seeds: list[int]) -> list[int]:
    return [min(seeds), max(seeds)] if seeds else []
