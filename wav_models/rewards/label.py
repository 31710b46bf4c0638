"""Adds the value channels to the frames of a recorded dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wav_models.data.dataset import Dataset, DatasetError, Episode, read_json
from wav_models.data.durable import publish, write_json, write_parquet
from wav_models.data.episode_lines import mend_lines, require_all_lines
from wav_models.data.label_settings import read_label_settings, with_label_settings
from wav_models.data.layout import INFO_PATH, STAGING, STATS_PATH, VALUE_KEY, set_totals
from wav_models.data.lock import DatasetLock
from wav_models.data.statistics import feature_stats
from wav_models.embodiment import Embodiment
from wav_models.rewards.label_config import LabelConfig
from wav_models.rewards.returns import discounted_return
from wav_models.rewards.terms import reward, reward_components
from wav_models.types import FloatArray
from wav_models.worker_pool import worker_pool

LABELS_PATH: Final = "meta/labels.json"


def label_episode(robot: Embodiment, episode: Episode, config: LabelConfig) -> FloatArray:
    """The robot's reward terms, unweighted, and the discounted return; shape [T, C]."""
    images = {view: episode.images(view, size=config.image_size) for view in robot.view_names}
    components = reward_components(robot, images, episode.states, episode.actions)
    rewards = reward(robot, components)
    final_reward = rewards[-1] - (config.failure_penalty if episode.info.success is False else 0.0)
    returns = discounted_return(rewards, config.discount, final_reward)
    return np.concatenate([components, returns[:, None]], axis=1)


def label_dataset(
    root: Path,
    config: LabelConfig,
    *,
    num_workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Write the column `state_value` into every data file that does not have it with these settings, and statistics.

    Nothing is replaced before everything is computed: interrupted, the dataset stays as it was, and the next call goes
    on with what was computed already.

    Args:
        root: dataset directory.
        config: how to label.
        num_workers: processes.
        on_progress: called with the numbers of files done and of all files to do.

    Returns:
        How many files were written.

    Raises:
        DatasetError: there are no episodes, one cannot be read, or another process writes to the dataset.
        ChildProcessError: a worker died; what was labelled is kept.
    """
    if not len(Dataset(root)):
        raise DatasetError(f"{root}: has no episodes to label; record some first")
    with DatasetLock(root, "wav label"):
        dataset = Dataset(root)  # as the last recorder left it
        require_all_lines(dataset.root, dataset.info, len(dataset))
        stats_path = dataset.root / STATS_PATH
        stats = read_json(stats_path, dict) if stats_path.is_file() else {}
        files: dict[Path, list[int]] = {}
        for episode in dataset.episodes:
            if not episode.length:
                raise DatasetError(f"{root}: episode {episode.index} has no frames; leave it out")
            files.setdefault(episode.data_file, []).append(episode.index)
        todo = {path: indices for path, indices in files.items() if not _is_labelled(dataset, path, indices, config)}
        _label_files(dataset, todo, config, num_workers, on_progress)
        _write_metadata(dataset, config, stats)
    return len(todo)


def count_unmarked(root: Path) -> tuple[int, int]:
    """How many episodes are marked neither as success nor as failure, and how many there are."""
    episodes = Dataset(root).episodes
    return sum(episode.success is None for episode in episodes), len(episodes)


def _label_files(
    dataset: Dataset,
    todo: dict[Path, list[int]],
    config: LabelConfig,
    num_workers: int,
    on_progress: Callable[[int, int], None],
) -> None:
    """Stage every labelled file, then put all into place: a dataset of which half has a column opens nowhere."""
    on_progress(0, len(todo))
    if not todo:
        return
    staged = {path: dataset.root / STAGING / "labels" / path.relative_to(dataset.root) for path in todo}
    with worker_pool(num_workers) as pool:
        jobs = [
            pool.submit(_label_file, dataset, path, staged[path], indices, config) for path, indices in todo.items()
        ]
        for done, job in enumerate(jobs, start=1):
            job.result()
            on_progress(done, len(todo))
    for path, file in staged.items():
        publish(file, path)
    shutil.rmtree(dataset.root / STAGING / "labels")


def _is_labelled(dataset: Dataset, path: Path, indices: list[int], config: LabelConfig) -> bool:
    """Whether a data file has values of these settings that can be read."""
    if read_label_settings(path) != _settings(config):
        return False
    try:
        return all(dataset.read_episode(index).values is not None for index in indices)
    except DatasetError:
        return False


def _label_file(dataset: Dataset, path: Path, staged: Path, indices: list[int], config: LabelConfig) -> None:
    """Write `staged`: the data file with its values; one that an interrupted run has left is taken."""
    if staged.is_file() and staged.stat().st_mtime > path.stat().st_mtime:
        with suppress(DatasetError):
            if read_label_settings(staged) == _settings(config):
                return
    table = pq.read_table(path, partitioning=None)
    rows_of = np.asarray(table["episode_index"])
    robot = dataset.robot
    values = np.empty((table.num_rows, robot.value_dim), dtype=np.float32)
    for index in indices:
        values[rows_of == index] = label_episode(robot, dataset.read_episode(index, values=False), config)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), robot.value_dim)
    if VALUE_KEY in table.column_names:
        table = table.drop_columns([VALUE_KEY])
    table = table.append_column(VALUE_KEY, column)
    write_parquet(staged, with_label_settings(table, _settings(config)))


def _settings(config: LabelConfig) -> dict[str, Any]:
    """As they are read back from JSON."""
    return {**asdict(config), "image_size": list(config.image_size)}


def _write_metadata(dataset: Dataset, config: LabelConfig, stats: dict[str, Any]) -> None:
    values = {episode.info.index: episode.values for episode in dataset if episode.values is not None}
    mend_lines(dataset.root, stats={VALUE_KEY: {index: feature_stats(rows) for index, rows in values.items()}})
    write_json(dataset.root / STATS_PATH, {**stats, VALUE_KEY: feature_stats(np.concatenate(list(values.values())))})
    names = dataset.robot.value_names
    feature = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    info = {**dataset.info, "features": {**dataset.info["features"], VALUE_KEY: feature}}
    set_totals(info, len(dataset), sum(episode.length for episode in dataset.episodes))
    write_json(dataset.root / INFO_PATH, info)
    write_json(dataset.root / LABELS_PATH, asdict(config))
