"""Reads rosbag2 recordings (sqlite3 or MCAP) of any stack through the pure Python library rosbags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np

from wav_models.alignment import IndexArray, newest_at
from wav_models.types import FloatArray, ImageArray
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

Decode = Callable[[Any], ImageArray]
"""An Image or CompressedImage to uint8 RGB [H, W, 3]; ValueError where it is no usable picture."""
_DATA: Final = (".mcap", ".db3")
_MAX_SHOWN: Final = 300
"""Characters of a library's words."""
_COMPRESSED: Final = "/compressed"
_PICTURES: Final = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TEXT: Final = ("std_msgs/msg/String",)
_LONGEST_PAUSE: Final = 600.0
"""Between two stamps of a source: longer ones are a clock that was set, and the grid would fill the memory [s]."""


class BagError(ValueError):
    """A recording that cannot be read; the message names what is missing or wrong."""


class Bag:
    """One recording on a steady grid: pictures are read when they are asked for.

    Args:
        path: rosbag2 directory, or .mcap or .db3 file.
        topics: what lies where.
        fps: of the grid [Hz].
        decode: makes pictures of messages.

    Attributes:
        times: of the grid, shape [T], s.
        states: measured positions, shape [T, 14], rad and m.
        actions: commanded ones, shape [T, 14]; without a topic of them, the states one row later.
        instruction: the command in words; empty where none was recorded.
        gap: longest time for which a source had paused, and its topic.

    Raises:
        BagError: rosbags is missing, the file is damaged, or a topic is not in it.
    """

    def __init__(self, path: Path, topics: BagTopics, fps: float, decode: Decode) -> None:
        self._path, self._decode = path, decode
        self._views = _image_topics(path, topics)
        stamps: dict[str, list[float]] = {view: [] for view in VIEWS}
        rows: dict[str, list[FloatArray]] = {topic: [] for topic in (*topics.joints, *topics.actions)}
        times: dict[str, list[float]] = {topic: [] for topic in rows}
        self.instruction = ""
        others: dict[str, str] = {}
        wanted: dict[str, tuple[str, ...]] = {**dict.fromkeys(self._views, _PICTURES), **dict.fromkeys(rows, ())}
        if topics.instruction:
            wanted[topics.instruction] = _TEXT
        for topic, message, recorded in _messages(path, wanted):
            if topic in self._views:
                stamps[self._views[topic]].append(_seconds(message, recorded))
            elif topic in rows:
                names = topics.joints.get(topic, topics.actions.get(topic, ()))
                if not names and not set(JOINT_NAMES) & set(getattr(message, "name", JOINT_NAMES)):
                    others[topic] = f" (only of other joints: {', '.join(message.name)}"[:_MAX_SHOWN] + ")"
                    continue
                rows[topic].append(_positions(path, topic, message, names))
                times[topic].append(_seconds(message, recorded))
            else:
                self.instruction = str(message.data)
        missing = [topics.images[view] for view in VIEWS if not stamps[view]]
        if missing := missing + [topic + others.get(topic, "") for topic in rows if not rows[topic]]:
            raise BagError(f"{path}: nothing recorded of {', '.join(missing)}")
        self._stamps = {view: np.array(stamps[view]) for view in VIEWS}
        sources = {topics.images[view]: self._stamps[view] for view in VIEWS}
        sources |= {topic: np.array(values) for topic, values in times.items()}
        self.times = _steady_grid(path, sources, fps)
        self._chosen = {view: newest_at(self._stamps[view], self.times) for view in VIEWS}
        self.gap = max((_longest_gap(values, self.times), topic) for topic, values in sources.items())
        self.states = self._merged(topics, topics.joints, rows, times)
        self.actions = (
            self._merged(topics, topics.actions, rows, times)
            if topics.actions
            else np.concatenate([self.states[1:], self.states[-1:]])
        )

    def __len__(self) -> int:
        return len(self.times)

    def _merged(
        self,
        topics: BagTopics,
        group: Mapping[str, tuple[str, ...]],
        rows: Mapping[str, list[FloatArray]],
        times: Mapping[str, list[float]],
    ) -> FloatArray:
        """Positions [T, 14] of several topics, each at the newest of its messages."""
        merged = np.empty((len(self.times), JOINT_DIM))
        for topic, names in group.items():
            index = [JOINT_NAMES.index(name) for name in names or JOINT_NAMES]
            merged[:, index] = np.array(rows[topic])[newest_at(np.array(times[topic]), self.times)]
        scale = np.array([topics.scale.get(name, 1.0) for name in JOINT_NAMES])
        return merged * scale + np.array([topics.offset.get(name, 0.0) for name in JOINT_NAMES])

    def pictures(self) -> Iterator[tuple[int, dict[str, ImageArray]]]:
        """Row of the grid and its picture per view, uint8 RGB [H, W, 3], in order; few are in memory at a time.

        Raises:
            BagError: a picture cannot be decoded; names topic and number.
        """
        counts = dict.fromkeys(VIEWS, 0)
        wanted = {view: set(indices.tolist()) for view, indices in self._chosen.items()}
        held: dict[str, dict[int, ImageArray]] = {view: {} for view in VIEWS}
        row = 0
        for topic, message, _ in _messages(self._path, dict.fromkeys(self._views, _PICTURES)):
            view = self._views[topic]
            number, counts[view] = counts[view], counts[view] + 1
            if number not in wanted[view]:
                continue
            try:
                held[view][number] = self._decode(message)
            except ValueError as error:
                raise BagError(f"{self._path}: {topic}, picture {number}: {error}") from error
            while row < len(self) and all(self._chosen[name][row] in held[name] for name in VIEWS):
                yield row, {name: held[name][int(self._chosen[name][row])] for name in VIEWS}
                row += 1
                for name in VIEWS if row < len(self) else ():
                    for old in [n for n in held[name] if n < self._chosen[name][row]]:
                        del held[name][old]


def _image_topics(path: Path, topics: BagTopics) -> dict[str, str]:
    """View by topic, for those that are in the recording."""
    present = _topics_of(path)
    return {
        topic if topic in present else topic + _COMPRESSED: view
        for view, topic in topics.images.items()
        if topic in present or topic + _COMPRESSED in present
    }


def _steady_grid(path: Path, sources: Mapping[str, FloatArray], fps: float) -> FloatArray:
    """Instants [T] while every source had begun and none had ended."""
    for topic, stamps in sources.items():
        if (np.diff(stamps) < 0.0).any():
            raise BagError(f"{path}: stamps of {topic} go back; cut the recording there")
        if (leap := np.diff(stamps).max(initial=0.0)) > _LONGEST_PAUSE:
            raise BagError(f"{path}: stamps of {topic} leap by {leap:.0f} s; cut the recording there")
    start = max(float(stamps[0]) for stamps in sources.values())
    end = min(float(stamps[-1]) for stamps in sources.values())
    grid: FloatArray = np.arange(start, end + 1e-9, 1.0 / fps, dtype=np.float64)
    if not len(grid):
        raise BagError(f"{path}: cameras and joints were never recorded at the same time")
    return grid


def _longest_gap(stamps: FloatArray, grid: FloatArray) -> float:
    rows: IndexArray = newest_at(stamps, grid)
    return float((grid - stamps[rows]).max())


def _topics_of(path: Path) -> set[str]:
    with _opened(path) as reader:
        return {connection.topic for connection in reader.connections}


def _messages(path: Path, wanted: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, Any, float]]:
    """Topic, message and time of recording [s], in the order of recording, of the topics that are wanted.

    Args:
        wanted: which types of messages fit, by topic; none: all do.
    """
    with _opened(path) as reader:
        connections = [connection for connection in reader.connections if connection.topic in wanted]
        for connection in connections:
            if (fitting := wanted[connection.topic]) and connection.msgtype not in fitting:
                raise BagError(f"{path}: {connection.topic} holds {connection.msgtype}; {' or '.join(fitting)} fits")
        for connection, nanoseconds, data in reader.messages(connections) if connections else ():
            yield connection.topic, reader.deserialize(data, connection.msgtype), 1e-9 * nanoseconds


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    highlevel, typesys = _library()
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    try:
        with highlevel.AnyReader(_files(path), default_typestore=store) as reader:
            yield reader
    except BagError:
        raise
    except Exception as error:  # of a damaged file: those of sqlite3, struct, zstandard, YAML, and of rosbags itself
        why = " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_SHOWN]
        raise BagError(
            f"{path} cannot be read ({why}). Of a recording that was cut off `mcap recover FILE` saves what there is"
        ) from error


def _files(path: Path) -> list[Path]:
    """What to open: of a directory that lost its metadata.yaml the files themselves."""
    if not path.is_dir() or (path / "metadata.yaml").exists():
        return [path]
    files = [file for file in path.iterdir() if file.suffix in _DATA]
    if not files:
        raise BagError(f"{path} holds neither metadata.yaml nor any {' or '.join(_DATA)} file")
    return files


def _library() -> tuple[ModuleType, ModuleType]:
    try:
        from rosbags import highlevel, typesys
    except ImportError as error:
        raise BagError("reading bags needs the extra `bags`: pip install -e '.[bags]'") from error
    return highlevel, typesys


def _positions(path: Path, topic: str, message: Any, names: tuple[str, ...]) -> FloatArray:
    """Numbers of a JointState, or of an array message, in the order of `names`; none: by the message's own names."""
    held = getattr(message, "position", getattr(message, "data", None))
    try:
        values = np.atleast_1d(np.asarray(held if held is not None else (), dtype=np.float64))
    except (TypeError, ValueError):
        raise BagError(f"{path}: {topic} holds no numbers; sensor_msgs/msg/JointState fits, or an array") from None
    if not names:
        by_name = dict(zip(getattr(message, "name", ()), values.tolist(), strict=False))
        if absent := [name for name in JOINT_NAMES if name not in by_name]:
            raise BagError(f"{path}: {topic} without {', '.join(absent)}; a topic map can name its joints")
        values = np.array([by_name[name] for name in JOINT_NAMES])
    elif len(values) != len(names):
        raise BagError(f"{path}: {topic} has {len(values)} positions; the map names {len(names)}")
    if not np.isfinite(values).all():
        wrong = (names or JOINT_NAMES)[int(np.isfinite(values).argmin())]
        raise BagError(f"{path}: {topic} has {wrong} at {values[~np.isfinite(values)][0]}; cut the recording there")
    return values


def _seconds(message: Any, recorded: float) -> float:
    """The stamp of a message; where it has none, when it was recorded [s]."""
    stamp = message.header.stamp if hasattr(message, "header") else None
    return recorded if stamp is None or stamp.sec == 0 else float(stamp.sec) + 1e-9 * float(stamp.nanosec)
