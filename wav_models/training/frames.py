"""All frames of a dataset, decoded once: resized images in one memory-mapped array, numbers in one table."""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.samples import frames_per_step
from wav_models.presets import ModelConfig
from wav_models.training.state import load_tensors, save_tensors
from wav_models.types import VIEWS

IntArray = NDArray[np.int64]

FRAMES, TABLE = "frames.npy", "table.safetensors"


@dataclass(frozen=True)
class Table:
    """The numbers of all N steps of E episodes, at the model's step rate.

    Attributes:
        states, actions: joint values, shape [N, 14], rad and m.
        values: Table 2 terms and return, shape [N, 17].
        starts: index of the first step of every episode, then N; shape [E + 1].
        instructions: of every episode, length E.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    values: NDArray[np.float32]
    starts: IntArray
    instructions: tuple[str, ...]

    @property
    def episode_of_step(self) -> IntArray:
        """Shape [N]."""
        return np.repeat(np.arange(len(self.instructions)), np.diff(self.starts))

    def save(self, path: Path) -> None:
        arrays = {n: torch.from_numpy(getattr(self, n)) for n in ("states", "actions", "values", "starts")}
        save_tensors(path, arrays, {"instructions": self.instructions})

    @classmethod
    def load(cls, path: Path) -> Table:
        """StateError where the file is missing or damaged."""
        tensors, numbers = load_tensors(path, remedy="run `wav train latents` first")
        return cls(instructions=tuple(numbers["instructions"]), **{n: t.numpy() for n, t in tensors.items()})


def held_out_episodes(num_episodes: int, fraction: float, seed: int) -> NDArray[np.bool_]:
    """Which episodes are held out of every stage, shape [E]: each for itself, so that more data moves none of them."""
    uniform = np.array([np.random.default_rng([seed, episode]).random() for episode in range(num_episodes)])
    held_out = uniform < fraction
    if num_episodes > 1 and not held_out.any():
        held_out[int(uniform.argmin())] = True
    return held_out


def step_starts(dataset: Dataset, model: ModelConfig) -> IntArray:
    """First step of every episode, then the number of all steps, shape [E + 1]."""
    stride = frames_per_step(dataset.fps, model.horizon.step_hz)
    lengths = [-(-episode.length // stride) for episode in dataset.episodes]
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)


def read_table(dataset: Dataset, model: ModelConfig) -> Table:
    """All numbers of a labelled dataset.

    Raises:
        DatasetError: no episodes, or an episode without reward labels.
    """
    stride = frames_per_step(dataset.fps, model.horizon.step_hz)
    if len(dataset) == 0:
        raise DatasetError(f"{dataset.root}: no episodes")
    columns: dict[str, list[NDArray[np.float64]]] = {"states": [], "actions": [], "values": []}
    for episode in dataset:
        if episode.values is None:
            raise DatasetError(f"{dataset.root}: episode {episode.info.index} has no rewards; run `wav label` first")
        columns["states"].append(episode.states[::stride])
        columns["actions"].append(episode.actions[::stride])
        columns["values"].append(episode.values[::stride])
    arrays = {name: np.concatenate(rows).astype(np.float32) for name, rows in columns.items()}
    instructions = tuple(episode.instruction for episode in dataset.episodes)
    return Table(starts=step_starts(dataset, model), instructions=instructions, **arrays)


def cache_frames(dataset: Dataset, model: ModelConfig, path: Path, num_processes: int) -> NDArray[np.uint8]:
    """Decode and resize every frame unless `path` already holds them.

    Returns:
        uint8, memory-mapped, shape [N, V, H, W, 3].
    """
    starts = step_starts(dataset, model)
    shape = (int(starts[-1]), len(VIEWS), *model.latent.image_size, 3)
    if path.is_file() and np.load(path, mmap_mode="r").shape == shape:
        return np.load(path, mmap_mode="r")
    partial = path.with_name(path.name + ".partial")
    np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape).flush()
    jobs = [
        (dataset, model, partial, range(first, len(dataset), num_processes), starts) for first in range(num_processes)
    ]
    with multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        pool.map(_decode_episodes, jobs)
    partial.replace(path)
    return np.load(path, mmap_mode="r")


def _decode_episodes(job: tuple[Dataset, ModelConfig, Path, range, IntArray]) -> None:
    dataset, model, path, indices, starts = job
    stride = frames_per_step(dataset.fps, model.horizon.step_hz)
    target = np.lib.format.open_memmap(path, mode="r+")
    for index in indices:
        episode = dataset.read_episode(index)
        steps = range(0, len(episode), stride)
        rows = slice(int(starts[index]), int(starts[index]) + len(steps))
        for view, name in enumerate(VIEWS):
            target[rows, view] = episode.images(name, steps, model.latent.image_size)
    target.flush()
