"""All frames of a dataset, decoded once: resized images in one memory-mapped array, numbers in one table."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from wav_models.data.dataset import DatasetError, EpisodeInfo
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.durable import write_json
from wav_models.data.samples import frames_per_step, step_actions
from wav_models.presets import ModelConfig
from wav_models.progress import progress, told
from wav_models.rewards.label import label_episode
from wav_models.rewards.label_config import LabelConfig
from wav_models.training.state import StateError, load_json, load_tensors, save_tensors
from wav_models.types import ImageArray, IndexArray
from wav_models.worker_pool import worker_pool

Fingerprint = list[Any]
"""What tells an episode from another: name of its dataset, place in it, length, seed, sizes of its videos [bytes].

Not its data file, which `wav label` writes anew. Where episodes share a video file (not in our recordings), one that is
appended to it makes others of them, and they are encoded again.
"""

FRAMES, TABLE = "frames.npy", "table.safetensors"
PARTS: Final = 16
"""Of the work of a process, each of which is told when it is done."""
_ARRAYS: Final = ("states", "actions", "values", "starts", "imitated")
_ANEW: Final = "remove it, it is made anew"


@dataclass(frozen=True)
class Table:
    """The numbers of all N steps of E episodes, at the model's step rate.

    Attributes:
        states, actions: shapes [N, S] and [N, A].
        values: reward terms and return, shape [N, C].
        starts: index of the first step of every episode, then N; shape [E + 1].
        imitated: whose actions are learnt, see `DatasetConfig`; shape [E].
        instructions: of every episode, length E.
        episodes: which they are, see `fingerprints`.
        identities: what they are, see `Episode.identity`.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    values: NDArray[np.float32]
    starts: IndexArray
    imitated: NDArray[np.bool_]
    instructions: tuple[str, ...]
    episodes: list[Fingerprint]
    identities: tuple[str, ...]

    @property
    def episode_of_step(self) -> IndexArray:
        """Shape [N]."""
        return np.repeat(np.arange(len(self.instructions)), np.diff(self.starts))

    def save(self, path: Path) -> None:
        arrays = {n: torch.from_numpy(getattr(self, n)) for n in _ARRAYS}
        numbers = {"instructions": self.instructions, "episodes": self.episodes, "identities": self.identities}
        save_tensors(path, arrays, numbers)

    @classmethod
    def load(cls, path: Path) -> Table:
        """StateError where the file is missing, damaged or of another version."""
        tensors, numbers = load_tensors(path, remedy="run `wav train latents` first")
        if numbers.keys() != {"instructions", "episodes", "identities"} or tensors.keys() != set(_ARRAYS):
            raise StateError(f"{path}: written by another version; run `wav train latents` again")
        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in tensors.items()}
        instructions, identities = tuple(numbers["instructions"]), tuple(numbers["identities"])
        return cls(**arrays, instructions=instructions, identities=identities, episodes=numbers["episodes"])


class Frames(Protocol):
    """Images of a dataset at the model's step rate, resized as it sees them."""

    def read(self, episode: int, steps: range) -> ImageArray:
        """Some steps of an episode, uint8 [len(steps), V, H, W, 3]."""


@dataclass(frozen=True)
class DecodedFrames:
    """Straight from the videos: for those who need every image once."""

    dataset: DatasetGroup
    model: ModelConfig

    def read(self, episode: int, steps: range) -> ImageArray:
        stride = frames_per_step(self.dataset.fps, self.model.horizon.step_hz)
        recorded, frames = self.dataset.read_episode(episode), [stride * step for step in steps]
        size, views = self.model.latent.image_size, self.model.embodiment.view_names
        return np.stack([recorded.images(view, frames, size) for view in views], axis=1)


@dataclass(frozen=True)
class CachedFrames:
    """From what `cache_frames` wrote, with the first step of every episode."""

    path: Path
    starts: IndexArray

    def read(self, episode: int, steps: range) -> ImageArray:
        first = int(self.starts[episode])
        return np.array(load_frames(self.path)[first + steps.start : first + steps.stop])


def held_out_episodes(episodes: Sequence[Fingerprint], fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which episodes are held out of every stage, shape [E]: each by the name of its dataset and its place in it.

    About `fraction` of them; where that is none of a dataset's, one of its episodes but the first, if it has several.

    So neither another selection nor another order of datasets moves any. Appended episodes may end that exception or
    take its place, but nothing that was trained on is held out then (the first episode, alone at first, never is by
    exception): a training that starts from another one has not seen what it holds out.
    """
    names = np.array([str(name) for name, *_ in episodes])
    uniform = np.array([_uniform(seed, str(name), place) for name, place, *_ in episodes])
    held_out = uniform < fraction
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        if len(own) > 1 and not held_out[own].any():
            others = [episode for episode in own if episodes[episode][1] != 0]
            held_out[min(others, key=uniform.__getitem__)] = True
    return held_out


def _uniform(seed: int, name: str, place: int) -> float:
    """A number in [0, 1) for an episode."""
    return float(np.random.default_rng([seed, zlib.crc32(name.encode()), place]).random())


def step_starts(dataset: DatasetGroup, model: ModelConfig) -> IndexArray:
    """First step of every episode, then the number of all steps, shape [E + 1]."""
    stride = _stride(dataset, model)
    lengths = [-(-episode.length // stride) for episode in dataset.episodes]
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def _stride(dataset: DatasetGroup, model: ModelConfig) -> int:
    """Recorded frames per step of the model; DatasetError where the rate does not fit."""
    try:
        return frames_per_step(dataset.fps, model.horizon.step_hz)
    except ValueError as error:
        root, rate = dataset.datasets[0].root, f"{model.horizon.step_hz:g} Hz"
        raise DatasetError(f"{root}: {error}; record at {rate} or a multiple for {model.name}") from error


def read_table(
    dataset: DatasetGroup,
    model: ModelConfig,
    labels: LabelConfig | None = None,
    imitated: NDArray[np.bool_] | None = None,
) -> Table:
    """All numbers of a labelled dataset.

    Args:
        labels: how episodes that are read through a mapping are labelled here; the defaults when None.
        imitated: see `Table`; all when None.

    Raises:
        DatasetError: no episodes, an episode without reward labels, labels of different settings, or a rate that
            does not fit.
    """
    stride = _stride(dataset, model)
    if len(dataset) == 0:
        raise DatasetError("the datasets have no episodes")
    dataset.check_labels()
    columns: dict[str, list[NDArray[np.float64]]] = {"states": [], "actions": [], "values": []}
    identities = []
    for number, episode in enumerate(told("reading the data", dataset, len(dataset))):
        values = episode.values
        if values is None and dataset.is_mapped(number):
            values = label_episode(model.embodiment, episode, labels or LabelConfig())
        if values is None:
            raise DatasetError(f"{dataset.where(number)} has no rewards; run `wav label` first")
        identities.append(episode.identity)
        columns["states"].append(episode.states[::stride])
        columns["actions"].append(step_actions(episode.actions, stride, model.embodiment))
        columns["values"].append(values[::stride])
    arrays = {name: np.concatenate(rows).astype(np.float32) for name, rows in columns.items()}
    instructions = tuple(episode.instruction for episode in dataset.episodes)
    return Table(
        starts=step_starts(dataset, model),
        imitated=np.ones(len(dataset), np.bool_) if imitated is None else imitated,
        instructions=instructions,
        episodes=fingerprints(dataset),
        identities=tuple(identities),
        **arrays,
    )


def cache_frames(dataset: DatasetGroup, model: ModelConfig, path: Path, num_processes: int) -> NDArray[np.uint8]:
    """Check the datasets, then decode and resize every frame that `path` does not hold yet.

    Returns:
        uint8, memory-mapped, shape [N, V, H, W, 3].

    Raises:
        DatasetError: what is wrong with the data, before anything is decoded.
        OSError: the disk is full.
        ChildProcessError: a worker died.
    """
    starts = step_starts(dataset, model)
    shape = (int(starts[-1]), model.num_views, *model.latent.image_size, 3)
    known = _known_episodes(path, dataset)
    if known == len(dataset):
        return load_frames(path)
    dataset.check(num_processes)
    partial = path.with_name(path.name + ".partial")
    frames = allocate(partial, np.dtype(np.uint8), shape)
    if known:
        frames[: int(starts[known])] = load_frames(path)
    frames.flush()
    parts = min(len(dataset) - known, PARTS * num_processes)
    jobs = [(dataset, model, partial, range(known + first, len(dataset), parts), starts) for first in range(parts)]
    with progress("decoding videos") as tell, worker_pool(num_processes) as pool:
        tell(0, parts)
        for done, _ in enumerate(pool.map(_decode_episodes, jobs), start=1):
            tell(done, parts)
    _index_path(path).unlink(missing_ok=True)
    partial.replace(path)
    write_json(_index_path(path), fingerprints(dataset))
    return load_frames(path)


def load_frames(path: Path) -> NDArray[np.uint8]:
    """What `cache_frames` wrote, memory-mapped; StateError where it is damaged."""
    return load_array(path, _ANEW)


def load_array(path: Path, remedy: str) -> np.memmap[Any, Any]:
    """An array that is there, memory-mapped; StateError, which ends with `remedy`, where it is damaged."""
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except ValueError as error:
        raise StateError(f"{path}: damaged ({error}); {remedy}") from error


def allocate(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new memory-mapped array with its place on the disk: a write to one without kills the process by a signal.

    Raises:
        OSError: the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        path.unlink()
        raise OSError(error.errno, f"{error.strerror}; {size / 1e9:.1f} GB are needed", str(path)) from error
    return array


def _known_episodes(path: Path, dataset: DatasetGroup) -> int:
    """How many of the first episodes `path` holds: all that it holds, or none if they are others."""
    if not path.is_file() or not _index_path(path).is_file():
        return 0
    held = load_json(_index_path(path), list, _ANEW)
    return len(held) if held == fingerprints(dataset)[: len(held)] else 0


def _index_path(path: Path) -> Path:
    return path.with_suffix(".json")


def fingerprints(dataset: DatasetGroup) -> list[Fingerprint]:
    """Of all episodes, in order; DatasetError where a video is missing."""
    return [
        [dataset.place(number)[0], e.index, e.length, e.seed, _video_sizes(e)]
        for number, e in enumerate(dataset.episodes)
    ]


def _video_sizes(episode: EpisodeInfo) -> list[int | str]:
    try:
        return [part.size for part in episode.videos.values()]
    except FileNotFoundError as error:
        raise DatasetError(
            f"{error.filename}: no such file, but the episode table lists it; see `wav dataset check`"
        ) from error


def _decode_episodes(job: tuple[DatasetGroup, ModelConfig, Path, range, IndexArray]) -> None:
    dataset, model, path, indices, starts = job
    frames = DecodedFrames(dataset, model)
    target = np.lib.format.open_memmap(path, mode="r+")
    for index in indices:
        first, end = int(starts[index]), int(starts[index + 1])
        target[first:end] = frames.read(index, range(end - first))
    target.flush()
