"""A run: its directory, its data, and what decides it.

table.safetensors, text.safetensors, latents.npy, futures.npy   the dataset, encoded once (training/latent_files.py)
frames.npy                                                      its images, where the auto-encoder is trained here
autoencoder.safetensors, normalization.json                     what the checkpoint will carry
<stage>.state.safetensors                                       resumable state of each stage
<stage>.json                                                    record of each stage: calls, duration, losses
autoencoder.png                                                 true frames above their reconstructions
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wav_models.checkpoint import MODEL
from wav_models.checkpoint_files import file_sha256
from wav_models.configuration import check_choice
from wav_models.data.dataset import whole_path
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.episode_filter import EpisodeFilter
from wav_models.training.config import TrainConfig
from wav_models.training.data.frames import TABLE
from wav_models.training.data.latent_files import ORIGIN
from wav_models.training.state import StageProgress, load_progress

NORMALIZATION: Final = "normalization.json"


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        directory: where everything is written.
        data: dataset directories; trained on as one.
        config: what decides the run.
        command: recorded in the checkpoint.
        start: another run, or a checkpoint, from whose weights a stage starts instead of from random ones.
        trackers: where numbers are reported beside the printed lines, see `tracking`.
        pretrained: local LTX-Video directory (vae, tokenizer, text_encoder), for presets that use them.
        weights: published weights, from which what they hold starts instead of from random ones.
        teacher: the checkpoint that "distil" learns from; None: what it starts from.
    """

    directory: Path
    data: tuple[Path, ...]
    config: TrainConfig
    command: str
    trackers: tuple[str, ...] = ()
    start: Path | None = None
    pretrained: Path | None = None
    weights: Path | None = None
    teacher: Path | None = None

    def dataset(self) -> DatasetGroup:
        """The data as the configuration uses them; raises DatasetError as `DatasetGroup` does."""
        used = self.config.datasets
        known = {whole_path(path).name for path in self.data}
        for name in used:
            check_choice("dataset in `datasets`", name, known)
        return DatasetGroup(
            self.data,
            self.config.model.embodiment,
            {name: one.mapping for name, one in used.items() if one.mapping is not None},
            {name: one.episodes for name, one in used.items() if one.episodes is not None},
        )

    def imitated(self, dataset: DatasetGroup) -> NDArray[np.bool_]:
        """Whose actions are learnt, shape [E], given the run's data; ValueError where a condition is none."""
        filters = {name: EpisodeFilter(one.imitated) for name, one in self.config.datasets.items() if one.imitated}
        conditions = [filters.get(dataset.place(number)[0]) for number in range(len(dataset))]
        return np.array([holds is None or holds(one) for holds, one in zip(conditions, dataset.episodes, strict=True)])

    @property
    def base(self) -> Path | None:
        """The checkpoint that is built on, if `start` is one."""
        return self.start if self.start is not None and (self.start / MODEL).is_file() else None

    def began_with(self) -> dict[str, Any]:
        """What tells the checkpoints of `start` and `teacher` from others, as `inputs`."""
        checkpoints = {"--start": self.base, "--teacher": self.teacher}
        return {name: path and file_sha256(path / MODEL)[:16] for name, path in checkpoints.items()}

    def state_path(self, stage: str) -> Path:
        return self.directory / f"{stage}.state.safetensors"

    def record_path(self, stage: str) -> Path:
        return self.directory / f"{stage}.json"

    def inputs(self) -> dict[str, Any]:
        """What tells the model, the split and the encoded data that are here from others, by name."""
        files = {"table": TABLE, "latents": ORIGIN, "normalisation": NORMALIZATION}
        hashes = {name: file_sha256(self.directory / file)[:16] for name, file in files.items()}
        return {**{name: getattr(self.config, name) for name in ("preset", "seed", "validation_fraction")}, **hashes}

    def progress(self, stage: str) -> StageProgress:
        """How far a stage is; StateError where it has not been trained."""
        return load_progress(self.state_path(stage), f"run `wav train {stage}` first")
