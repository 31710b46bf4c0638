"""Building on a checkpoint: a run that goes on from its weights, with its auto-encoder and its normalisation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from wav_models.checkpoint import Checkpoint, load_checkpoint
from wav_models.networks.autoencoder import TinyAutoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.training.config import EVERY_STAGE
from wav_models.training.data.latents import AUTOENCODER
from wav_models.training.run import NORMALIZATION, Run
from wav_models.training.state import Ancestor, StateError, load_tensors, save_tensors


def take_over_base(run: Run, base: Path) -> None:
    """Copy a checkpoint's auto-encoder and normalisation into the run; StateError where the run has another."""
    target = run.directory / AUTOENCODER
    checkpoint = load_checkpoint(base, autoencoder_directory=run.pretrained and run.pretrained / "vae")
    _require_model(checkpoint.config, base, run)
    checkpoint.normalization.to_json(run.directory / NORMALIZATION)
    if isinstance(checkpoint.autoencoder, TinyAutoencoder) and not target.is_file():
        save_tensors(target, dict(checkpoint.autoencoder.state_dict()), {})
    _require_autoencoder(run, checkpoint)


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


def load_teacher(run: Run) -> WAVModel | None:
    """The model of the checkpoint that is learnt from, if one was named; StateError where it is another preset's."""
    if run.teacher is None:
        return None
    checkpoint = load_checkpoint(run.teacher, autoencoder_directory=run.pretrained and run.pretrained / "vae")
    _require_model(checkpoint.config, run.teacher, run)
    _require_autoencoder(run, checkpoint)
    return checkpoint.model


def load_base(run: Run, model: WAVModel) -> list[Ancestor]:
    """Put the weights of the checkpoint that is built on, if there is one, into the model; its `config` becomes theirs.

    Returns:
        Their lineage: what the checkpoint's own record says of its stages, and what it was trained on.

    Raises:
        StateError: it holds another model, or has another auto-encoder than the run.
        CheckpointError: it is damaged.
    """
    if run.base is None:
        return []
    checkpoint = load_checkpoint(run.base, autoencoder_directory=run.pretrained and run.pretrained / "vae")
    _require_model(checkpoint.config, run.base, run)
    _require_autoencoder(run, checkpoint)
    model.load_state_dict(checkpoint.model.state_dict())
    model.config = checkpoint.config
    record = checkpoint.training_record
    stages = record.get("stages", {}) if isinstance(record.get("stages"), dict) else {}
    own = [
        {"path": str(run.base / f"{stage}.state.safetensors"), "trained_on": _trained_on(record), **facts}
        for stage, facts in stages.items()
        if stage in EVERY_STAGE
        for facts in [{k: stages[stage].get(k, v) for k, v in _UNKNOWN.items()}]
    ]
    return [*record.get("ancestors", []), *own]


_UNKNOWN: Final[dict[str, Any]] = {"calls": [], "steps": 0, "samples": 0, "seconds": 0.0}


def _trained_on(record: dict[str, Any]) -> list[str]:
    """Identities of the episodes that a checkpoint was trained on, as far as it says."""
    data = record.get("data")
    known = data.get("identities") if isinstance(data, dict) else None
    return list(known["trained_on"]) if isinstance(known, dict) else []
