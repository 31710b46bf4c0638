"""Reads LeRobot v3.0 datasets of a robot: frames eagerly, images on demand."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wav_models.configuration import parse_json
from wav_models.data.header import header_faults, image_size, robot_of
from wav_models.data.images import resize_image
from wav_models.data.layout import (
    ACTION_KEY,
    CAPTURE_TIME_KEY,
    CODEBASE_VERSION,
    EFFORT_KEY,
    EPISODE_FACTS,
    INFO_PATH,
    NEXT_SUCCESS_KEY,
    SOURCE_TIME_KEY,
    STATE_KEY,
    SUCCESS_KEY,
    VALUE_KEY,
)
from wav_models.data.marks import success_mark
from wav_models.data.stored_images import ImageColumn
from wav_models.data.tables import DatasetError as DatasetError
from wav_models.data.tables import episode_rows, read_column, read_table
from wav_models.data.video_reader import read_frames
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray, ImageArray, IndexArray
from wav_models.words import counted

J = TypeVar("J", dict[str, Any], list[Any])
CONVERT: Final = "`wav dataset convert` makes one of it, or a `mapping` in the training configuration"
"""What to do with a dataset that is of another layout."""

BLOCK: Final = 64
"""Pictures of a camera that are in memory at a time, where they are gone through one after the other."""

MOST: Final = 10**8
"""Frames of an episode, or episodes: five weeks at 30 Hz. What is damaged is refused before its memory is asked for."""

_EPISODE_COLUMNS: Final = (
    "episode_index",
    "length",
    "dataset_from_index",
    "dataset_to_index",
    "data/chunk_index",
    "data/file_index",
)
_IDENTITY_DIGITS: Final = 16
_VIDEO_COLUMNS: Final = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


class VideoPart(NamedTuple):
    """An episode's part of a video file, from `start` to `end` [s]."""

    path: Path
    start: float
    end: float = math.inf

    @property
    def size(self) -> int:
        """What tells it from other pictures: bytes of the file."""
        return self.path.stat().st_size

    def read(
        self, fps: float, indices: Sequence[int], transform: Callable[[ImageArray], ImageArray] | None
    ) -> ImageArray:
        """Decode the pictures of frames at `fps` [Hz], counted from its start; see `read_frames`."""
        return read_frames(self.path, fps, indices, transform, self.start, self.end)


@dataclass(frozen=True)
class EpisodeInfo:
    """A line of the episode table.

    Attributes:
        index: position in the dataset.
        instruction: the language command.
        length: T, number of frames.
        seed, success, noise: how it was made, where known.
        achieved_fps: rate at which frames were really taken [Hz], where known.
        extra: anything else the recorder noted.
        data_file: Parquet file of its frames.
        videos: per view where its pictures are.
        frames: which of the dataset's it is said to have, the first and the last + 1; only LeRobot takes them so.
    """

    index: int
    instruction: str
    length: int
    seed: int | None
    success: bool | None
    noise: float | None
    achieved_fps: float | None
    extra: dict[str, Any]
    data_file: Path
    videos: dict[str, VideoPart | ImageColumn]
    frames: tuple[Any, Any] = (None, None)


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T frames.

    Attributes:
        info: its line in the episode table.
        fps: nominal rate [Hz].
        states: measured, shape [T, S], in the robot's units.
        actions: commanded, shape [T, A], in the robot's units; row t was commanded upon seeing frame t.
        capture_times: shape [T], s.
        values: reward terms and the discounted return, shape [T, C]; None before `wav label`.
        source_times: when each of the robot's `sources` was captured, shape [T, V + 2], s; None where the recorder did
            not note it, or nothing says when the frames themselves were: an editing tool may have removed that.
        efforts: measured, shape [T, S], N m; None where they were not recorded, or not asked for.
        video_frames: where the videos have another rate, the frame of them that belongs to each, shape [T].
        video_fps: that rate [Hz]; None: `fps`.
    """

    info: EpisodeInfo
    fps: int
    states: FloatArray
    actions: FloatArray
    capture_times: FloatArray
    values: FloatArray | None
    source_times: FloatArray | None = None
    efforts: FloatArray | None = None
    video_frames: IndexArray | None = None
    video_fps: float | None = None

    def __len__(self) -> int:
        return len(self.states)

    @property
    def instruction(self) -> str:
        return self.info.instruction

    @property
    def identity(self) -> str:
        """What it is, wherever it lies: hash of its states [T, S] and actions [T, A] in single precision.

        Copying, renaming, labelling, and LeRobot's delete, split and merge do not change it; two recordings never share
        it.
        """
        digest = hashlib.sha256()
        for rows in (self.states, self.actions):
            digest.update(np.ascontiguousarray(rows, dtype="<f4").tobytes())
        return digest.hexdigest()[:_IDENTITY_DIGITS]

    def images(
        self, view: str, indices: Sequence[int] | None = None, size: tuple[int, int] | None = None
    ) -> ImageArray:
        """Decode one camera.

        Args:
            view: one of the robot's.
            indices: frames wanted, in any order; all when None.
            size: (height, width) to resize to [px]; as recorded when None.

        Returns:
            uint8 RGB, shape [N, H, W, 3].
        """
        if view not in self.info.videos:
            raise ValueError(f"unknown view {view!r}; valid: {', '.join(self.info.videos)}")
        transform = None if size is None else partial(resize_image, size=size)
        frames = range(len(self)) if indices is None else indices
        if self.video_frames is not None:
            frames = self.video_frames[list(frames)].tolist()
        return self.info.videos[view].read(self.video_fps or self.fps, frames, transform)

    def pictures(self, view: str, size: tuple[int, int] | None = None) -> Iterator[ImageArray]:
        """All of one camera one after the other, as `images` has them; few are in memory at a time."""
        for first in range(0, len(self), BLOCK):
            yield from self.images(view, range(first, min(first + BLOCK, len(self))), size)


class Dataset:
    """A dataset directory of this project's layout; the episode table decides which episodes exist.

    Attributes:
        root: the directory.
        robot: whose recordings these are.
        fps: nominal rate [Hz].
        image_sizes: recorded (height, width) per view [px].
        episodes: one entry per episode, by index.
    """

    def __init__(self, root: Path, *, robot: Embodiment | None = None) -> None:
        """Open a dataset; nothing but its metadata is read.

        Args:
            root: dataset directory.
            robot: that the caller needs; None: the known one whose dataset it is.

        Raises:
            DatasetError: not a dataset of this robot or layout.
        """
        self.root = whole_path(root)
        self.info, self.robot = self._load_info(robot)
        self.fps = int(self.info["fps"])
        self.image_sizes = {view: image_size(self.info["features"][key]) for view, key in self.cameras.items()}
        self.episodes = self._load_episodes()
        self._by_index = {episode.index: episode for episode in self.episodes}

    @property
    def cameras(self) -> Mapping[str, str]:
        """Feature of every view."""
        return self.robot.view_keys

    @property
    def _video_keys(self) -> list[str]:
        """Those whose pictures are videos."""
        return list(self.cameras.values())

    def __len__(self) -> int:
        return len(self.episodes)

    def __iter__(self) -> Iterator[Episode]:
        return (self.read_episode(episode.index) for episode in self.episodes)

    def entry(self, index: int) -> EpisodeInfo:
        """The line of the episode table of that index; IndexError where there is none."""
        if index not in self._by_index:
            raise IndexError(f"{self.root}: there is no episode {index} among {len(self)}")
        return self._by_index[index]

    def read_episode(self, index: int, *, values: bool = True, efforts: bool = False) -> Episode:
        """Frames of one episode, without their values if not `values`, with efforts only if `efforts`: no model of ours
        takes them, so those of other people's recordings need not be usable.

        Raises:
            DatasetError: names what is missing, misshapen or not finite.
        """
        info = self.entry(index)
        where = f"{info.data_file}, episode {index}"
        table = self.read_rows(index, info.length)
        time_key = CAPTURE_TIME_KEY if CAPTURE_TIME_KEY in table.column_names else "timestamp"

        def optional(name: str, width: int) -> FloatArray | None:
            return read_column(table, name, width, where) if name in table.column_names else None

        return Episode(
            info=info,
            fps=self.fps,
            states=read_column(table, STATE_KEY, self.robot.state_dim, where),
            actions=read_column(table, ACTION_KEY, self.robot.action_dim, where),
            capture_times=read_column(table, time_key, None, where),
            values=optional(VALUE_KEY, self.robot.value_dim) if values else None,
            source_times=optional(SOURCE_TIME_KEY, len(self.robot.sources)) if time_key == CAPTURE_TIME_KEY else None,
            efforts=optional(EFFORT_KEY, self.robot.state_dim) if efforts else None,
        )

    @property
    def _images(self) -> set[str]:
        """Features whose pictures lie in the data files, as other labs' may: they are large and read by themselves."""
        return {k for k, f in self.info["features"].items() if isinstance(f, dict) and f.get("dtype") == "image"}

    def read_rows(self, index: int, length: int) -> pa.Table:
        """All columns of an episode's frames but the pictures.

        Raises:
            DatasetError: the file cannot be read, or has not `length` frames of it.
        """
        path = self.entry(index).data_file
        table = episode_rows(path, index, self._images)
        if table.num_rows != length:
            raise DatasetError(
                f"{path}, episode {index}: {counted(table.num_rows, 'frame')}, the episode table says {length}"
            )
        return table

    def _load_info(self, robot: Embodiment | None) -> tuple[dict[str, Any], Embodiment]:
        info = read_info(self.root)
        path, version = self.root / INFO_PATH, info["codebase_version"]
        if version != CODEBASE_VERSION:
            raise DatasetError(f"{path}: codebase_version {version!r}, not {CODEBASE_VERSION}; {CONVERT}")
        its = robot_of(info)
        robot = robot or its
        for fault in header_faults(info, robot):
            is_of_another = its.name != robot.name and next(header_faults(info, its), None) is None
            raise DatasetError(f"{path}: {fault}; {f'it is of {its.name}' if is_of_another else CONVERT}")
        return info, robot

    def _episode_rows(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Lines of the episode table, and the file that each stands in."""
        for path in sorted((self.root / "meta/episodes").glob("*/*.parquet")):
            yield from ((path, row) for row in _read_episode_rows(path, self._video_keys))

    def _load_episodes(self) -> list[EpisodeInfo]:
        episodes: list[EpisodeInfo] = []
        for path, row in self._episode_rows():
            try:
                episodes.append(self._episode_info(row))
            except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
                raise DatasetError(f"{path}: episode {row.get('episode_index')} is damaged: {error!r}") from error
        episodes.sort(key=lambda episode: episode.index)
        self._require_indices([episode.index for episode in episodes])
        return self._with_facts(episodes)

    def _require_indices(self, indices: list[int]) -> None:
        """LeRobot looks episodes up by position."""
        for position, index in enumerate(indices):
            if index < position:
                raise DatasetError(f"{self.root}: episode {index} is in the episode table twice")
            if index > position:
                raise DatasetError(f"{self.root}: episode {position} is missing; episode indices must be contiguous")

    def _with_facts(self, episodes: list[EpisodeInfo]) -> list[EpisodeInfo]:
        """Success and seed from the frames where the episode table does not have them (any more)."""
        columns = [key for key in (*EPISODE_FACTS.values(), NEXT_SUCCESS_KEY) if key in self.info["features"]]
        if not columns:
            return episodes
        files = dict.fromkeys(e.data_file for e in episodes if e.success is None or e.seed is None)
        found: dict[int, dict[str, Any]] = {}
        for path in files:
            found |= _read_facts(path, columns)
        return [
            replace(
                episode,
                success=facts.get("success") if episode.success is None else episode.success,
                seed=facts.get("seed") if episode.seed is None else episode.seed,
            )
            for episode in episodes
            for facts in [found.get(episode.index, {})]
        ]

    def _locate(self, pattern: str, row: Mapping[str, Any], prefix: str, **names: str) -> Path:
        """The file that a line of the episode table names."""
        chunk, file = row[f"{prefix}/chunk_index"], row[f"{prefix}/file_index"]
        return self._within(pattern.format(chunk_index=chunk, file_index=file, **names))

    def _within(self, name: str) -> Path:
        """A file of the dataset; ValueError where it would lie elsewhere: `wav label` writes data files anew."""
        path = self.root / name
        if not path.is_relative_to(self.root) or ".." in path.relative_to(self.root).parts:
            raise ValueError(f"{name} is not in the dataset")
        return path

    def _pictures(self, row: Mapping[str, Any], key: str, data_file: Path) -> VideoPart | ImageColumn:
        """Where an episode's pictures of a camera are."""
        start, end = (float(row[f"videos/{key}/{name}_timestamp"]) for name in ("from", "to"))
        if not 0.0 <= start < math.inf or not start <= end:
            raise ValueError(f"the part of {key} is from {start} to {end} s")
        return VideoPart(self._locate(self.info["video_path"], row, f"videos/{key}", video_key=key), start, end)

    def _episode_info(self, row: dict[str, Any]) -> EpisodeInfo:
        data_file = self._locate(self.info["data_path"], row, "data")
        instruction, extra = row["tasks"][0], parse_json(row.get("extra") or "{}")
        if not isinstance(row["tasks"], list) or not isinstance(instruction, str) or not isinstance(extra, dict):
            raise TypeError(f"tasks {row['tasks']}, extra {extra}")
        return EpisodeInfo(
            index=whole(row["episode_index"]),
            instruction=instruction,
            length=whole(row["length"]),
            seed=row.get("seed"),
            success=success_mark(row.get("success")),
            noise=row.get("noise"),
            achieved_fps=row.get("achieved_fps"),
            extra=extra,
            data_file=data_file,
            videos={view: self._pictures(row, key, data_file) for view, key in self.cameras.items()},
            frames=(row.get("dataset_from_index"), row.get("dataset_to_index")),
        )


def whole_path(root: Path) -> Path:
    """A dataset's directory from the root on, with a name of its own; a link has that of the link.

    Parquet takes a colon in a relative path for a protocol.
    """
    path = Path(root).absolute()
    return path.resolve() if ".." in path.parts else path


def whole(number: Any) -> int:
    """A number that counts frames or episodes, or its text; ValueError or TypeError where it is none."""
    count = int(number)
    if not 0 <= count <= MOST or (isinstance(number, float) and number != count):
        raise ValueError(f"{number} is no number that counts from 0 to {MOST}")
    return count


def read_info(root: Path) -> dict[str, Any]:
    """`meta/info.json` of a LeRobot dataset of any version.

    Raises:
        DatasetError: it is missing, damaged or incomplete.
    """
    path = root / INFO_PATH
    try:
        info = parse_json(path.read_text(encoding="utf-8-sig"))
        info["codebase_version"], info["fps"], info["features"].items()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; is {root} a LeRobot dataset?") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: damaged or incomplete: {error!r}") from error
    return dict(info)


def read_json(path: Path, kind: type[J]) -> J:
    """What another JSON file of a dataset says; DatasetError naming the file unless that is of this kind."""
    try:
        said = parse_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); restore it from a copy") from error
    except ValueError as error:
        raise DatasetError(f"{path}: damaged ({error}); restore it from a copy") from error
    if not isinstance(said, kind):
        raise DatasetError(f"{path}: holds {type(said).__name__}, not {kind.__name__}; restore it from a copy")
    return said


def read_tasks(path: Path) -> list[str]:
    """Instructions by number, from `meta/tasks.parquet`; tools differ in what they call the column.

    Raises:
        DatasetError: it cannot be read, or the numbers do not count up from 0.
    """
    table = read_table(path)
    name = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
    if name is None or "task_index" not in table.column_names:
        raise DatasetError(f"{path}: columns {', '.join(table.column_names)}; task_index and task are needed")
    numbers, tasks = table["task_index"].to_pylist(), table[name].to_pylist()
    if not all(numbers.count(number) == 1 for number in range(len(tasks))):
        raise DatasetError(f"{path}: tasks are numbered {numbers}, not from 0 on; restore it from a copy")
    return [str(tasks[numbers.index(number)]) for number in range(len(tasks))]


def _read_episode_rows(path: Path, video_keys: Iterable[str]) -> list[dict[str, Any]]:
    """Lines of one file of the episode table, without the statistics."""
    try:
        file = pq.ParquetFile(path)
        names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
        rows: list[dict[str, Any]] = file.read(columns=names, use_threads=False).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: cannot be read: {error}") from error
    required = (*_EPISODE_COLUMNS, *(f"videos/{key}/{name}" for key in video_keys for name in _VIDEO_COLUMNS))
    missing = [name for name in required if name not in names]
    if missing:
        raise DatasetError(f"{path}: column {missing[0]!r} is missing ({len(missing)} missing in all)")
    return rows


def _read_facts(path: Path, columns: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What the frames of a data file say of their episodes: {episode: {"success": bool, "seed": int}}, where known.

    A file that cannot be read says nothing here; whoever reads the episode is told.
    """
    try:
        names = set(pq.read_schema(path).names)
        table = pq.read_table(
            path, partitioning=None, use_threads=False, columns=["episode_index", *(c for c in columns if c in names)]
        )
        episode_of = np.asarray(table["episode_index"])
        values = {name: np.asarray(table[name]) for name in table.column_names}
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return {}
    if episode_of.dtype.kind != "i":
        return {}
    facts: dict[int, dict[str, Any]] = {}
    for episode, first in zip(*np.unique(episode_of, return_index=True), strict=True):
        known = facts.setdefault(int(episode), {})
        for fact, key in EPISODE_FACTS.items():
            if key in values and values[key].dtype.kind in "biuf" and 0 <= values[key][first] < np.inf:
                known[fact] = int(values[key][first])
        if SUCCESS_KEY in values and "success" in known:
            known["success"] = bool(known["success"])
        elif NEXT_SUCCESS_KEY in values:
            marks = [bool(mark) for mark in values[NEXT_SUCCESS_KEY][episode_of == episode] if mark is not None]
            known |= {"success": any(marks)} if marks else {}
    return facts
