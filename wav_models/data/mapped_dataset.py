"""Reads other people's LeRobot datasets, v2.1 and v3.0, through a mapping, as if they were of this project's layout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

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
from wav_models.data.layout import CODEBASE_VERSION, INFO_PATH
from wav_models.data.mapping import DataMapping, resample, resampled_length
from wav_models.data.tables import read_column
from wav_models.embodiment import Channel, Embodiment
from wav_models.types import FloatArray

V2: Final = ("v2.0", "v2.1")
"""One data file and one video of every camera per episode; tables are JSON lines."""
_EPISODES, _CHUNKS_SIZE = "meta/episodes.jsonl", 1000


class MappedDataset(Dataset):
    """A dataset of which a mapping says what is what; nothing is written to it.

    Attributes:
        mapping: what it says.
        recorded_fps: rate of its own [Hz]; `fps` is the one that was asked for.
    """

    def __init__(self, root: Path, mapping: DataMapping, robot: Embodiment) -> None:
        """Open a dataset.

        Args:
            robot: whose it becomes.

        Raises:
            DatasetError: it does not fit the mapping, or is none of LeRobot's.
        """
        self.mapping = mapping
        super().__init__(root, robot=robot)

    @property
    def cameras(self) -> Mapping[str, str]:
        return self.mapping.cameras_of(self.robot)

    def read_episode(self, index: int, *, values: bool = True, efforts: bool = False) -> Episode:
        """Frames of one episode, mapped and resampled; never with values or efforts.

        Raises:
            DatasetError: names what is missing, misshapen or not finite.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.root}: episode {index} of {len(self)}")
        states, actions = self.mapping.apply(*self.read_numbers(index), self.robot)
        frames = None
        if self.fps != self.recorded_fps:
            states, actions, frames = resample(states, actions, self.recorded_fps, self.fps)
        return Episode(
            info=self.episodes[index],
            fps=self.fps,
            states=states,
            actions=actions,
            capture_times=np.arange(len(states)) / self.fps,
            values=None,
            video_frames=frames,
            video_fps=self.recorded_fps,
        )

    def read_numbers(self, index: int) -> tuple[FloatArray, FloatArray]:
        """States and actions of an episode as they are stored, but in our order; shape [T, S]."""
        table = self.read_rows(index, self._recorded_lengths[index])
        where = f"{self.episodes[index].data_file}, episode {index}"
        states, actions = (
            read_column(table, key, self._widths[key], where)[:, self._columns[key]]
            for key in (self.mapping.state, self.mapping.action)
        )
        return states, actions

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
        self._widths, self._columns = {}, {}
        try:
            self.mapping.check(robot)
            for key in (self.mapping.state, self.mapping.action):
                self._widths[key], self._columns[key] = self._read_joints(_feature(info, key), key, robot.state)
            for key in self.mapping.cameras_of(robot).values():
                _require_video(_feature(info, key), key)
        except ValueError as error:
            raise DatasetError(f"{path}: {error}") from error
        return {**info, "fps": self.mapping.fps or self.recorded_fps}, robot

    def _read_joints(self, feature: dict[str, Any], key: str, joints: Sequence[Channel]) -> tuple[int, list[int]]:
        shape = shape_of(feature)
        if len(shape) != 1 or not isinstance(shape[0], int):
            raise ValueError(f"{key} has shape {shape}; joints are one row of numbers")
        return shape[0], self.mapping.columns(key, shape[0], flat_names(feature.get("names")), joints)

    def _episode_rows(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        if self.info["codebase_version"] not in V2:
            yield from super()._episode_rows()
            return
        yield from ((self.root / _EPISODES, line) for line in _read_lines(self.root / _EPISODES))

    def _episode_info(self, row: dict[str, Any]) -> EpisodeInfo:
        """Before v3.0 every episode begins its videos."""
        starts = {f"videos/{key}/from_timestamp": 0.0 for key in self.cameras.values()}
        return super()._episode_info({**starts, **row})

    def _locate(self, pattern: str, row: Mapping[str, Any], prefix: str, **names: str) -> Path:
        if self.info["codebase_version"] not in V2:
            return super()._locate(pattern, row, prefix, **names)
        index, chunks_size = int(row["episode_index"]), int(self.info.get("chunks_size", _CHUNKS_SIZE))
        return self.root / pattern.format(episode_chunk=index // chunks_size, episode_index=index, **names)

    def _load_episodes(self) -> list[EpisodeInfo]:
        """With lengths at the rate that was asked for."""
        recorded = super()._load_episodes()
        self._recorded_lengths = [episode.length for episode in recorded]
        return [
            replace(
                episode,
                length=resampled_length(episode.length, self.recorded_fps, float(self.info["fps"])),
                instruction=episode.instruction.strip() or self.mapping.instruction or "",
            )
            for episode in recorded
        ]


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
