"""Writes LeRobot v3.0 datasets that survive kill -9: an episode is durable when `end_episode` returns.

Every episode has files of its own (one Parquet file of frames, one MP4 per view, one Parquet file in the episode
table), so nothing finished is ever rewritten. An episode exists once its line in the episode table does, the last file
to be renamed into place; info.json, stats.json and leftovers of an interrupted episode are put right when the dataset
is opened again.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from wav_models.data.dataset import Dataset, DatasetError, read_json, read_tasks
from wav_models.data.durable import publish, stage_parquet, sync, write_json, write_parquet
from wav_models.data.episode_lines import mend_lines, place_of, require_all_lines
from wav_models.data.layout import (
    CHUNKS_SIZE,
    DATA_PATH,
    EFFORT_KEY,
    EPISODE_FACTS,
    EPISODES_PATH,
    INFO_PATH,
    SOURCE_TIME_KEY,
    STAGING,
    STATS_PATH,
    TASKS_PATH,
    VALUE_KEY,
    VIDEO_PATH,
    channel_feature,
    file_location,
    make_info,
    set_totals,
)
from wav_models.data.lock import DatasetLock
from wav_models.data.statistics import FeatureStats, combine
from wav_models.embodiment import Embodiment
from wav_models.words import counted
from wav_policy.recording.episode_recorder import EpisodeRecorder, StagedEpisode
from wav_policy.recording.episode_table import (
    OUR_COLUMNS,
    achieved_fps,
    episode_row,
    episode_stats,
    frame_table,
    is_slow,
    read_row_stats,
    task_table,
)
from wav_policy.robot.joints import ROBOT

logger = logging.getLogger(__name__)


class DatasetWriter:
    """Appends episodes to a dataset, new or existing; one writer at a time."""

    def __init__(
        self,
        root: Path,
        *,
        fps: int,
        robot: Embodiment = ROBOT,
        image_sizes: dict[str, tuple[int, int]] | None = None,
        source_times: bool = False,
    ) -> None:
        """Create or resume the dataset in `root`.

        Args:
            root: dataset directory; created when missing.
            fps: nominal rate [Hz].
            robot: whose dataset it is.
            image_sizes: (height, width) [px] per view; the robot's by default.
            source_times: every frame comes with the capture time of each of its sources.

        Raises:
            DatasetError: the directory holds another kind of dataset, or another process writes to it.
            OSError: the disk is full or the directory not writable.
        """
        self.root = Path(root).absolute()
        self.fps, self.robot = fps, robot
        self.image_sizes = dict(robot.image_sizes if image_sizes is None else image_sizes)
        self.source_times = source_times
        self._recorder: EpisodeRecorder | None = None
        self._lock = DatasetLock(self.root, "recorder")
        try:
            self._open(make_info(robot, fps, self.image_sizes, source_times=source_times))
        except BaseException:
            self._lock.close()
            raise

    def _open(self, expected_info: dict[str, Any]) -> None:
        """Take up what is there; repair what an interruption left."""
        self._clear_staging()
        self.info = self._load_info(expected_info)
        mend_lines(self.root, OUR_COLUMNS)
        self.rows, self._row_files = self._load_rows()
        require_all_lines(self.root, self.info, len(self.rows))
        self.tasks = self._load_tasks()
        self.stats: dict[str, FeatureStats] = {}
        for row, path in zip(self.rows, self._row_files, strict=True):
            try:
                self._add_stats(read_row_stats(row))
            except (ValueError, TypeError, LookupError) as error:
                said = f"statistics of episode {row['episode_index']} that do not fit the others ({error})"
                raise DatasetError(f"{path}: {said}; restore it from a copy") from error
        self._remove_orphans()
        self._write_summary()

    @property
    def num_episodes(self) -> int:
        return len(self.rows)

    @property
    def num_frames(self) -> int:
        return sum(int(row["length"]) for row in self.rows)

    @property
    def efforts(self) -> bool:
        """Every frame of this dataset comes with the measured efforts; decided with its first episode."""
        return EFFORT_KEY in self.info["features"]

    def start_episode(self, instruction: str, extra: dict[str, Any] | None = None, *, efforts: bool = False) -> None:
        """Begin an episode.

        Args:
            instruction: the language command.
            extra: may hold seed, success, noise and any other JSON data.
            efforts: whether the dataset is to have efforts; counts for its first episode only, see the property.
        """
        if self._recorder is not None:
            raise RuntimeError("an episode is being recorded; end or discard it first")
        if not self.rows and efforts != self.efforts:
            self._decide_efforts(efforts)
        self._recorder = EpisodeRecorder(
            self._current,
            fps=self.fps,
            image_sizes=self.image_sizes,
            instruction=instruction,
            extra=extra,
            source_times=self.source_times,
            efforts=self.efforts,
            robot=self.robot,
        )

    def _decide_efforts(self, wanted: bool) -> None:
        """Known on the disk before there is a frame that has them."""
        features = {key: feature for key, feature in self.info["features"].items() if key != EFFORT_KEY}
        self.info["features"] = features | ({EFFORT_KEY: channel_feature(self.robot.state)} if wanted else {})
        self._write_summary()

    def add_frame(
        self,
        images: dict[str, NDArray[np.uint8]],
        state: ArrayLike,
        action: ArrayLike,
        capture_time: float,
        source_times: ArrayLike | None = None,
        effort: ArrayLike | None = None,
    ) -> None:
        """Append one moment; see `EpisodeRecorder.add_frame`."""
        self._recording().add_frame(images, state, action, capture_time, source_times, effort)

    def set_extra(self, **extra: Any) -> None:
        """Note what became known during the episode, such as its success."""
        self._recording().extra.update(extra)

    def end_episode(self) -> int:
        """Make the episode part of the dataset; returns its index.

        Raises:
            OSError, av.FFmpegError: it could not be written; what was finished before is untouched. Open the dataset
                anew to go on.
        """
        recorder, self._recorder = self._recording(), None
        try:
            staged = recorder.finish()
        except (OSError, av.FFmpegError):
            recorder.discard()
            raise
        return self.commit(staged)

    def discard_episode(self) -> None:
        """Forget the episode in progress."""
        recorder, self._recorder = self._recording(), None
        recorder.discard()

    def commit(self, episode: StagedEpisode) -> int:
        """Append an episode that was recorded elsewhere on the same file system; returns its index."""
        if episode.fps != self.fps or episode.image_sizes != self.image_sizes:
            raise DatasetError(
                f"{episode.directory}: {episode.fps} Hz, {episode.image_sizes}; "
                f"the dataset has {self.fps} Hz, {self.image_sizes}"
            )
        self._lock.require_in_place()
        index, location = self.num_episodes, self._next_location()
        if episode.instruction not in self.tasks:
            self.tasks.append(episode.instruction)
            write_parquet(self.root / TASKS_PATH, task_table(self.tasks))
        task = self.tasks.index(episode.instruction)
        frames = frame_table(episode, index, self.num_frames, task, self.info["features"])
        rate = achieved_fps(self.robot, frames)
        row = episode_row(
            self.robot, episode, index, self.num_frames, location, rate, episode_stats(self.robot, episode, frames)
        )
        staged_frames = stage_parquet(episode.directory / "data.parquet", frames)
        staged_row = stage_parquet(episode.directory / "row.parquet", row)
        for view in episode.image_sizes:
            video_path = VIDEO_PATH.format(video_key=self.robot.view_keys[view], **location)
            publish(episode.video_path(view), self.root / video_path)
        publish(staged_frames, self.root / DATA_PATH.format(**location))
        publish(staged_row, self.root / EPISODES_PATH.format(**location))
        self.rows.append(row.to_pylist()[0])
        self._row_files.append(self.root / EPISODES_PATH.format(**location))
        self._add_stats(read_row_stats(self.rows[-1]))
        try:
            episode.remove()
            self._write_summary()
        except OSError as error:  # the episode is in the dataset all the same
            logger.warning("episode %d is safe, the next opening repairs what describes it: %s", index, error)
        if is_slow(rate, self.fps):
            logger.warning("episode %d was recorded at %.2f Hz; the dataset says %d Hz", index, rate, self.fps)
        return index

    def remove_last(self) -> None:
        """Take the last episode, which this writer has appended, out of the dataset again."""
        if not self.rows:
            raise RuntimeError("there is no episode to remove")
        path = self._row_files[-1]
        if pq.read_metadata(path).num_rows != 1:
            raise DatasetError(f"{path}: the last episode shares this file with others; only those recorded here go")
        set_totals(self.info, self.num_episodes - 1, self.num_frames - int(self.rows[-1]["length"]))
        write_json(self.root / INFO_PATH, self.info)  # first: where lines are fewer than is told, some are lost
        path.unlink()
        sync(path.parent)
        self._open(self.info)

    def close(self) -> None:
        """Discard an episode in progress and let others write."""
        try:
            if self._recorder is not None:
                self.discard_episode()
        finally:
            self._lock.close()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def _current(self) -> Path:
        return self.root / STAGING / "current"

    def _recording(self) -> EpisodeRecorder:
        if self._recorder is None:
            raise RuntimeError("no episode is being recorded; call start_episode first")
        return self._recorder

    def _clear_staging(self) -> None:
        for directory in (self.root / STAGING).iterdir():
            if directory.is_dir():
                shutil.rmtree(directory)

    def _load_info(self, expected: dict[str, Any]) -> dict[str, Any]:
        path = self.root / INFO_PATH
        if not path.is_file():
            if next((self.root / "data").glob("*/*.parquet"), None) is not None:
                raise DatasetError(
                    f"{path}: no such file beside data; restore it from a copy, or use another directory"
                )
            return expected
        if next((self.root / "meta/episodes").glob("*/*.parquet"), None) is not None:
            Dataset(self.root, robot=self.robot)  # raises where what is there cannot be read
        info = read_json(path, dict)
        for key in ("codebase_version", "robot_type", "fps"):
            if info.get(key) != expected[key]:
                raise DatasetError(f"{path}: {key} is {info.get(key)!r}, not {expected[key]!r}; use another directory")
        features = dict(expected["features"])
        if EFFORT_KEY in info.get("features", {}):
            features[EFFORT_KEY] = channel_feature(self.robot.state)
        for name, feature in features.items():
            found = info.get("features", {}).get(name)
            if found is None and name not in EPISODE_FACTS.values():
                raise DatasetError(f"{path}: feature {name!r} is missing, which recordings have; use another directory")
            shape = found.get("shape") if isinstance(found, dict) else None
            if found is not None and shape != feature["shape"]:
                raise DatasetError(f"{path}: {name} has shape {shape}, not {feature['shape']}")
        for key in {SOURCE_TIME_KEY, EFFORT_KEY} & set(info["features"]):
            if SOURCE_TIME_KEY not in expected["features"]:
                raise DatasetError(f"{path}: this dataset was recorded from a robot, with {key}; use another directory")
        for name in info["features"]:
            if name not in features and name != VALUE_KEY:
                raise DatasetError(
                    f"{path}: feature {name!r} is not recorded here, so new frames would lack it; "
                    "use another directory, or remove it with `lerobot-edit-dataset`"
                )
        return info

    def _load_rows(self) -> tuple[list[dict[str, Any]], list[Path]]:
        """Lines of the episode table in order, and the file that each stands in."""
        files = sorted((self.root / "meta/episodes").glob("*/*.parquet"))
        found = [(row, path) for path in files for row in _read_rows(path)]
        found.sort(key=lambda entry: int(entry[0]["episode_index"]))
        return [row for row, _ in found], [path for _, path in found]

    def _load_tasks(self) -> list[str]:
        path = self.root / TASKS_PATH
        if path.is_file():
            return read_tasks(path)
        if self.rows:
            raise DatasetError(
                f"{path} is missing; restore it from a copy: {counted(len(self.rows), 'episode')} cannot do without it"
            )
        return []

    def _next_location(self) -> dict[str, int]:
        """Behind every file that a line of the episode table names: other tools number files as they like."""
        prefixes = ("data", *(f"videos/{self.robot.view_keys[view]}" for view in self.image_sizes))
        used = [_file_number(row, prefix) for row in self.rows for prefix in prefixes]
        used += [place[0] * CHUNKS_SIZE + place[1] for path in self._row_files if (place := place_of(path))]
        return file_location(max(used, default=-1) + 1)

    def _remove_orphans(self) -> None:
        """Delete what an interrupted commit or write left behind: where the next episode goes, no row has a file."""
        location = self._next_location()
        orphans = [DATA_PATH.format(**location)]
        orphans += [VIDEO_PATH.format(video_key=self.robot.view_keys[view], **location) for view in self.image_sizes]
        for path in [self.root / orphan for orphan in orphans]:
            if path.is_file():
                logger.warning("removing %s: its episode was never finished", path)
                os.unlink(path)
        for directory in ("meta", "data"):
            for path in (self.root / directory).rglob(".*.partial"):
                os.unlink(path)

    def _add_stats(self, stats: dict[str, FeatureStats]) -> None:
        for feature, new in stats.items():
            self.stats[feature] = combine(self.stats[feature], new) if feature in self.stats else new

    def _write_summary(self) -> None:
        set_totals(self.info, self.num_episodes, self.num_frames)
        self.info["total_tasks"] = len(self.tasks)
        write_json(self.root / INFO_PATH, self.info)
        if self.stats:
            path = self.root / STATS_PATH
            added = _stats_of_others(path)
            write_json(path, {**added, **self.stats})


def _file_number(row: dict[str, Any], prefix: str) -> int:
    """Of the file of that kind which a line of the episode table names, counted through all chunks."""
    return int(row[f"{prefix}/chunk_index"]) * CHUNKS_SIZE + int(row[f"{prefix}/file_index"])


def _stats_of_others(path: Path) -> dict[str, Any]:
    """Statistics of columns that others added; damaged ones are left out, for the rest is written anew anyway."""
    try:
        return read_json(path, dict) if path.is_file() else {}
    except DatasetError as error:
        logger.warning("%s; statistics of columns that the recorder does not write are lost", error)
        return {}


def _read_rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows: list[dict[str, Any]] = pq.read_table(path, partitioning=None).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read ({error}); restore it from a copy") from error
    return rows
