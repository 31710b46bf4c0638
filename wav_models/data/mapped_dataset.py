"""Reads other people's LeRobot datasets, v2.1 and v3.0, through a mapping, as if they were of this project's layout."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from wav_models.data.dataset import (
    Dataset,
    DatasetError,
    Episode,
    EpisodeInfo,
    flat_names,
    image_size,
    rate_of,
    read_info,
    shape_of,
)
from wav_models.data.episode_filter import EpisodeFilter
from wav_models.data.layout import CODEBASE_VERSION, INFO_PATH
from wav_models.data.mapping import DataMapping, Role, resample, resampled_length
from wav_models.data.tables import read_column
from wav_models.embodiment import Channel, Embodiment
from wav_models.types import FloatArray

V2: Final = ("v2.0", "v2.1")
"""One data file and one video of every camera per episode; tables are JSON lines."""
_EPISODES, _CHUNKS_SIZE = "meta/episodes.jsonl", 1000
_OUR_NOTES: Final = ("noise", "achieved_fps", "extra")
_ROUNDING: Final = 0.01
"""Frames by which a timestamp in single precision is rounded, at most."""


class MappedDataset(Dataset):
    """A dataset of which a mapping says what is what; nothing is written to it.

    Attributes:
        mapping: what it says.
        recorded_fps: rate of its own [Hz]; `fps` is the one that was asked for.
        ambiguous: episodes with several instructions, of which the first is read.
    """

    def __init__(
        self, root: Path, mapping: DataMapping, robot: Embodiment, episodes: EpisodeFilter | None = None
    ) -> None:
        """Open a dataset.

        Args:
            robot: whose it becomes.
            episodes: which of them there are; they keep their indices. All when None.

        Raises:
            DatasetError: it does not fit the mapping, or is none of LeRobot's.
        """
        self.mapping, self._filter = mapping, episodes
        self.ambiguous: list[int] = []
        super().__init__(root, robot=robot)

    @property
    def cameras(self) -> Mapping[str, str]:
        return self.mapping.cameras_of(self.robot)

    @property
    def _joint_keys(self) -> dict[Role, str]:
        return {"state": self.mapping.state, "action": self.mapping.action}

    def read_episode(self, index: int, *, values: bool = True, efforts: bool = False) -> Episode:
        """Frames of one episode, mapped and resampled; never with values or efforts.

        Raises:
            DatasetError: names what is missing, misshapen or not finite.
        """
        states, actions = self.mapping.apply(*self.read_numbers(index), self.robot)
        frames = None
        if self.fps != self.recorded_fps:
            states, actions, frames = resample(states, actions, self.recorded_fps, self.fps)
        return Episode(
            info=self.entry(index),
            fps=self.fps,
            states=states,
            actions=actions,
            capture_times=np.arange(len(states)) / self.fps,
            values=None,
            video_frames=frames,
            video_fps=self.recorded_fps,
        )

    def read_numbers(self, index: int) -> tuple[FloatArray, FloatArray]:
        """States and actions of an episode as they are stored, but in our order; shape [T, S].

        Raises:
            DatasetError: names what is missing, misshapen, not finite or not at its time, and how to do without.
        """
        where = f"{self.entry(index).data_file}, episode {index}"
        try:
            table = self._in_order(self.read_rows(index, self._recorded_lengths[index]), where)
            states, actions = (
                read_column(table, key, self._widths[role], where)[:, self._columns[role]]
                for role, key in self._joint_keys.items()
            )
        except DatasetError as error:
            raise DatasetError(f"{error}; {leave_out(index)}") from error
        return states, actions

    def _in_order(self, table: pa.Table, where: str) -> pa.Table:
        """Rows of an episode by the number of their frame, each at its time: pictures are found by it."""
        count = np.arange(table.num_rows)
        if "frame_index" in table.column_names:
            frames = read_column(table, "frame_index", None, where)
            order = np.argsort(frames, kind="stable")
            if (wrong := np.flatnonzero(frames[order] != count)).size:
                raise DatasetError(f"{where}: frame {wrong[0]} of {len(count)} is missing or is there twice")
            table = table if (order == count).all() else table.take(pa.array(order))
        if "timestamp" in table.column_names:
            due, times = count / self.recorded_fps, read_column(table, "timestamp", None, where)
            if (late := np.flatnonzero(np.abs(times - due) > (0.5 + _ROUNDING) / self.recorded_fps)).size:
                raise DatasetError(
                    f"{where}: frame {late[0]} has the timestamp {times[late[0]]:.3f} s; at {self.recorded_fps:g} Hz "
                    f"({INFO_PATH}) it is due at {due[late[0]]:.3f} s, and LeRobot takes the picture of its timestamp. "
                    "Where the rate is another, correct it in a copy; where every row has the picture of its number, "
                    "write frame_index / fps there"
                )
        return table

    def _load_info(self, robot: Embodiment | None) -> tuple[dict[str, Any], Embodiment]:
        assert robot is not None
        info = read_info(self.root)
        path = self.root / INFO_PATH
        if info["codebase_version"] not in (*V2, CODEBASE_VERSION):
            versions = ", ".join((*V2, CODEBASE_VERSION))
            raise DatasetError(f"{path}: codebase_version {info['codebase_version']!r}; {versions} can be read")
        rate = rate_of(info)
        if rate is None:
            raise DatasetError(f"{path}: fps is {info['fps']!r}; it must be a positive number")
        self.recorded_fps = rate
        if self.mapping.fps is None and self.recorded_fps != int(self.recorded_fps):
            raise DatasetError(f"{path}: fps is {self.recorded_fps:g}; choose a whole one, such as `fps: 10`")
        self._widths: dict[Role, int] = {}
        self._columns: dict[Role, list[int]] = {}
        try:
            self.mapping.check(robot)
            for role, key in self._joint_keys.items():
                self._widths[role], self._columns[role] = self._read_joints(role, key, _feature(info, key), robot.state)
            for key in self.mapping.cameras_of(robot).values():
                _require_video(_feature(info, key), key)
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from error
        return {**info, "fps": self.mapping.fps or self.recorded_fps}, robot

    def _read_joints(
        self, role: Role, key: str, feature: dict[str, Any], joints: Sequence[Channel]
    ) -> tuple[int, list[int]]:
        shape = shape_of(feature)
        if len(shape) != 1 or not isinstance(shape[0], int):
            raise ValueError(f"{key} has shape {shape}; joints are one row of numbers")
        return shape[0], self.mapping.columns(role, key, shape[0], flat_names(feature.get("names")), joints)

    def _episode_rows(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        if self.info["codebase_version"] not in V2:
            yield from super()._episode_rows()
            return
        yield from ((self.root / _EPISODES, line) for line in _read_lines(self.root / _EPISODES))

    def _episode_info(self, row: dict[str, Any]) -> EpisodeInfo:
        """Before v3.0 every episode has its videos to itself. What others noted under a name of ours is not read."""
        whole = {"from_timestamp": 0.0, "to_timestamp": math.inf}
        places = {f"videos/{key}/{end}": time for key in self.cameras.values() for end, time in whole.items()}
        tasks = row.get("tasks") or [""]
        tasks = [tasks] if isinstance(tasks, str) else list(tasks)
        if len(set(tasks)) > 1:
            self.ambiguous.append(int(row["episode_index"]))
        seed = seed if type(seed := row.get("seed")) is int else None
        return super()._episode_info({**places, **row, "tasks": tasks, "seed": seed, **dict.fromkeys(_OUR_NOTES)})

    def _locate(self, pattern: str, row: Mapping[str, Any], prefix: str, **names: str) -> Path:
        if self.info["codebase_version"] not in V2:
            return super()._locate(pattern, row, prefix, **names)
        index, chunks_size = int(row["episode_index"]), int(self.info.get("chunks_size", _CHUNKS_SIZE))
        return self.root / pattern.format(episode_chunk=index // chunks_size, episode_index=index, **names)

    def _require_indices(self, indices: list[int]) -> None:
        """Episodes that were taken out leave gaps."""
        for index, following in pairwise(indices):
            if index == following:
                raise DatasetError(f"{self.root}: episode {index} is in the episode table twice")

    def _load_episodes(self) -> list[EpisodeInfo]:
        """With lengths at the rate that was asked for."""
        recorded = super()._load_episodes()
        self._recorded_lengths = {episode.index: episode.length for episode in recorded}
        episodes = [
            replace(
                episode,
                length=resampled_length(episode.length, self.recorded_fps, float(self.info["fps"])),
                instruction=episode.instruction.strip() or self.mapping.instruction or "",
            )
            for episode in recorded
        ]
        used = [episode for episode in episodes if self._filter is None or self._filter(episode)]
        if self._filter is not None and not used:
            raise DatasetError(f"{self.root}: none of {len(episodes)} episodes is meant by {self._filter.text!r}")
        return used


def leave_out(index: int) -> str:
    """How to do without an episode, in words."""
    return f'to leave it out: --episodes "index != {index}", or `episodes` beside the `mapping`'


def _feature(info: dict[str, Any], key: str) -> dict[str, Any]:
    feature = info["features"].get(key)
    if not isinstance(feature, dict):
        raise ValueError(f"there is no feature {key!r}; there are {', '.join(info['features'])}")
    return feature


def _require_video(feature: dict[str, Any], key: str) -> None:
    if feature.get("dtype") != "video":
        raise ValueError(
            f"{key} has dtype {feature.get('dtype')!r}; only videos are read. LeRobot makes videos of images with "
            "`lerobot-edit-dataset --operation.type convert_image_to_video`"
        )
    try:
        image_size(feature)
    except ValueError as error:
        raise ValueError(f"{key} has {error}") from error


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Objects of a file of JSON lines; DatasetError naming file and line."""
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise DatasetError(f"{path}: line {number} is no JSON object")
                yield row
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"{path}: damaged: {error}") from error
