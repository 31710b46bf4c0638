"""A checkpoint is one directory; nothing in it is pickled, and only the planner's parameters are optional.

config.json                 every field of `ModelConfig`
model.safetensors           the three networks, under the published tensor names
autoencoder.safetensors     only when the auto-encoder was trained here ("tiny")
normalization.json          statistics of states, actions and values
training.json               how it was made: data, seeds, commands, durations
planner.json                how to plan with it: fields of `PlannerConfig` that are not the defaults; written by hand
SHA256SUMS                  of all of these, see `checkpoint_files`; older checkpoints have none
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from wav_models.checkpoint_files import (
    SUMS,
    CheckpointError,
    CheckpointFiles,
    hash_files,
    identity,
    read_tensors,
    write_sums,
)
from wav_models.configuration import from_dict
from wav_models.data.durable import sync, write_json, write_tensors
from wav_models.data.normalization import Normalization, NormalizationError
from wav_models.networks.autoencoder import Autoencoder, LTXAutoencoder, TinyAutoencoder, make_autoencoder
from wav_models.networks.tensor_names import official_name, our_name
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.presets import ModelConfig

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "checkpoint_hash",
    "load_checkpoint",
    "load_model_config",
    "load_planner_config",
    "load_pretrained",
    "load_training_record",
    "save_checkpoint",
]

logger = logging.getLogger(__name__)
T = TypeVar("T")

CONFIG, MODEL, AUTOENCODER = "config.json", "model.safetensors", "autoencoder.safetensors"
NORMALIZATION, TRAINING, PLANNER = "normalization.json", "training.json", "planner.json"
HEADER_BYTES: Final = 64 * 2**20
"""What a file of tensors may have beside their numbers."""
SHORT: Final = 12
"""Digits of a hash that are shown."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to act: see the module's docstring for the files.

    Attributes:
        planner: how to plan with it; the defaults where nothing is stored.
        files: SHA-256 of every file as it was read, by name; empty where it was not read from files.
    """

    config: ModelConfig
    model: WAVModel
    autoencoder: Autoencoder
    normalization: Normalization
    training_record: dict[str, Any]
    directory: Path
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    files: Mapping[str, str] = field(default_factory=dict)


def save_checkpoint(
    directory: Path,
    *,
    model: WAVModel,
    autoencoder: Autoencoder,
    normalization: Normalization,
    training_record: dict[str, Any],
    planner: PlannerConfig | None = None,
) -> None:
    """Write a checkpoint; an older one of that name is replaced only once the new one is complete on disk.

    The older one's exported engines are not kept: they are of its weights.

    Args:
        planner: how to plan with it; None keeps what an older checkpoint of that name says, if there is one.
    """
    directory = Path(directory)
    temporary, previous = (directory.with_name(f".{directory.name}.{end}") for end in ("partial", "previous"))
    if previous.exists() and not directory.exists():  # killed between the two renames below
        os.rename(previous, directory)
    for leftover in (temporary, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    write_json(temporary / CONFIG, asdict(model.config))
    write_json(temporary / TRAINING, training_record)
    normalization.to_json(temporary / NORMALIZATION)
    _write_tensors(temporary / MODEL, {official_name(name): t for name, t in model.state_dict().items()})
    if isinstance(autoencoder, TinyAutoencoder):
        _write_tensors(temporary / AUTOENCODER, autoencoder.state_dict())
    if planner is not None:
        defaults = asdict(PlannerConfig())
        write_json(temporary / PLANNER, {k: v for k, v in asdict(planner).items() if v != defaults[k]})
    elif (directory / PLANNER).is_file():
        shutil.copyfile(directory / PLANNER, temporary / PLANNER)
    write_sums(temporary)
    for path in (*temporary.iterdir(), temporary):
        sync(path)
    if directory.exists():
        os.rename(directory, previous)
    os.rename(temporary, directory)
    sync(directory.parent)
    shutil.rmtree(previous, ignore_errors=True)


def checkpoint_hash(directory: Path) -> str:
    """SHA-256 of a checkpoint: over names and contents of its files, as `sha256sum SHA256SUMS` prints it."""
    return identity(hash_files(directory))


def load_model_config(directory: Path) -> ModelConfig:
    """What a checkpoint says of its model, without its weights; raises CheckpointError as `load_checkpoint` does."""
    return _read_config(_open(directory))


def load_planner_config(directory: Path) -> PlannerConfig:
    """How to plan with a checkpoint, without its weights; raises CheckpointError as `load_checkpoint` does."""
    return _read_planner(_open(directory))


def load_training_record(directory: Path) -> dict[str, Any]:
    """How a checkpoint was trained, without its weights; raises CheckpointError as `load_checkpoint` does."""
    return _read_record(_open(directory))


def load_checkpoint(
    directory: Path,
    device: str | torch.device = "cpu",
    *,
    dtype: torch.dtype = torch.float32,
    autoencoder_directory: Path | None = None,
) -> Checkpoint:
    """Read a checkpoint strictly, in evaluation mode. What is loaded does not change when a file does.

    Args:
        directory: what `save_checkpoint` wrote.
        device: where the networks go.
        dtype: of the weights of the three networks; rotary tables stay in float32. They are converted before they go to
            the device, one by one.
        autoencoder_directory: of a pretrained auto-encoder (`latent.autoencoder` "ltx"); unused otherwise.

    Raises:
        CheckpointError: naming the file, and the tensors that are missing, unknown, of wrong shape or not finite.
    """
    files = _open(directory)
    config, planner, record = _read_config(files), _read_planner(files), _read_record(files)
    normalization = _read_normalization(files, config)
    model, autoencoder = _build(files, config, autoencoder_directory)
    _load_strictly(model, files, MODEL, our_name, official_name)
    if isinstance(autoencoder, TinyAutoencoder):
        _load_strictly(autoencoder, files, AUTOENCODER, str, str)
        autoencoder.float()  # whatever it was stored as
    checkpoint = Checkpoint(
        config,
        _in_format(model, dtype).to(device).eval().requires_grad_(False),
        autoencoder.to(device).eval().requires_grad_(False),
        normalization,
        record,
        files.directory,
        planner,
        files.read,
    )
    files.require_all_read()
    checked = "as saved" if files.saved is not None else f"not checked: it has no {SUMS}, as older checkpoints"
    logger.info("checkpoint %s: sha256 %s, %s", files.directory, identity(files.read)[:SHORT], checked)
    return checkpoint


def _open(directory: Path) -> CheckpointFiles:
    return CheckpointFiles(Path(directory), by_hand=(PLANNER,))


def _read_config(files: CheckpointFiles) -> ModelConfig:
    return _read(ModelConfig, files, CONFIG, "Restore the file or train again")


def _read_planner(files: CheckpointFiles) -> PlannerConfig:
    return _read(PlannerConfig, files, PLANNER, "Correct the file") if files.has(PLANNER) else PlannerConfig()


def _read(kind: type[T], files: CheckpointFiles, name: str, remedy: str) -> T:
    try:
        return from_dict(kind, files.json(name))
    except (ValueError, OverflowError) as error:
        raise CheckpointError(f"{files.directory / name}: {error}. {remedy}") from error


def _read_normalization(files: CheckpointFiles, config: ModelConfig) -> Normalization:
    path = files.directory / NORMALIZATION
    try:
        normalization = Normalization.from_dict(files.json(NORMALIZATION), config.embodiment)
    except NormalizationError as error:
        raise CheckpointError(f"{path}: {error}. Restore the file or fit the statistics again") from error
    if normalization.action_horizon != config.horizon.action_horizon:
        raise CheckpointError(
            f"{path}: statistics of {normalization.action_horizon} action steps, but {CONFIG} has "
            f"action_horizon {config.horizon.action_horizon}. Restore the file or fit the statistics again"
        )
    return normalization


def _read_record(files: CheckpointFiles) -> dict[str, Any]:
    record = files.json(TRAINING)
    if not isinstance(record, dict):
        raise CheckpointError(f"{files.directory / TRAINING}: expected a mapping; restore the file")
    return record


def _build(
    files: CheckpointFiles, config: ModelConfig, autoencoder_directory: Path | None
) -> tuple[WAVModel, TinyAutoencoder | LTXAutoencoder]:
    """The networks of a configuration: the model without weights, the auto-encoder with initial or its own ones."""
    try:
        with torch.device("meta"):
            model = WAVModel(config)
        return model, make_autoencoder(config, autoencoder_directory)
    except (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"{files.directory / CONFIG}: no model can be built of it ({error}). Restore the file or train again"
        ) from error


def _in_format(model: WAVModel, dtype: torch.dtype) -> WAVModel:
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


_FORMATS: Final = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
"""Of weights in a file. 8 bits are made of them where they are asked for, with scales of their own."""
_CHANNELS: Final = ("value.proj_in.", "value.proj_out.", "action.proj_in.", "action.proj_out.")
"""Parameters whose shapes are those of a robot's values, actions and state."""


def load_pretrained(path: Path, model: WAVModel) -> tuple[str, ...]:
    """Start from published weights: safetensors of LTX-Video, of a multi-view video model, or of WAV.

    A part that such a file may lack (embedding of views, value expert, action expert) is either complete in it or
    keeps its initial weights. So do projections from and to the channels of another robot, which have another shape.
    Everything else is strict.

    Args:
        path: a safetensors file, or a directory whose safetensors files are the shards of one model.
        model: changed in place, on its own device and dtype.

    Returns:
        Parts that keep their initial weights: "views", "value", "action" where the file does not have them,
        "value.proj_in" and the like where it has them for another robot.

    Raises:
        CheckpointError: naming the tensors that are missing, unknown or of wrong shape.
    """
    path = Path(path)
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files:
        raise CheckpointError(f"{path}: no safetensors files; give the file or the directory of the transformer")
    found: dict[str, Tensor] = {}
    for file in files:
        tensors = {_diffusers_name(name): tensor for name, tensor in read_tensors(file).items()}
        if twice := sorted(found.keys() & tensors.keys()):
            raise CheckpointError(f"{file}: also in another file: {_first(twice)}. Keep the shards of one model only")
        found |= tensors
    tensors = {our_name(name): tensor for name, tensor in found.items() if not name.startswith("vae.")}
    current = model.state_dict()
    initialised = []
    for part, prefix in {"views": "video.view_", "value": "value.", "action": "action."}.items():
        names = [name for name in current if name.startswith(prefix)]
        if names and not any(name in tensors for name in names):
            tensors |= {name: current[name] for name in names}
            initialised.append(part)
    others = [n for n in tensors.keys() & current.keys() if n.startswith(_CHANNELS)]
    others = [name for name in others if tensors[name].shape != current[name].shape]
    tensors |= {name: current[name] for name in others}
    initialised += sorted({name.rpartition(".")[0] for name in others})
    _check_tensors(current, tensors, path, official_name)
    model.load_state_dict(tensors)
    return tuple(initialised)


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


def _load_strictly(
    module: nn.Module, files: CheckpointFiles, name: str, ours: Callable[[str], str], published: Callable[[str], str]
) -> None:
    """Give a module the tensors of a file, whose names `ours` translates and `published` translates back."""
    expected = module.state_dict()
    max_bytes = HEADER_BYTES + sum(8 * tensor.numel() for tensor in expected.values())
    tensors = {ours(theirs): tensor for theirs, tensor in files.tensors(name, max_bytes).items()}
    _check_tensors(expected, tensors, files.directory / name, published)
    module.load_state_dict(tensors, assign=True)


def _check_tensors(
    expected: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path, published: Callable[[str], str]
) -> None:
    """CheckpointError unless names and shapes agree and all numbers are finite."""
    problems = {
        "missing": [published(name) for name in expected if name not in tensors],
        "unknown": [published(name) for name in tensors if name not in expected],
        "wrong shape": [
            f"{published(name)} {list(tensors[name].shape)}, expected {list(tensor.shape)}"
            for name, tensor in expected.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ],
        "no floating point": [published(n) for n, tensor in tensors.items() if not tensor.is_floating_point()],
        "of too few bits": [
            f"{published(name)} {tensor.dtype}"
            for name, tensor in tensors.items()
            if tensor.is_floating_point() and tensor.dtype not in _FORMATS
        ],
        "not finite": [
            published(name)
            for name, tensor in tensors.items()
            if tensor.dtype in _FORMATS and not torch.isfinite(tensor).all()
        ],
    }
    found = "; ".join(f"{what} ({len(names)}): {_first(names)}" for what, names in problems.items() if names)
    if found:
        raise CheckpointError(f"{path}: {found}. Use a checkpoint of this configuration, or restore the file")


def _first(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", and {len(names) - 8} more" if len(names) > 8 else "")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError

    try:
        write_tensors(path, tensors)
    except SafetensorError as error:  # a full disk, too
        path.unlink(missing_ok=True)
        raise CheckpointError(f"{path}: cannot be written ({error}); free space and save again") from error
