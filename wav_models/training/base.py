"""Building on a checkpoint: a run that goes on from its weights, with its auto-encoder and its normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from wav_models.checkpoint import Checkpoint, load_checkpoint, load_training_record
from wav_models.data.normalization import Normalization
from wav_models.networks.autoencoder import TinyAutoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.training.config import DISTIL, EVERY_STAGE
from wav_models.training.data.latents import AUTOENCODER
from wav_models.training.run import NORMALIZATION, Run
from wav_models.training.state import Ancestor, StateError, load_tensors, require_file, save_tensors


def take_over_base(run: Run, base: Path) -> None:
    """Copy a checkpoint's auto-encoder and normalisation into the run; StateError where it has another auto-encoder."""
    target = run.directory / AUTOENCODER
    checkpoint = load_checkpoint(base, autoencoder_directory=run.pretrained and run.pretrained / "vae")
    _require_model(checkpoint.config, base, run)
    if isinstance(checkpoint.autoencoder, TinyAutoencoder) and not target.is_file():
        save_tensors(target, dict(checkpoint.autoencoder.state_dict()), {})
    _require_autoencoder(run, checkpoint)
    checkpoint.normalization.to_json(run.directory / NORMALIZATION)


def with_given_steps(config: ModelConfig, given_steps: int | None) -> ModelConfig:
    """The configuration of a model whose action expert was trained to be given so many steps."""
    return replace(config, horizon=replace(config.horizon, given_steps=given_steps))


def _require_model(config: ModelConfig, base: Path, run: Run) -> None:
    if with_given_steps(config, None) != run.config.model:
        raise StateError(f"{base}: holds another model than preset {run.config.preset}; choose its preset")


def _require_autoencoder(run: Run, checkpoint: Checkpoint) -> None:
    if not isinstance(checkpoint.autoencoder, TinyAutoencoder):
        return
    held, _ = load_tensors(run.directory / AUTOENCODER, remedy=f"run `wav train latents --start {run.start}` first")
    known = checkpoint.autoencoder.state_dict()
    if held.keys() != known.keys() or any(not torch.equal(held[name], known[name]) for name in held):
        raise StateError(
            f"{run.directory / AUTOENCODER}: another auto-encoder than that of {checkpoint.directory}; use a new run "
            f"directory and begin with `wav train latents --start {checkpoint.directory}`"
        )


def _fitting(run: Run, directory: Path) -> Checkpoint:
    """A checkpoint whose networks know what the run encodes; StateError where they know other latents or units."""
    checkpoint = load_checkpoint(directory, autoencoder_directory=run.pretrained and run.pretrained / "vae")
    _require_model(checkpoint.config, directory, run)
    _require_autoencoder(run, checkpoint)
    path, anew = run.directory / NORMALIZATION, f"`wav train latents --start {directory}`"
    require_file(path, f"run {anew} first")
    if not Normalization.from_json(path, run.config.model.embodiment).equals(checkpoint.normalization):
        raise StateError(f"{path}: not the normalisation of {directory}; begin in a new run directory, with {anew}")
    return checkpoint


def load_teacher(run: Run, student: WAVModel) -> tuple[WAVModel | None, list[Ancestor]]:
    """The model of the checkpoint that is learnt from, if one was named, and its lineage as `load_base`.

    Raises:
        StateError: as `load_base`; or it is given another number of a chunk's steps than what starts.
        ValueError: none was named, and what the run is built on is a student itself.
    """
    if run.teacher is None:
        if run.base is not None and DISTIL in _stages(load_training_record(run.base)):
            raise ValueError(f"--start {run.base} is a student itself: name what both learn from with --teacher")
        return None, []
    checkpoint = _fitting(run, run.teacher)
    if checkpoint.config != student.config:
        theirs, ours = (config.horizon.given_steps or 0 for config in (checkpoint.config, student.config))
        raise StateError(f"{run.teacher}: is given {theirs} steps of a chunk, what starts {ours}: they must be as many")
    return checkpoint.model, _lineage(checkpoint)


def load_base(run: Run, model: WAVModel) -> list[Ancestor]:
    """Put the weights of the checkpoint that is built on, if there is one, into the model; its `config` becomes theirs.

    Returns:
        Their lineage: what the checkpoint's own record says of its stages, and what it was trained on.

    Raises:
        StateError: it holds another model, or has another auto-encoder or normalisation than the run.
        CheckpointError: it is damaged.
    """
    if run.base is None:
        return []
    checkpoint = _fitting(run, run.base)
    model.load_state_dict(checkpoint.model.state_dict())
    model.config = checkpoint.config
    return _lineage(checkpoint)


_UNKNOWN: Final[dict[str, Any]] = {"calls": [], "steps": 0, "samples": 0, "seconds": 0.0}


def _lineage(checkpoint: Checkpoint) -> list[Ancestor]:
    """The ancestors of what starts from a checkpoint, or learns from it."""
    record = checkpoint.training_record
    own = [
        {"path": str(checkpoint.directory / f"{stage}.state.safetensors"), "trained_on": _trained_on(record), **known}
        for stage, facts in _stages(record).items()
        if stage in EVERY_STAGE
        for known in [{name: facts.get(name, unknown) for name, unknown in _UNKNOWN.items()}]
    ]
    return [*record.get("ancestors", []), *own]


def _stages(record: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its stages, as far as it does."""
    stages = record.get("stages")
    return stages if isinstance(stages, dict) else {}


def _trained_on(record: dict[str, Any]) -> list[str]:
    """Identities of the episodes that a checkpoint was trained on, as far as it says."""
    data = record.get("data")
    known = data.get("identities") if isinstance(data, dict) else None
    return list(known["trained_on"]) if isinstance(known, dict) else []
