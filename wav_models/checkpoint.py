"""A checkpoint is one directory; nothing in it is pickled, and only the planner's parameters are optional.

config.json                 every field of `ModelConfig`
model.safetensors           the three networks, under the published tensor names
autoencoder.safetensors     only when the auto-encoder was trained here ("tiny")
normalization.json          statistics of states, actions and values
training.json               how it was made: data, seeds, commands, durations
planner.json                how to plan with it: fields of `PlannerConfig` that are not the defaults; written by hand
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wav_models.configuration import from_dict, to_dict
from wav_models.data.normalization import Normalization, NormalizationError
from wav_models.networks.autoencoder import Autoencoder, TinyAutoencoder, make_autoencoder
from wav_models.networks.tensor_names import official_name, our_name
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig

CONFIG, MODEL, AUTOENCODER = "config.json", "model.safetensors", "autoencoder.safetensors"
NORMALIZATION, TRAINING, PLANNER = "normalization.json", "training.json", "planner.json"


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or of another shape; names the file, the tensors and the remedy."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to act: see the module's docstring for the files."""

    config: ModelConfig
    model: WAVModel
    autoencoder: Autoencoder
    normalization: Normalization
    training_record: dict[str, Any]
    directory: Path


def save_checkpoint(
    directory: Path,
    *,
    model: WAVModel,
    autoencoder: Autoencoder,
    normalization: Normalization,
    training_record: dict[str, Any],
) -> None:
    """Write a checkpoint; an older one of that name is replaced only once the new one is complete on disk.

    The older one's planner.json is kept, its exported engines are not: they are of its weights.
    """
    directory = Path(directory)
    temporary, previous = (directory.with_name(f".{directory.name}.{end}") for end in ("partial", "previous"))
    if previous.exists() and not directory.exists():  # killed between the two renames below
        os.rename(previous, directory)
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    _write_json(temporary / CONFIG, to_dict(model.config))
    _write_json(temporary / TRAINING, training_record)
    normalization.to_json(temporary / NORMALIZATION)
    _write_tensors(temporary / MODEL, {official_name(name): t for name, t in model.state_dict().items()})
    if isinstance(autoencoder, TinyAutoencoder):
        _write_tensors(temporary / AUTOENCODER, autoencoder.state_dict())
    if (directory / PLANNER).is_file():
        shutil.copyfile(directory / PLANNER, temporary / PLANNER)
    for path in (*temporary.iterdir(), temporary):
        _sync(path)
    if directory.exists():
        os.rename(directory, previous)
    os.rename(temporary, directory)
    _sync(directory.parent)
    shutil.rmtree(previous, ignore_errors=True)


def load_model_config(directory: Path) -> ModelConfig:
    """What a checkpoint says of its model, without its weights; raises CheckpointError as `load_checkpoint` does."""
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: no such checkpoint directory; train one with `wav train`")
    try:
        return from_dict(ModelConfig, _read_json(directory / CONFIG))
    except ValueError as error:
        raise CheckpointError(f"{directory / CONFIG}: {error}. Restore the file or train again") from error


def load_checkpoint(
    directory: Path,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    autoencoder_directory: Path | None = None,
) -> Checkpoint:
    """Read a checkpoint strictly, in evaluation mode.

    Args:
        directory: what `save_checkpoint` wrote.
        device: where the networks go.
        dtype: of the three networks.
        autoencoder_directory: of a pretrained auto-encoder (`latent.autoencoder` "ltx"); unused otherwise.

    Raises:
        CheckpointError: naming the file, and the tensors that are missing, unknown, of wrong shape or not finite.
    """
    directory = Path(directory)
    config = load_model_config(directory)
    with torch.device("meta"):
        model = WAVModel(config)
    tensors = {our_name(name): tensor for name, tensor in _read_tensors(directory / MODEL).items()}
    _load_strictly(model, tensors, directory / MODEL, official_name)
    autoencoder = make_autoencoder(config, autoencoder_directory)
    if isinstance(autoencoder, TinyAutoencoder):
        _load_strictly(autoencoder, _read_tensors(directory / AUTOENCODER), directory / AUTOENCODER, str)
    try:
        normalization = Normalization.from_json(directory / NORMALIZATION)
    except NormalizationError as error:
        raise CheckpointError(str(error)) from error
    if normalization.action_horizon != config.horizon.action_horizon:
        raise CheckpointError(
            f"{directory / NORMALIZATION}: statistics of {normalization.action_horizon} action steps, but {CONFIG} has "
            f"action_horizon {config.horizon.action_horizon}. Restore the file or fit the statistics again"
        )
    return Checkpoint(
        config,
        model.to(device=device, dtype=dtype).eval().requires_grad_(False),
        autoencoder.to(device).eval().requires_grad_(False),
        normalization,
        _read_json(directory / TRAINING),
        directory,
    )


@dataclass(frozen=True)
class PretrainedReport:
    """What `load_pretrained` did.

    Attributes:
        loaded: published names of the tensors that were read.
        initialised: parts that the file does not have and that keep their initial weights: "views", "value", "action".
        ignored: tensors of the file that belong to its auto-encoder.
    """

    loaded: tuple[str, ...]
    initialised: tuple[str, ...]
    ignored: tuple[str, ...]


def load_pretrained(path: Path, model: WAVModel) -> PretrainedReport:
    """Start from published weights: safetensors of LTX-Video, of a multi-view video model, or of WAV.

    A part that such a file may lack (embedding of views, value expert, action expert) is either complete in it or
    keeps its initial weights; everything else is strict.

    Args:
        path: a safetensors file, or a directory whose safetensors files are the shards of one model.
        model: changed in place, on its own device and dtype.

    Raises:
        CheckpointError: naming the tensors that are missing, unknown or of wrong shape.
    """
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise CheckpointError(f"{path}: no safetensors files; give the file or the directory of the transformer")
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = {_diffusers_name(name): tensor for name, tensor in _read_tensors(file).items()}
        if twice := sorted(found.keys() & tensors.keys()):
            raise CheckpointError(f"{file}: also in another file: {_first(twice)}. Keep the shards of one model only")
        found |= tensors
    ignored = tuple(sorted(name for name in found if name.startswith("vae.")))
    tensors = {our_name(name): tensor for name, tensor in found.items() if name not in ignored}
    current = model.state_dict()
    initialised = []
    for part, prefixes in {"views": ("video.view_",), "value": ("value.",), "action": ("action.",)}.items():
        names = [name for name in current if name.startswith(prefixes)]
        if names and not any(name in tensors for name in names):
            tensors |= {name: current[name] for name in names}
            initialised.append(part)
    loaded = tuple(official_name(name) for name in tensors if not any(tensors[name] is t for t in (current.get(name),)))
    _check_tensors(current, tensors, path, official_name)
    model.load_state_dict(tensors)
    return PretrainedReport(loaded, tuple(initialised), ignored)


def _diffusers_name(name: str) -> str:
    """Tensor names of Lightricks' own single-file release, as diffusers renames them; others are unchanged."""
    name = name.removeprefix("model.diffusion_model.")
    for original, renamed in (
        ("patchify_proj.", "proj_in."),
        ("adaln_single.", "time_embed."),
        (".q_norm.", ".norm_q."),
        (".k_norm.", ".norm_k."),
    ):
        name = name.replace(original, renamed)
    return name


def _load_strictly(module: nn.Module, tensors: dict[str, Tensor], path: Path, published: Any) -> None:
    _check_tensors(module.state_dict(), tensors, path, published)
    module.load_state_dict(tensors, assign=True)


def _check_tensors(expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path, published: Any) -> None:
    """CheckpointError unless names and shapes agree and all numbers are finite."""
    problems = {
        "missing": [published(name) for name in expected if name not in tensors],
        "unknown": [published(name) for name in tensors if name not in expected],
        "wrong shape": [
            f"{published(name)} {list(tensors[name].shape)}, expected {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
        "not finite": [
            published(name)
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and not torch.isfinite(tensor).all()
        ],
    }
    found = "; ".join(f"{what} ({len(names)}): {_first(names)}" for what, names in problems.items() if names)
    if found:
        raise CheckpointError(f"{path}: {found}. Use a checkpoint of this configuration, or restore the file")


def _first(names: list[str], count: int = 8) -> str:
    return ", ".join(names[:count]) + (f", and {len(names) - count} more" if len(names) > count else "")


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file; the checkpoint is incomplete: restore or save it again"
        ) from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged ({error}); restore the file") from error


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    except SafetensorError as error:  # a full disk, too
        path.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written ({error}); free space and save again") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file; the checkpoint is incomplete: restore or save it again"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON ({error}); restore the file") from error


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    """Force a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
