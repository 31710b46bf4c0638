"""The rows a finished episode leaves in a dataset: its frames and its line in the episode table."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, Final

import numpy as np
import pyarrow as pa

from wav_models.data.layout import (
    ACTION_KEY,
    CAPTURE_TIME_KEY,
    DEFAULT_FEATURES,
    EFFORT_KEY,
    EPISODE_FACTS,
    RATE_TOLERANCE,
    SOURCE_TIME_KEY,
    STATE_KEY,
    UNKNOWN,
)
from wav_models.data.statistics import NEEDED, FeatureStats, feature_stats
from wav_models.embodiment import Embodiment
from wav_policy.recording.episode_recorder import StagedEpisode

EXTRA_COLUMNS: Final = {"seed": pa.int64(), "success": pa.bool_(), "noise": pa.float64()}
"""What may be known of an episode, as columns that are null where it is not; other extras go to `extra` as JSON."""
OUR_COLUMNS: Final = {"achieved_fps": pa.float64(), **EXTRA_COLUMNS, "extra": pa.string()}
"""All that LeRobot does not write."""


def frame_table(
    episode: StagedEpisode, episode_index: int, first_index: int, task_index: int, features: Collection[str]
) -> pa.Table:
    """All columns of the episode's data file, with what is known of the whole episode where `features` has it."""
    frames, length = episode.frames(), episode.length
    frame_index = np.arange(length, dtype=np.int64)
    columns = {
        "timestamp": (frame_index / episode.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.full(length, episode_index, dtype=np.int64),
        "index": first_index + frame_index,
        "task_index": np.full(length, task_index, dtype=np.int64),
    }
    for fact, key in EPISODE_FACTS.items():
        if key in features:
            known = episode.extra.get(fact)
            columns[key] = np.full(length, UNKNOWN if known is None else known, dtype=np.int64)
    for name, column in columns.items():
        frames = frames.append_column(name, pa.array(column))
    return frames


def episode_stats(robot: Embodiment, episode: StagedEpisode, frames: pa.Table) -> dict[str, FeatureStats]:
    """Statistics of every feature of one episode."""
    keys = robot.view_keys
    stats = {keys[view]: image_stats for view, image_stats in episode.image_stats.items()}
    for key in (STATE_KEY, ACTION_KEY, *({SOURCE_TIME_KEY, EFFORT_KEY} & set(frames.column_names))):
        stats[key] = feature_stats(np.stack(frames[key].to_numpy()))
    facts = [key for key in EPISODE_FACTS.values() if key in frames.column_names]
    for key in (CAPTURE_TIME_KEY, *facts, *DEFAULT_FEATURES):
        stats[key] = feature_stats(frames[key].to_numpy()[:, None])
    return stats


def achieved_fps(robot: Embodiment, frames: pa.Table) -> float | None:
    """Mean rate at which frames were really taken [Hz], of the slowest camera where known; None for a single frame."""
    if SOURCE_TIME_KEY in frames.column_names:
        cameras = np.stack(frames[SOURCE_TIME_KEY].to_numpy())[:, : len(robot.views)]
        rates = [rate for column in cameras.T if (rate := _rate(np.unique(column))) is not None]
        return min(rates) if len(rates) == len(robot.views) else None
    return _rate(frames[CAPTURE_TIME_KEY].to_numpy())


def is_slow(rate: float | None, fps: float) -> bool:
    """Whether an episode taken at `rate` [Hz] must be flagged in a dataset of `fps`."""
    return rate is not None and rate < RATE_TOLERANCE * fps


def _rate(times: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    return float((len(times) - 1) / (times[-1] - times[0])) if len(times) > 1 else None


def episode_row(
    robot: Embodiment,
    episode: StagedEpisode,
    episode_index: int,
    first_index: int,
    location: dict[str, int],
    rate: float | None,
    stats: dict[str, FeatureStats],
) -> pa.Table:
    """The episode's line in the episode table; its files are all at `location`."""
    extra = dict(episode.extra)
    row: dict[str, pa.Array] = {
        "episode_index": pa.array([episode_index], pa.int64()),
        "tasks": pa.array([[episode.instruction]], pa.list_(pa.string())),
        "length": pa.array([episode.length], pa.int64()),
        "dataset_from_index": pa.array([first_index], pa.int64()),
        "dataset_to_index": pa.array([first_index + episode.length], pa.int64()),
        "achieved_fps": pa.array([rate], pa.float64()),
    }
    for name, dtype in EXTRA_COLUMNS.items():
        row[name] = pa.array([extra.pop(name, None)], dtype)
    row["extra"] = pa.array([json.dumps(extra)], pa.string())
    for prefix in ("data", "meta/episodes"):
        for name, value in location.items():
            row[f"{prefix}/{name}"] = pa.array([value], pa.int64())
    for view in episode.image_sizes:
        prefix = f"videos/{robot.view_keys[view]}"
        for name, value in location.items():
            row[f"{prefix}/{name}"] = pa.array([value], pa.int64())
        row[f"{prefix}/from_timestamp"] = pa.array([0.0], pa.float64())
        row[f"{prefix}/to_timestamp"] = pa.array([episode.length / episode.fps], pa.float64())
    for feature, statistics in stats.items():
        for name, statistic in statistics.items():
            row[f"stats/{feature}/{name}"] = pa.array([statistic])
    return pa.table(row)


def read_row_stats(row: dict[str, Any]) -> dict[str, FeatureStats]:
    """The statistics in a line of the episode table, by feature: of those that it has whole."""
    stats: dict[str, FeatureStats] = {}
    for name, value in row.items():
        if name.startswith("stats/") and value is not None:
            feature, _, statistic = name.removeprefix("stats/").rpartition("/")
            stats.setdefault(feature, {})[statistic] = value
    return {feature: known for feature, known in stats.items() if known.keys() >= NEEDED}


def task_table(tasks: list[str]) -> pa.Table:
    """`meta/tasks.parquet`: column task_index, and task as the pandas index LeRobot looks instructions up by."""
    columns = [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "field_name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [{**column, "metadata": None} for column in columns],
        "pandas_version": "2.0.0",
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
