"""A recorded episode as the page and the policy need it, from a LeRobot dataset or a rosbag2/MCAP recording."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wav_models.data.dataset import Dataset
from wav_models.data.layout import INFO_PATH
from wav_models.data.samples import frames_per_step
from wav_models.types import VIEWS, FloatArray, ImageArray
from wav_policy.monitor.page import page_size

IndexArray = NDArray[np.intp]


class RecordingError(ValueError):
    """A recording that cannot be replayed; the message names what is missing."""


@dataclass(frozen=True)
class Recording:
    """One episode of T frames at a steady rate.

    Attributes:
        title: which recording this is.
        fps: rate [Hz].
        instruction: the language command.
        states: measured joint states, shape [T, 14].
        pictures: per view what the page shows, uint8, shape [T, H, W, 3].
        model_images: per view what the model sees, uint8, shape [T, H, W, 3].
        values: recorded discounted return, shape [T]; None before `wav label`.
    """

    title: str
    fps: float
    instruction: str
    states: FloatArray
    pictures: Mapping[str, ImageArray]
    model_images: Mapping[str, ImageArray]
    values: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.states)


def open_recording(path: Path, episode: int, image_size: tuple[int, int], step_hz: float) -> Recording:
    """Read an episode.

    Args:
        path: dataset directory, rosbag2 directory, or .mcap or .db3 file.
        episode: of a dataset; a bag has one.
        image_size: (height, width) the model sees [px].
        step_hz: steps of the model per second [Hz].

    Raises:
        RecordingError, DatasetError: it is nothing that can be replayed.
    """
    if (path / INFO_PATH).exists():
        return _from_dataset(path, episode, image_size, step_hz)
    if path.suffix in (".mcap", ".db3") or (path / "metadata.yaml").exists():
        from wav_policy.monitor.bag import read_bag

        return read_bag(path, image_size, step_hz)
    raise RecordingError(f"{path} is neither a LeRobot dataset ({INFO_PATH}) nor a rosbag2/MCAP recording")


def _from_dataset(path: Path, number: int, image_size: tuple[int, int], step_hz: float) -> Recording:
    dataset = Dataset(path)
    if not 0 <= number < len(dataset):
        raise RecordingError(f"{path} has {len(dataset)} episodes; --episode {number} is none of them")
    episode = dataset.read_episode(number)
    try:
        stride = frames_per_step(dataset.fps, step_hz)
    except ValueError as error:
        raise RecordingError(f"{path}: {error}") from None
    chosen = range(0, len(episode), stride)
    decode: Callable[..., ImageArray] = episode.images
    sizes = {view: page_size(np.empty((*dataset.image_sizes[view], 3), np.uint8)) for view in VIEWS}
    return Recording(
        title=f"{path.name}, episode {number}",
        fps=step_hz,
        instruction=episode.instruction,
        states=episode.states[::stride],
        pictures={view: decode(view, chosen, (height, width)) for view, (width, height) in sizes.items()},
        model_images={view: decode(view, chosen, image_size) for view in VIEWS},
        values=None if episode.values is None else episode.values[::stride, -1],
    )


def steady_grid(stamps: Sequence[FloatArray], fps: float) -> FloatArray:
    """Instants [T] at a steady rate while all of several sources had come and none had ended.

    Args:
        stamps: per source its times, increasing [s].
        fps: rate [Hz].

    Raises:
        RecordingError: there is none.
    """
    start, end = max(float(times[0]) for times in stamps), min(float(times[-1]) for times in stamps)
    grid: FloatArray = np.arange(start, end + 1e-9, 1.0 / fps, dtype=np.float64)
    if not len(grid):
        raise RecordingError("cameras and joint states were never recorded at the same time")
    return grid


def newest_at(times: FloatArray, grid: FloatArray) -> IndexArray:
    """Per instant the index of the newest of `times` that had come."""
    return np.asarray(np.searchsorted(times, grid, side="right") - 1, dtype=np.intp)
