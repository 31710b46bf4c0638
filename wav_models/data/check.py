"""Finds what is wrong with a dataset before training does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wav_models.data.dataset import Dataset, DatasetError, Episode
from wav_models.data.layout import TASKS_PATH
from wav_models.data.video_reader import VideoError, count_frames
from wav_models.types import ARM_DOF, JOINT_NAMES

RATE_TOLERANCE: Final = 0.95
"""An achieved rate below this share of the nominal one is worth a warning."""

PLAUSIBLE_ANGLE: Final = 2 * np.pi
"""No joint of a Piper turns this far [rad]; larger numbers are degrees."""

PLAUSIBLE_STROKE: Final = 0.2
"""No gripper opens this far [m]; larger numbers are millimetres."""


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        severity: "error" where training or LeRobot would fail or be misled, "warning" otherwise.
        where: file or episode.
        message: what is wrong.
    """

    severity: Literal["error", "warning"]
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message}"


def check_dataset(root: Path, fps: int | None = None) -> Iterator[Problem]:
    """All problems of a dataset, as they are found.

    Args:
        root: dataset directory.
        fps: the rate it should have [Hz]; any when None.
    """
    try:
        dataset = Dataset(root, fps=fps)
    except DatasetError as error:
        yield Problem("error", str(root), str(error))
        return
    if not len(dataset):
        yield Problem("error", str(root), "there are no episodes")
        return
    yield from _check_totals(dataset)
    yield from _check_files(dataset)
    tasks = _read_tasks(dataset)
    if tasks is None:
        yield Problem("error", TASKS_PATH, "missing or unreadable")
    num_labelled, next_index = 0, 0
    for info in dataset.episodes:
        where = f"episode {info.index}"
        try:
            episode = dataset.read_episode(info.index)
        except DatasetError as error:
            yield Problem("error", where, str(error))
        else:
            num_labelled += episode.values is not None
            yield from _check_rows(episode, where, next_index, tasks)
            yield from _check_frames(episode, where)
        yield from _check_videos(dataset, info.index, where)
        next_index += info.length
    if 0 < num_labelled < len(dataset):
        unlabelled = len(dataset) - num_labelled
        yield Problem("error", str(root), f"{unlabelled} of {len(dataset)} episodes are not labelled: run wav label")


def _check_totals(dataset: Dataset) -> Iterator[Problem]:
    expected = {"total_episodes": len(dataset), "total_frames": sum(e.length for e in dataset.episodes)}
    for name, number in expected.items():
        if dataset.info.get(name) != number:
            message = f"{name} is {dataset.info.get(name)}, the episode table has {number}; recording more repairs it"
            yield Problem("error", "meta/info.json", message)


def _check_files(dataset: Dataset) -> Iterator[Problem]:
    """Files no episode refers to; LeRobot's loader would read them all the same."""
    known = {info.data_file for info in dataset.episodes}
    known |= {path for info in dataset.episodes for path, _ in info.videos.values()}
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(dataset.root.glob(pattern)):
            if path not in known:
                yield Problem("error", str(path.relative_to(dataset.root)), "belongs to no episode; delete it")


def _read_tasks(dataset: Dataset) -> dict[int, str] | None:
    try:
        table = pq.read_table(dataset.root / TASKS_PATH, partitioning=None)
        name = next(n for n in ("task", "__index_level_0__") if n in table.column_names)
        return dict(zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True))
    except (OSError, pa.ArrowException, KeyError, StopIteration):
        return None


def _check_rows(episode: Episode, where: str, next_index: int, tasks: dict[int, str] | None) -> Iterator[Problem]:
    """Bookkeeping columns, which LeRobot looks frames up by."""
    path, index = episode.info.data_file, episode.info.index
    table = pq.read_table(path, partitioning=None, filters=[("episode_index", "=", index)])
    expected = {
        "frame_index": np.arange(len(episode)),
        "index": next_index + np.arange(len(episode)),
        "timestamp": (np.arange(len(episode)) / episode.fps).astype(np.float32),
    }
    for name, column in expected.items():
        if name not in table.column_names:
            yield Problem("error", where, f"column {name!r} is missing")
        elif not np.allclose(table[name].to_numpy(), column, rtol=0, atol=1e-4):
            yield Problem("error", where, f"column {name!r} does not count up from {column[0]} as it should")
    if tasks is not None and "task_index" in table.column_names:
        named = {tasks.get(number) for number in table["task_index"].unique().to_pylist()}
        if named != {episode.instruction}:
            yield Problem("error", where, f"task_index means {named}, the episode table says {episode.instruction!r}")


def _check_frames(episode: Episode, where: str) -> Iterator[Problem]:
    """Times and units."""
    steps = np.diff(episode.capture_times)
    if (steps <= 0).any():
        yield Problem("error", where, f"capture time does not increase at frame {int(np.argmin(steps > 0)) + 1}")
    elif len(steps) and 1.0 / steps.mean() < RATE_TOLERANCE * episode.fps:
        yield Problem("warning", where, f"recorded at {1.0 / steps.mean():.2f} Hz; the dataset says {episode.fps} Hz")
    grippers = np.arange(len(JOINT_NAMES)) % ARM_DOF == ARM_DOF - 1
    limits = np.where(grippers, PLAUSIBLE_STROKE, PLAUSIBLE_ANGLE)
    for name, rows in (("state", episode.states), ("action", episode.actions)):
        for joint in np.flatnonzero((np.abs(rows) > limits).any(axis=0)):
            largest, unit = np.abs(rows[:, joint]).max(), "m" if grippers[joint] else "rad"
            yield Problem("error", where, f"{name} {JOINT_NAMES[joint]} reaches {largest:.3g}: not in {unit}?")
    if len(episode) > 1 and not np.ptp(episode.actions, axis=0).any():
        yield Problem("warning", where, "no action changes in the whole episode")


def _check_videos(dataset: Dataset, index: int, where: str) -> Iterator[Problem]:
    info = dataset.episodes[index]
    for view, (path, start) in info.videos.items():
        if not path.is_file():
            yield Problem("error", where, f"{path.relative_to(dataset.root)} is missing")
            continue
        try:
            num_frames, size = count_frames(path), _frame_size(path)
        except VideoError as error:
            yield Problem("error", where, str(error))
            continue
        needed = round(start * dataset.fps) + info.length
        if num_frames < needed:
            yield Problem("error", where, f"{view} video has {num_frames} frames, {needed} are needed")
        if size != dataset.image_sizes[view]:
            expected = dataset.image_sizes[view]
            yield Problem("error", where, f"{view} video is {size[0]}x{size[1]}, the dataset says {expected}")


def _frame_size(path: Path) -> tuple[int, int]:
    """(height, width) [px]."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.height, stream.codec_context.width
