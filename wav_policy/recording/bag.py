"""Recordings of any stack as rows of training data: cameras and joints on a steady grid, by a map of their topics."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from wav_models.alignment import newest_at
from wav_models.types import FloatArray, ImageArray, IndexArray
from wav_models.words import counted
from wav_policy.recording.bag_file import BagError, messages, topics_of
from wav_policy.recording.bag_pictures import Decode, RecordedPictures
from wav_policy.recording.bag_stamps import believed
from wav_policy.recording.bag_topics import BagTopics, JointNames, our_names
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

_MAX_SHOWN: Final = 300
"""Characters of somebody's names."""
_LARGEST: Final = float(np.finfo(np.float32).max)
"""Of the numbers that a dataset holds."""
_COMPRESSED: Final = "/compressed"
_PICTURES: Final = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
_TEXT: Final = ("std_msgs/msg/String",)


@dataclass
class _Recorded:
    """What lay on a topic: stamps of its messages (0: none), when they were recorded [s], and positions of joints."""

    stamps: list[float]
    times: list[float]
    positions: list[FloatArray]


@dataclass(frozen=True)
class _Source:
    """A camera, or joints whose positions come in the same messages.

    Attributes:
        topic: where it was recorded.
        numbers: which of the topic's messages, shape [N]; those whose stamps are not believed are left out.
        stamps: of them, shape [N], s.
        times: of their recording, shape [N], s.
        starts: times of recording at which its clock became another one [s].
        joints: indices into `JOINT_NAMES`; of a camera none.
        positions: of them, shape [N, joints].
    """

    topic: str
    numbers: IndexArray
    stamps: FloatArray
    times: FloatArray
    starts: tuple[float, ...]
    joints: IndexArray
    positions: FloatArray

    @classmethod
    def of(cls, topic: str, recorded: _Recorded, numbers: IndexArray, joints: IndexArray) -> _Source:
        """Of some of a topic's messages; stamps that are 0 are none."""
        stamps, times = np.array(recorded.stamps)[numbers], np.array(recorded.times)[numbers]
        if (has_stamp := stamps > 0.0).any():
            numbers, stamps, times = numbers[has_stamp], stamps[has_stamp], times[has_stamp]
        else:
            stamps = times
        rows, starts = believed(stamps.tolist(), times.tolist())
        numbers, stamps = numbers[rows], stamps[rows]
        positions = np.array([recorded.positions[number][joints] for number in numbers]) if len(joints) else np.empty(0)
        return cls(topic, numbers, stamps, times[rows], tuple(times[starts].tolist()), joints, positions)

    def between(self, begin: float, end: float) -> _Source:
        """What was recorded from `begin` to before `end` [s]."""
        rows = slice(*np.searchsorted(self.times, (begin, end)))
        numbers, stamps, times = self.numbers[rows], self.stamps[rows], self.times[rows]
        positions = self.positions[rows] if len(self.joints) else self.positions
        return _Source(self.topic, numbers, stamps, times, (), self.joints, positions)


@dataclass(frozen=True)
class Segment:
    """A part of a recording in which every clock stays the same one, on a steady grid.

    Attributes:
        times: of the grid, shape [T], s.
        states: measured positions, shape [T, 14], rad and m.
        actions: commanded ones, shape [T, 14]; without a topic of them, the states one row later.
        gap: longest time for which a source had paused, and its topic.
        cameras: by view.
    """

    times: FloatArray
    states: FloatArray
    actions: FloatArray
    gap: tuple[float, str]
    cameras: dict[str, _Source]

    def __len__(self) -> int:
        return len(self.times)


class Bag:
    """One recording: pictures are read when they are asked for.

    Args:
        path: rosbag2 directory, or .mcap or .db3 file.
        topics: what lies where.
        fps: of the grid [Hz].
        decode: makes pictures of messages.

    Attributes:
        segments: in order, at least one; there are more where clocks became other ones.
        instruction: the command in words; empty where none was recorded.
        left_out: of every topic the messages whose stamps are not believed, and the damaged ones among the `pictures`.

    Raises:
        BagError: rosbags is missing, the file is damaged, or a topic is not in it.
    """

    def __init__(self, path: Path, topics: BagTopics, fps: float, decode: Decode) -> None:
        self._path, self._topics, self._decode = path, topics, decode
        self._views = _image_topics(path, topics)
        self.instruction = ""
        cameras = {topic: _Recorded([], [], []) for topic in self._views}
        measured = {topic: _Recorded([], [], []) for topic in topics.joints}
        commanded = {topic: _Recorded([], [], []) for topic in topics.actions}
        wanted: dict[str, tuple[str, ...]] = dict.fromkeys(self._views, _PICTURES)
        wanted |= dict.fromkeys((*measured, *commanded), ())
        if topics.instruction:
            wanted[topics.instruction] = _TEXT
        others: dict[str, str] = {}
        for topic, message, time in messages(path, wanted):
            if topic in cameras:
                cameras[topic].stamps.append(_stamp(message))
                cameras[topic].times.append(time)
            elif topic == topics.instruction:
                self.instruction = str(message.data)
            for group, names in ((measured, topics.joints), (commanded, topics.actions)):
                if topic not in group:
                    continue
                positions = _positions(path, topic, message, names[topic])
                if np.isnan(positions).all():
                    others[topic] = f" (only of other joints: {', '.join(message.name)}"[:_MAX_SHOWN] + ")"
                    continue
                group[topic].stamps.append(_stamp(message))
                group[topic].times.append(time)
                group[topic].positions.append(positions)
        absent = [topic for view, topic in topics.images.items() if view not in self._views.values()]
        for recordings in (cameras, measured, commanded):
            absent += [topic + others.get(topic, "") for topic, recorded in recordings.items() if not recorded.times]
        if absent:
            there = ", ".join(sorted(topics_of(path)))[:_MAX_SHOWN] or "nothing"
            raise BagError(
                f"{path}: nothing recorded of {', '.join(dict.fromkeys(absent))}. There is: {there}; a topic map "
                "(--topics) says what is what"
            )
        self.left_out = dict.fromkeys((*cameras, *measured, *commanded), 0)
        self._cameras = {
            self._views[topic]: self._source(topic, recorded, np.arange(len(recorded.times)), np.empty(0, np.int64))
            for topic, recorded in cameras.items()
        }
        self._measured = self._by_joints(measured, topics.joints)
        self._commanded = self._by_joints(commanded, topics.actions)
        self.segments = self._cut(fps)

    def remarks(self) -> list[str]:
        """What is to be said of the recording, a sentence each."""
        why = "damaged, or with a stamp that cannot be believed"
        said = [
            f"{self._path}: {topic}: {counted(n, 'message')} left out, {why}" for topic, n in self.left_out.items() if n
        ]
        if (count := len(self.segments)) > 1:
            said.append(f"{self._path}: {counted(count, 'episode')}: a clock became another one in between")
        return said

    def _by_joints(self, group: dict[str, _Recorded], names: dict[str, JointNames]) -> list[_Source]:
        """Joints that come in the same messages share a clock: where every arm has a publisher there are two."""
        sources = []
        for topic, recorded in group.items():
            is_there = ~np.isnan(np.array(recorded.positions)).T
            missing = [name for name in our_names(names[topic]) if not is_there[JOINT_NAMES.index(name)].any()]
            if missing:
                raise BagError(f"{self._path}: {topic} without {', '.join(missing)}; a topic map can name its joints")
            for pattern in {row.tobytes(): row for row in is_there if row.any()}.values():
                joints = (is_there == pattern).all(axis=1).nonzero()[0]
                sources.append(self._source(topic, recorded, pattern.nonzero()[0], joints))
        return sources

    def _source(self, topic: str, recorded: _Recorded, numbers: IndexArray, joints: IndexArray) -> _Source:
        source = _Source.of(topic, recorded, numbers, joints)
        self.left_out[topic] += len(numbers) - len(source.numbers)
        return source

    def _cut(self, fps: float) -> list[Segment]:
        """The parts between the moments of recording at which the clock of any source became another one."""
        sources = [*self._cameras.values(), *self._measured, *self._commanded]
        bounds = [-np.inf, *sorted({start for source in sources for start in source.starts}), np.inf]
        found = (self._segment(begin, end, fps) for begin, end in pairwise(bounds))
        if segments := [segment for segment in found if segment is not None]:
            return segments
        raise BagError(f"{self._path}: cameras and joints were never recorded at the same time")

    def _segment(self, begin: float, end: float, fps: float) -> Segment | None:
        """What was recorded between; None where there is no instant at which every source had begun and none ended."""
        cameras = {view: source.between(begin, end) for view, source in self._cameras.items()}
        measured = [source.between(begin, end) for source in self._measured]
        commanded = [source.between(begin, end) for source in self._commanded]
        sources = [*cameras.values(), *measured, *commanded]
        if not all(len(source.stamps) for source in sources):
            return None
        first = max(float(source.stamps[0]) for source in sources)
        last = min(float(source.stamps[-1]) for source in sources)
        times: FloatArray = np.arange(first, last + 1e-9, 1.0 / fps, dtype=np.float64)
        if not len(times):
            return None
        states = self._merged(measured, times)
        actions = self._merged(commanded, times) if commanded else np.concatenate([states[1:], states[-1:]])
        gap = max((_longest_gap(source.stamps, times), source.topic) for source in sources)
        return Segment(times, states, actions, gap, cameras)

    def _merged(self, sources: list[_Source], times: FloatArray) -> FloatArray:
        """Positions [T, 14] of several sources, each at the newest of its messages."""
        merged = np.empty((len(times), JOINT_DIM))
        for source in sources:
            merged[:, source.joints] = source.positions[newest_at(source.stamps, times)]
        scale = np.array([self._topics.scale.get(name, 1.0) for name in JOINT_NAMES])
        return merged * scale + np.array([self._topics.offset.get(name, 0.0) for name in JOINT_NAMES])

    def pictures(self, segment: Segment) -> Iterator[tuple[int, dict[str, ImageArray]]]:
        """Row of a segment and its picture per view, uint8 RGB [H, W, 3], in order; few are in memory at a time.

        A damaged picture is counted, and the one before it shown. Rows before the first good one of every view are
        left out.

        Raises:
            BagError: a camera has no good picture, or none for longer than `max_gap`; names the topic.
        """
        cameras = {
            view: RecordedPictures(
                f"{self._path}: {camera.topic}",
                dict(zip(camera.numbers.tolist(), camera.stamps.tolist(), strict=True)),
                segment.times,
                self._topics.max_gap,
                self._decode,
            )
            for view, camera in segment.cameras.items()
        }
        row = num_shown = 0
        counts = dict.fromkeys(VIEWS, 0)
        for topic, message, _ in messages(self._path, dict.fromkeys(self._views, _PICTURES)):
            view = self._views[topic]
            cameras[view].add(counts[view], message)
            counts[view] += 1
            while row < len(segment) and all(camera.is_known(row) for camera in cameras.values()):
                pictures = {name: cameras[name].take(row) for name in VIEWS}
                whole = {name: picture for name, picture in pictures.items() if picture is not None}
                if len(whole) == len(VIEWS):
                    yield row, whole
                    num_shown += 1
                row += 1
        for topic, view in self._views.items():
            self.left_out[topic] += cameras[view].num_damaged
        if not num_shown:
            worst = max(self._views, key=lambda topic: cameras[self._views[topic]].num_damaged)
            raise BagError(f"{self._path}: {worst} has no whole picture")


def _image_topics(path: Path, topics: BagTopics) -> dict[str, str]:
    """View by topic, for those that are in the recording."""
    present = topics_of(path)
    return {
        topic if topic in present else topic + _COMPRESSED: view
        for view, topic in topics.images.items()
        if topic in present or topic + _COMPRESSED in present
    }


def _longest_gap(stamps: FloatArray, grid: FloatArray) -> float:
    return float((grid - stamps[newest_at(stamps, grid)]).max())


def _positions(path: Path, topic: str, message: Any, names: JointNames) -> FloatArray:
    """Numbers of a JointState, or of an array message, shape [14]; NaN where the message says nothing of a joint.

    Args:
        path: to name it by.
        topic: the same.
        message: of the topic.
        names: ours in the order of the message, or ours by theirs; none: the message has ours.
    """
    held = getattr(message, "position", getattr(message, "data", None))
    try:
        values = np.atleast_1d(np.asarray(held if held is not None else (), dtype=np.float64))
    except (TypeError, ValueError):
        raise BagError(f"{path}: {topic} holds no numbers; sensor_msgs/msg/JointState fits, or an array") from None
    positions = np.full(JOINT_DIM, np.nan)
    if names and not isinstance(names, dict):
        called, who = list(names), "map"
    else:
        ours = names if isinstance(names, dict) else {name: name for name in JOINT_NAMES}
        called, who = [ours.get(name, "") for name in getattr(message, "name", ())], "message"
        if not any(called):
            return positions
    if len(values) != len(called):
        raise BagError(f"{path}: {topic} has {counted(len(values), 'position')}; the {who} names {len(called)}")
    for name, value in zip(called, values.tolist(), strict=True):
        if name and called.count(name) > 1:
            raise BagError(f"{path}: {topic} has {name} twice")
        if name and not abs(value) <= _LARGEST:
            raise BagError(f"{path}: {topic} has {name} at {value}; cut the recording there")
        if name:
            positions[JOINT_NAMES.index(name)] = value
    return positions


def _stamp(message: Any) -> float:
    """The stamp of a message [s]; 0 where it has none."""
    stamp = message.header.stamp if hasattr(message, "header") else None
    return 0.0 if stamp is None else float(stamp.sec) + 1e-9 * float(stamp.nanosec)
