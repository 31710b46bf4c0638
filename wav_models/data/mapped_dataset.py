"""Reads other people's LeRobot datasets, v2.1 and v3.0, through a mapping, as if they were of this project's layout."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import pyarrow as pa

from wav_models.configuration import did_you_mean, from_dict, parse_json
from wav_models.data.dataset import (
    Dataset,
    DatasetError,
    Episode,
    EpisodeInfo,
    VideoPart,
    read_info,
    read_tasks,
    whole,
)
from wav_models.data.episode_filter import EpisodeFilter
from wav_models.data.header import PATH_FIELDS, feature_of, image_size, is_pattern, rate_of
from wav_models.data.layout import (
    CHUNKS_SIZE,
    CODEBASE_VERSION,
    DATA_PATH,
    INFO_PATH,
    SUCCESS_KEY,
    TASKS_PATH,
    VIDEO_PATH,
)
from wav_models.data.mapping import DataMapping, Role, joint_features, read_mapping, resample, resampled_length
from wav_models.data.marks import marks_of_frames, success_mark
from wav_models.data.stored_images import ImageColumn
from wav_models.data.tables import DataFileError, first_cells, read_column
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray
from wav_models.words import counted

V2: Final = ("v2.0", "v2.1")
"""One data file and one video of every camera per episode; tables are JSON lines."""
CAMERAS: Final = ("video", "image")
"""dtype of a camera's feature."""
ROLES: Final = get_args(Role)
_EPISODES, _TASKS = "meta/episodes.jsonl", "meta/tasks.jsonl"
_V3_PATHS: Final = {"data_path": DATA_PATH, "video_path": VIDEO_PATH}
_V2_PATHS: Final = {
    "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
}
_V2_FIELDS: Final = ("episode_chunk", "episode_index", "video_key")
_OUR_NOTES: Final = ("noise", "achieved_fps", "extra")
_ROUNDING: Final = 0.01
"""Frames by which a timestamp in single precision is rounded, at most."""


class MappedDataset(Dataset):
    """A dataset of which a mapping says what is what; nothing is written to it.

    Attributes:
        mapping: what it says.
        recorded_fps: rate of its own [Hz]; `fps` is the one that was asked for.
        ambiguous: episodes with several instructions, of which the first is read.
        noted: columns of the episode table.
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
        self.noted: set[str] = set()
        super().__init__(root, robot=robot)

    @property
    def cameras(self) -> Mapping[str, str]:
        return self.mapping.cameras_of(self.robot)

    def read_episode(self, index: int, *, values: bool = True, efforts: bool = False) -> Episode:
        """Frames of one episode, mapped and resampled; never with values or efforts.

        Raises:
            DatasetError: names what is missing, misshapen or not finite; or there are no frames.
        """
        if not self._recorded_lengths[index]:
            empty = DatasetError(f"{self.root}: episode {index} has no frames")
            raise DatasetError(f"{empty}; {self.do_without(index, empty)}")
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
        """States and actions of an episode as they are stored, but in our order; shape [T, S] and [T, A].

        Raises:
            DatasetError: names what is missing, misshapen, not finite or not at its time, and how to do without.
        """
        where = f"{self.entry(index).data_file}, episode {index}"
        try:
            table = self._in_order(self.read_rows(index, self._recorded_lengths[index]), where)
            states, actions = (
                np.concatenate([read_column(table, key, w, where) for key, w in self._widths[role].items()], axis=1)[
                    :, self._columns[role]
                ]
                for role in ROLES
            )
        except DatasetError as error:
            raise DatasetError(f"{error}; {self.do_without(index, error)}") from error
        return states, actions

    def require_pictures(self, index: int, view: str) -> None:
        """VideoError, or DataFileError, where the last recorded frame of an episode has no picture of a camera.

        One that was dropped makes the video shorter and all later ones early; at a lower rate the last one may not be
        wanted, and so not be missed.
        """
        last = self._recorded_lengths[index] - 1
        self.entry(index).videos[view].read(self.recorded_fps, [last], None)

    def do_without(self, index: int, error: Exception) -> str:
        """What can be done about an episode that cannot be read, in words; all of its file where the file cannot be."""
        broken = [index]
        if isinstance(error, DataFileError):
            broken = [e.index for e in self.episodes if e.data_file == self.entry(index).data_file]
        if len(broken) == len(self):
            return "there is no other episode: restore it from a copy"
        condition = f"index != {index}" if len(broken) == 1 else f"index not in {broken}"
        return f'to leave it out: --episodes "{condition}", or `episodes` beside the `mapping`'

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
        self._uses_v2 = info["codebase_version"] in V2
        if info["codebase_version"] not in (*V2, CODEBASE_VERSION):
            versions = ", ".join((*V2, CODEBASE_VERSION))
            raise DatasetError(f"{path}: codebase_version {info['codebase_version']!r}; {versions} can be read")
        rate = rate_of(info)
        if rate is None:
            raise DatasetError(f"{path}: fps is {info['fps']!r}; it must be a positive number")
        self.recorded_fps = rate
        if self.mapping.fps is None and self.recorded_fps != int(self.recorded_fps):
            raise DatasetError(f"{path}: fps is {self.recorded_fps:g}; choose a whole one, such as `fps: 10`")
        if not robot.relative_to_state and self.mapping.fps not in (None, rate):
            raise DatasetError(
                f"{path}: fps is {rate:g}, and {self.mapping.fps} is wanted; {robot.name} takes {robot.action_kind}, "
                "which are others at another rate: leave `fps` out"
            )
        self._widths: dict[Role, dict[str, int]] = {}
        self._columns: dict[Role, list[int]] = {}
        try:
            self.mapping.check(robot)
            for role in ROLES:
                keys = self.mapping.features(role)
                names, widths = joint_features(info, keys)
                self._widths[role] = dict(zip(keys, widths, strict=True))
                self._columns[role] = self.mapping.columns(role, ", ".join(keys), sum(widths), names, robot)
            for key in self.mapping.cameras_of(robot).values():
                _require_camera(feature_of(info, key), key)
            paths = paths_of(info)
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from error
        return {**info, **paths, "fps": self.mapping.fps or self.recorded_fps}, robot

    @property
    def has_videos(self) -> bool:
        """Whether a camera's pictures are videos, and not images in the data files."""
        return bool(self._video_keys)

    @property
    def _video_keys(self) -> list[str]:
        return [key for key in self.cameras.values() if key not in self._images]

    def _episode_rows(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        rows = super()._episode_rows() if not self._uses_v2 else _read_lines(self.root / _EPISODES)
        for path, row in rows:
            self.noted |= row.keys()
            yield path, row

    def _episode_info(self, row: dict[str, Any]) -> EpisodeInfo:
        """Before v3.0 every episode has its videos to itself. What others noted under a name of ours is not read."""
        throughout = {"from_timestamp": 0.0, "to_timestamp": math.inf}
        places = {f"videos/{key}/{end}": time for key in self._video_keys for end, time in throughout.items()}
        tasks = row.get("tasks") or [""]
        tasks = [tasks] if isinstance(tasks, str) else list(tasks)
        if len(set(tasks)) > 1:
            self.ambiguous.append(whole(row["episode_index"]))
        seed = seed if type(seed := row.get("seed")) is int else None
        if (key := self.mapping.success) is not None:
            in_table = key not in self.info["features"]
            row = {**row, "success": success_mark(row.get(key), self.mapping.success_from) if in_table else None}
        return super()._episode_info({**places, **row, "tasks": tasks, "seed": seed, **dict.fromkeys(_OUR_NOTES)})

    def _with_facts(self, episodes: list[EpisodeInfo]) -> list[EpisodeInfo]:
        """The mapping says where success is told; ours means unknown by -1, which is no number of another scale."""
        found, key = super()._with_facts(episodes), self.mapping.success
        if key is None or key == SUCCESS_KEY:
            return found
        if key not in self.info["features"]:
            if key not in self.noted:
                there = {*self.info["features"], *(name for name in self.noted if "/" not in name)}
                raise DatasetError(f"{self.root}: no feature or column of episodes {key!r}{did_you_mean(key, there)}")
            return [replace(new, success=old.success) for new, old in zip(found, episodes, strict=True)]
        marks: dict[int, bool] = {}
        for path in dict.fromkeys(episode.data_file for episode in episodes):
            marks |= marks_of_frames(path, key, self.mapping.success_from)
        return [replace(episode, success=marks.get(episode.index)) for episode in found]

    def _pictures(self, row: Mapping[str, Any], key: str, data_file: Path) -> VideoPart | ImageColumn:
        if key in self._images:
            return ImageColumn(data_file, self.root, key, whole(row["episode_index"]))
        return super()._pictures(row, key, data_file)

    def _locate(self, pattern: str, row: Mapping[str, Any], prefix: str, **names: str) -> Path:
        if not self._uses_v2:
            return super()._locate(pattern, row, prefix, **names)
        index = whole(row["episode_index"])
        return self._within(
            pattern.format(episode_chunk=index // self.info["chunks_size"], episode_index=index, **names)
        )

    def _require_indices(self, indices: list[int]) -> None:
        """Episodes that were taken out leave gaps."""
        for index, following in pairwise(indices):
            if index == following:
                raise DatasetError(f"{self.root}: episode {index} is in the episode table twice")

    def _tasks_of_frames(self, episodes: list[EpisodeInfo]) -> dict[int, str]:
        """Instructions of episodes whose line has none, by the number of the task in their frames, where known."""
        path = self.root / (_TASKS if self._uses_v2 else TASKS_PATH)
        if not episodes or not path.exists():
            return {}
        if self._uses_v2:
            tasks = {row.get("task_index"): str(row.get("task") or "") for _, row in _read_lines(path)}
        else:
            tasks = dict(enumerate(read_tasks(path)))
        found: dict[int, str] = {}
        for file in dict.fromkeys(episode.data_file for episode in episodes):
            for index, (number, is_only) in first_cells(file, "task_index").items():
                found[index] = tasks.get(number, "")
                self.ambiguous += [] if is_only else [index]
        return found

    def _load_episodes(self) -> list[EpisodeInfo]:
        """With lengths at the rate that was asked for."""
        recorded = super()._load_episodes()
        self._recorded_lengths = {episode.index: episode.length for episode in recorded}
        tasks = self._tasks_of_frames([episode for episode in recorded if not episode.instruction.strip()])
        episodes = [
            replace(
                episode,
                length=resampled_length(episode.length, self.recorded_fps, float(self.info["fps"])),
                instruction=episode.instruction.strip() or tasks.get(episode.index) or self.mapping.instruction or "",
            )
            for episode in recorded
        ]
        used = [episode for episode in episodes if self._filter is None or self._filter(episode)]
        if self._filter is not None and not used:
            raise DatasetError(
                f"{self.root}: none of {counted(len(episodes), 'episode')} is meant by {self._filter.text!r}"
            )
        return used


def through_mapping(
    root: Path, mapping: Path, robot: Embodiment, episodes: EpisodeFilter | None = None
) -> MappedDataset:
    """A dataset through the mapping in a YAML file, see `MappedDataset`; ConfigurationError where that is none."""
    return MappedDataset(root, from_dict(DataMapping, read_mapping(mapping), str(mapping)), robot, episodes)


def paths_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """Where a complete `meta/info.json` has files: `data_path`, `video_path`, `chunks_size`.

    LeRobot's own where nothing is said; it says nothing of `video_path` where there are no videos.

    Raises:
        ValueError: a path is no pattern of that version, or chunks have no size.
    """
    patterns, fields = (_V2_PATHS, _V2_FIELDS) if info["codebase_version"] in V2 else (_V3_PATHS, PATH_FIELDS)
    paths: dict[str, Any] = {}
    for name, usual in patterns.items():
        paths[name] = usual if info.get(name) is None else info[name]
        if not is_pattern(paths[name], fields):
            raise ValueError(f"{name} is {paths[name]!r}; LeRobot's is {usual!r}")
    size = info.get("chunks_size")
    paths["chunks_size"] = CHUNKS_SIZE if size is None else size
    if type(paths["chunks_size"]) is not int or paths["chunks_size"] < 1:
        raise ValueError(f"chunks_size is {size!r}; it must be a positive whole number, in LeRobot {CHUNKS_SIZE}")
    return paths


def _require_camera(feature: dict[str, Any], key: str) -> None:
    if feature.get("dtype") not in CAMERAS:
        raise ValueError(f"{key} has dtype {feature.get('dtype')!r}; cameras have {' or '.join(CAMERAS)}")
    try:
        image_size(feature)
    except ValueError as error:
        raise ValueError(f"{key} has {error}") from error


def _read_lines(path: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Objects of a file of JSON lines, each with the file; DatasetError naming file and line."""
    try:
        for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
            if line.strip():
                yield path, _read_object(line, f"{path}: line {number}")
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: damaged: {error}") from error


def _read_object(text: str, where: str) -> dict[str, Any]:
    try:
        row = parse_json(text)
    except ValueError as error:
        raise DatasetError(f"{where} is damaged: {error}") from error
    if not isinstance(row, dict):
        raise DatasetError(f"{where} is no JSON object")
    return row
