"""What can be wrong with one episode of a dataset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from wav_models.data.camera_faults import FROZEN_SECONDS, SLOW_SHARE, frozen, repeated
from wav_models.data.conventions import Conventions
from wav_models.data.dataset import Dataset, DatasetError, Episode, VideoPart
from wav_models.data.layout import EFFORT_KEY, RATE_TOLERANCE, VALUE_KEY
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.tables import read_column
from wav_models.data.video_reader import VideoError, VideoFacts, changes
from wav_models.embodiment import Channel, Embodiment
from wav_models.presets import PRESETS
from wav_models.types import FloatArray
from wav_models.words import counted

PLAUSIBLE_ANGLE: Final = 2 * np.pi
"""No joint turns farther [rad]; larger numbers are degrees."""

PLAUSIBLE_EFFORT: Final = 100.0
"""No joint has this torque [N m]; larger numbers are N mm."""

MAX_AGE: Final = 1.0
"""A capture this much older than its frame misleads [s]."""

_RESTORE: Final = "restore it from a copy"
_RERECORD: Final = "restore it from a copy, or leave the episode out: `wav dataset convert --episodes`"


@dataclass(frozen=True)
class Problem:
    """One finding.

    Attributes:
        severity: "error" where training or LeRobot would fail or be misled, "warning" otherwise.
        where: file, and episode.
        message: what is wrong.
        remedy: what to do.
    """

    severity: Literal["error", "warning"]
    where: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.where}: {self.message} [{self.remedy}]"


def check_episode(
    dataset: Dataset,
    index: int,
    first_index: int,
    tasks: dict[int, str] | None,
    conventions: Conventions,
    inspect: Callable[[Path], VideoFacts | VideoError],
) -> tuple[bool, list[Problem]]:
    """Everything about one episode.

    Args:
        dataset: has the episode.
        index: of the episode.
        first_index: number of its first frame in the dataset.
        tasks: instructions by number; None where they cannot be read.
        conventions: takes the episode into account.
        inspect: what a video file holds; each is asked for every episode in it.

    Returns:
        Whether it is labelled, and its problems.
    """
    info = dataset.episodes[index]
    where = f"episode {index} ({info.data_file.relative_to(dataset.root)})"
    problems: list[Problem] = []
    labelled, states = False, None
    if not info.length:
        return False, [Problem("error", where, "the episode has no frames", _RERECORD)]
    own = (first_index, first_index + info.length)
    if repr(info.frames) != repr(own):  # 40.0 and "40" are no numbers of frames
        told, frames = ("{} to before {}".format(*each) for each in (info.frames, own))
        message = f"the episode table says that it has the frames {told} of the dataset; it has {frames}"
        remedy = "LeRobot takes these; restore the table from a copy, or `wav dataset convert` writes one in order"
        problems.append(Problem("error", where, message, remedy))
    try:
        episode = dataset.read_episode(index)
    except DatasetError as error:
        problems.append(Problem("error", where, str(error), _RERECORD))
    else:
        labelled, states = episode.values is not None, episode.states
        problems += _check_rows(dataset, episode, where, first_index, tasks)
        problems += _check_times(dataset.robot, episode, where)
        problems += _check_units(dataset.robot, episode, where)
        if EFFORT_KEY in dataset.info["features"]:
            problems += _check_efforts(dataset, index, where)
        conventions.add(episode)
    problems += _check_videos(dataset, index, inspect, states)
    problems += _check_instruction(dataset.robot, info.instruction, where)
    noted = info.extra.get("notes")
    notes = noted if isinstance(noted, list) else []
    problems += [Problem("warning", where, f"the recorder noted: {note}", "judge whether to keep it") for note in notes]
    return labelled, problems


def check_mapped_episode(
    dataset: MappedDataset, index: int, conventions: Conventions, *, decode: bool
) -> Iterator[Problem]:
    """Everything about one episode as its mapping makes it.

    Args:
        index: of the episode.
        conventions: takes the episode into account.
        decode: every picture once, instead of only the last one.
    """
    info = dataset.entry(index)
    where = f"episode {index} ({info.data_file.relative_to(dataset.root)})"
    yield from _check_instruction(dataset.robot, info.instruction, where)
    try:
        episode = dataset.read_episode(index)
    except DatasetError as error:
        yield Problem("error", where, str(error), _RESTORE)
        return
    yield from _check_units(dataset.robot, episode, where)
    conventions.add(episode)
    for view, key in dataset.cameras.items():
        try:
            dataset.require_pictures(index, view)
            if decode:
                seen = changes(episode.pictures(view))
                yield from _check_camera(dataset, view, seen, episode.states, f"{where}, {key}")
        except (VideoError, DatasetError) as error:
            yield Problem("error", f"{where}, {key}", str(error), f"{_RESTORE}; {dataset.do_without(index, error)}")


def _check_instruction(robot: Embodiment, instruction: str, where: str) -> Iterator[Problem]:
    if not instruction.strip():
        remedy = "`wav dataset convert --set instruction=...` writes a copy that has one"
        yield Problem("error", where, "the instruction is empty", remedy)
    tokens = 2 + len(re.findall(r"\w+|[^\w\s]", instruction))  # each at least one, and two that end a sentence
    for preset in PRESETS.values():
        if preset.text.max_tokens >= tokens or preset.embodiment.robot_type != robot.robot_type:
            continue
        message = f"the instruction has at least {tokens} tokens; {preset.name} takes {preset.text.max_tokens}"
        yield Problem("warning", where, message, "shorten it, or train another preset")


def _check_rows(
    dataset: Dataset, episode: Episode, where: str, first_index: int, tasks: dict[int, str] | None
) -> Iterator[Problem]:
    """Bookkeeping columns, which LeRobot looks frames up by."""
    table = dataset.read_rows(episode.info.index, len(episode))
    expected = {
        "frame_index": np.arange(len(episode)),
        "index": first_index + np.arange(len(episode)),
        "timestamp": (np.arange(len(episode)) / episode.fps).astype(np.float32),
    }
    videos = {k for k, f in dataset.info["features"].items() if isinstance(f, dict) and f.get("dtype") == "video"}
    described = set(dataset.info["features"]) - videos
    for name in sorted((described | set(expected)) - set(table.column_names) - {VALUE_KEY}):  # labelling comes later
        yield Problem("error", where, f"column {name!r} is missing", _RERECORD)
    for name in sorted(set(table.column_names) - described):
        yield Problem("error", where, f"column {name!r} is not in meta/info.json", "describe it there, or remove it")
    numbers: dict[str, FloatArray] = {}
    for name in sorted({*expected, "task_index"} & set(table.column_names)):
        try:
            numbers[name] = read_column(table, name, None, where)
        except DatasetError as error:
            yield Problem("error", where, str(error), _RERECORD)
    for name, column in expected.items():
        if name in numbers and not np.allclose(numbers[name], column, rtol=0, atol=1e-4):
            message = f"column {name!r} does not count up from {column[0]} as it should"
            yield Problem("error", where, message, "an episode was moved or removed by hand; restore it")
    if tasks is not None and "task_index" in numbers:
        named = {tasks.get(int(number)) for number in np.unique(numbers["task_index"])}
        if named != {episode.instruction}:
            message = f"task_index means {named}, the episode table says {episode.instruction!r}"
            yield Problem("error", where, message, "restore meta/tasks.parquet from a copy")


def _check_times(robot: Embodiment, episode: Episode, where: str) -> Iterator[Problem]:
    """Order, rate, and age of what each frame holds."""
    steps = np.diff(episode.capture_times)
    rate = episode.info.achieved_fps if episode.source_times is not None else None
    if rate is None and len(steps):
        rate = 1.0 / float(steps.mean()) if steps.mean() else 0.0
    if (steps <= 0).any():
        message = f"capture time does not increase at frame {int(np.argmin(steps > 0)) + 1}"
        yield Problem("error", where, message, "the clock was set back while recording: leave the episode out")
    elif rate is not None and rate < RATE_TOLERANCE * episode.fps:
        message = f"recorded at {rate:.2f} Hz; the dataset says {episode.fps} Hz"
        yield Problem("warning", where, message, "motion looks faster than it was: leave it out, or record slower")
    if episode.source_times is not None:
        ages = episode.capture_times[:, None] - episode.source_times
        for source in np.flatnonzero((np.abs(ages) > MAX_AGE).any(axis=0)):
            worst = float(np.abs(ages[:, source]).max())
            message = f"{robot.sources[source]} is up to {worst:.2f} s away from its frame"
            yield Problem("error", where, message, "the clocks of robot and camera differ: synchronise them")


def _plausible(channel: Channel) -> float:
    """Largest size of a number in its unit; of lengths twice the limit: larger numbers are millimetres."""
    return PLAUSIBLE_ANGLE if channel.unit == "rad" else 2 * max(-channel.lower, channel.upper)


def _check_units(robot: Embodiment, episode: Episode, where: str) -> Iterator[Problem]:
    for name, rows, channels in (("state", episode.states, robot.state), ("action", episode.actions, robot.actions)):
        limits = np.array([_plausible(channel) for channel in channels])
        for column in np.flatnonzero((np.abs(rows) > limits).any(axis=0)):
            channel, largest = channels[column], np.abs(rows[:, column]).max()
            message = f"{name} {channel.name} reaches {largest:.3g}: not in {channel.unit}?"
            yield Problem("error", where, message, "convert degrees to radians, millimetres to metres")
    if len(episode) > 1 and not np.ptp(episode.actions, axis=0).any():
        yield Problem("warning", where, "no action changes in the whole episode", "leave it out")


def _check_efforts(dataset: Dataset, index: int, where: str) -> Iterator[Problem]:
    """Of a dataset that has them."""
    try:
        efforts = dataset.read_episode(index, values=False, efforts=True).efforts
    except DatasetError as error:
        yield Problem(
            "warning", where, str(error), f"nothing here is trained on {EFFORT_KEY}; LeRobot may be: remove it"
        )
        return
    if efforts is None:
        return
    for joint in np.flatnonzero((np.abs(efforts) > PLAUSIBLE_EFFORT).any(axis=0)):
        name, largest = dataset.robot.state_names[joint], np.abs(efforts[:, joint]).max()
        message = f"{EFFORT_KEY} {name} reaches {largest:.3g}: not in N m?"
        yield Problem("warning", where, message, "convert N mm to N m")
    if not efforts.any():
        yield Problem(
            "warning", where, f"{EFFORT_KEY} is zero throughout", "they were never measured: remove the column"
        )


def _check_videos(
    dataset: Dataset, index: int, inspect: Callable[[Path], VideoFacts | VideoError], states: FloatArray | None
) -> Iterator[Problem]:
    info = dataset.episodes[index]
    for view, key in dataset.robot.view_keys.items():
        part = info.videos[view]
        assert isinstance(part, VideoPart)  # of our own layout
        path, start, end = part
        where = f"episode {index} ({path.relative_to(dataset.root)})"
        if not path.is_file():
            yield Problem("error", where, f"the video {key} is missing", _RERECORD)
            continue
        video = inspect(path)
        if isinstance(video, VideoError):
            yield Problem("error", where, str(video), _RERECORD)
            continue
        first = round(start * dataset.fps)
        needed = first + info.length
        if video.num_frames < needed:
            yield Problem(
                "error", where, f"{view} video has {counted(video.num_frames, 'frame')}, {needed} are needed", _RERECORD
            )
        elif (needed - 0.5) / dataset.fps > end:
            message = f"{view} video: the episode's part ends at {end:.3f} s, {needed / dataset.fps:.3f} s are needed"
            yield Problem("error", where, message, _RERECORD)
        if video.size != dataset.image_sizes[view]:
            message = f"{view} video is {video.size[0]}x{video.size[1]}, the dataset says {dataset.image_sizes[view]}"
            yield Problem("error", where, message, "resize the video: all episodes need one resolution")
        if abs(video.rate - dataset.fps) > 0.01:
            message = f"{view} video runs at {video.rate:.2f} Hz, the dataset at {dataset.fps} Hz"
            yield Problem("error", where, message, "encode it at the rate of the dataset")
        if video.changes is not None and states is not None and video.num_frames >= needed:
            yield from _check_camera(dataset, view, video.changes[first:needed], states, where)


def _check_camera(
    dataset: Dataset, view: str, changes: NDArray[np.float32], states: FloatArray, where: str
) -> Iterator[Problem]:
    fps, frames = dataset.fps, repeated(changes, states, dataset.robot, view)
    if frames is None:
        return
    first, length, moving = frozen(changes, frames)
    if moving > max(1, FROZEN_SECONDS * fps):
        message = f"the {view} camera shows one picture for {length / fps:.1f} s from frame {first} on, the arm moves"
        yield Problem("error", where, message, "it was frozen: leave the episode out")
    elif (share := frames.sum() / len(frames)) > SLOW_SHARE:
        message = f"{share:.0%} of the pictures of the {view} camera are those of the frame before, the arm moves"
        yield Problem("warning", where, message, f"the camera is slower than {fps} Hz: record at its rate, or convert")
