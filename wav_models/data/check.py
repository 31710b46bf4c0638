"""Finds everything that is wrong with a dataset before training does, and says what to do about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

from wav_models.data.check_episode import Problem, check_episode, check_mapped_episode
from wav_models.data.conventions import Conventions, missing_names
from wav_models.data.dataset import CONVERT, Dataset, DatasetError, read_info, read_json, read_tasks
from wav_models.data.episode_lines import misplaced_lines, require_all_lines
from wav_models.data.header import header_faults, robot_of
from wav_models.data.label_settings import label_conflict
from wav_models.data.layout import (
    ACTION_KEY,
    DEFAULT_FEATURES,
    INFO_PATH,
    STAGING,
    STATE_KEY,
    STATS_PATH,
    SUCCESS_KEY,
    TASKS_PATH,
    VALUE_KEY,
)
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.tables import cells
from wav_models.data.video_reader import VideoError, VideoFacts, inspect_video
from wav_models.embodiment import Embodiment
from wav_models.words import counted
from wav_models.worker_pool import worker_pool

_RESTORE = "restore it from a copy"
_LOST = "lines of the episode table are lost: restore meta/episodes from a copy"

OnProgress: TypeAlias = Callable[[int, int], None]


def check_dataset(
    root: Path,
    fps: int | None = None,
    *,
    conventions: Conventions | None = None,
    decode: bool = True,
    robot: Embodiment | None = None,
    workers: int = 1,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[Problem]:
    """All problems of a dataset of this project's layout, as they are found.

    Args:
        root: dataset directory.
        fps: the rate it should have [Hz]; any when None.
        conventions: knows more when all is checked; None: the limits of the joints are not compared.
        decode: every video once, instead of only counting its packets.
        robot: whose dataset it should be; None: the known one whose it is.
        workers: processes that go through the videos.
        on_progress: called with the numbers of episodes looked at and of all.

    Raises:
        ChildProcessError: a worker died.
    """
    faults = list(_check_header(root, robot))
    yield from faults
    if faults:
        return
    try:
        dataset = Dataset(root, robot=robot)
    except DatasetError as error:
        remedy = "restore the file from a copy; `wav dataset convert` writes a copy without gaps between episodes"
        yield Problem("error", "meta/episodes", str(error), remedy)
        return
    yield from _check_rate(dataset, fps)
    if not len(dataset):
        yield _no_episodes(dataset)
        return
    yield from _check_totals(dataset)
    yield from _check_files(dataset)
    yield from _check_statistics(dataset)
    yield from _check_places(dataset)
    yield from _check_order(dataset)
    tasks = _read_tasks(dataset)
    if tasks is None:
        yield Problem("error", TASKS_PATH, "missing or unreadable", "restore it from a copy")
    conventions = conventions or Conventions(dataset.robot)
    num_labelled, first_index = 0, 0
    with _inspecting(dataset, decode, workers) as inspect:
        for info in dataset.episodes:
            labelled, problems = check_episode(dataset, info.index, first_index, tasks, conventions, inspect)
            yield from problems
            on_progress(info.index + 1, len(dataset))
            num_labelled += labelled
            first_index += info.length
    if num_labelled < len(dataset) and (num_labelled or VALUE_KEY in dataset.info["features"]):
        message = f"labels are missing in {len(dataset) - num_labelled} of {counted(len(dataset), 'episode')}"
        yield Problem("error", str(root), message, f"run `wav label {root}`")
    yield from _check_labels(dataset)
    yield from _check_marks(dataset)
    yield from _check_conventions(dataset, conventions)
    yield from _check_names(dataset)


def check_mapped(
    dataset: MappedDataset,
    fps: int | None = None,
    *,
    conventions: Conventions | None = None,
    decode: bool = True,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[Problem]:
    """All problems of another lab's dataset as its mapping makes it: of what is read of it, and of nothing else.

    Args:
        dataset: with the episodes that are to be used.
        fps, conventions, on_progress: see `check_dataset`; the limits are compared when None.
        decode: every picture once, instead of only the last ones of episodes.
    """
    conventions = conventions or Conventions(dataset.robot, limited=True)
    yield from _check_rate(dataset, fps)
    if not len(dataset):
        yield _no_episodes(dataset)
    for done, info in enumerate(dataset.episodes, start=1):
        yield from check_mapped_episode(dataset, info.index, conventions, decode=decode)
        on_progress(done, len(dataset))
    yield from _check_marks(dataset)
    yield from _check_conventions(dataset, conventions)


def _check_rate(dataset: Dataset, fps: int | None) -> Iterator[Problem]:
    if fps is not None and dataset.fps != fps:
        message = f"recorded at {dataset.fps} Hz, but {fps} Hz is needed"
        remedy = f"record at {fps} Hz, say `fps` in a mapping, or train a model of {dataset.fps} Hz"
        yield Problem("error", INFO_PATH, message, remedy)


def _no_episodes(dataset: Dataset) -> Problem:
    return Problem("error", str(dataset.root), "there are no episodes", "record some")


@contextmanager
def _inspecting(dataset: Dataset, decode: bool, workers: int) -> Iterator[Callable[[Path], VideoFacts | VideoError]]:
    """What a video file holds; several workers look ahead."""
    if workers == 1:
        yield lru_cache(maxsize=None)(partial(_inspect, decode=decode))
        return
    paths = dict.fromkeys(part.path for info in dataset.episodes for part in info.videos.values())
    with worker_pool(workers) as pool:
        jobs = {path: pool.submit(_inspect, path, decode=decode) for path in paths}
        yield lambda path: jobs[path].result()


def _inspect(path: Path, *, decode: bool) -> VideoFacts | VideoError:
    try:
        return inspect_video(path, decode=decode)
    except VideoError as error:
        return error


def _check_marks(dataset: Dataset) -> Iterator[Problem]:
    """Labelling takes an episode without a mark for a success."""
    unmarked = sum(episode.success is None for episode in dataset.episodes)
    if 0 < unmarked < len(dataset):
        message = f"neither success nor failure is marked in {unmarked} of {counted(len(dataset), 'episode')}"
        remedy = (
            f"labelled as successes; an editing tool may have dropped the marks: compare with a copy ({SUCCESS_KEY})"
        )
        yield Problem("warning", str(dataset.root), message, remedy)


def _check_conventions(dataset: Dataset, conventions: Conventions) -> Iterator[Problem]:
    for finding in conventions.findings():
        severity: Literal["error", "warning"] = "error" if finding.is_error else "warning"
        yield Problem(severity, str(dataset.root), finding.message, finding.remedy)


def _check_names(dataset: Dataset) -> Iterator[Problem]:
    columns = {STATE_KEY: dataset.robot.state_names, ACTION_KEY: dataset.robot.action_names}
    for key in missing_names(dataset.info["features"], tuple(columns)):
        names = columns[key]
        message = f"{key} does not name its joints; taken as {names[0]} .. {names[-1]}, in this order"
        yield Problem("warning", INFO_PATH, message, "name them there if that is right; reorder the columns if not")


def _check_header(root: Path, robot: Embodiment | None) -> Iterator[Problem]:
    """What keeps the dataset from being opened at all."""
    try:
        info = read_info(root)
        wanted = robot or robot_of(info)
        faults = list(header_faults(info, wanted))
        for fault in faults:
            yield Problem("error", INFO_PATH, fault, f"{CONVERT}, if it is of {wanted.name}")
        if not faults:
            Dataset(root, robot=robot)
    except DatasetError as error:
        if INFO_PATH in str(error):
            yield Problem("error", INFO_PATH, str(error), _RESTORE)


def _check_totals(dataset: Dataset) -> Iterator[Problem]:
    expected = {"total_episodes": len(dataset), "total_frames": sum(e.length for e in dataset.episodes)}
    remedy = _LOST if _has_lost_lines(dataset) else "an interrupted recording: recording more repairs it"
    for name, number in expected.items():
        if dataset.info.get(name) != number:
            message = f"{name} is {dataset.info.get(name)!r}, the episode table has {number}"
            yield Problem("error", INFO_PATH, message, remedy)


def _has_lost_lines(dataset: Dataset) -> bool:
    try:
        require_all_lines(dataset.root, dataset.info, len(dataset))
    except DatasetError:
        return True
    return False


def _check_files(dataset: Dataset) -> Iterator[Problem]:
    """Files no episode refers to; LeRobot's loader would read them all the same."""
    remedy = _LOST if _has_lost_lines(dataset) else "delete it, or move it out of the dataset"
    known = {info.data_file for info in dataset.episodes}
    known |= {part.path for info in dataset.episodes for part in info.videos.values()}
    for pattern in ("data/*/*.parquet", "videos/*/*/*.mp4"):
        for path in sorted(dataset.root.glob(pattern)):
            if path not in known:
                where = str(path.relative_to(dataset.root))
                yield Problem("error", where, "belongs to no episode", remedy)
    for path in sorted(path for path in (dataset.root / STAGING).glob("*") if path.is_dir()):
        message = "an episode that was never finished, or is being recorded now"
        yield Problem("warning", f"{STAGING}/{path.name}", message, "nothing to do: the next recording removes it")


def _check_statistics(dataset: Dataset) -> Iterator[Problem]:
    """LeRobot normalises with meta/stats.json; its editing tools leave out of it what they added."""
    normalised = (STATE_KEY, ACTION_KEY, *dataset.cameras.values())
    remedies = dict.fromkeys((*normalised, *DEFAULT_FEATURES), "recording more writes it anew")
    remedies[VALUE_KEY] = f"run `wav label {dataset.root}`"
    try:
        stats = read_json(dataset.root / STATS_PATH, dict)
    except DatasetError as error:
        yield Problem("error", STATS_PATH, f"missing or unreadable: {error}", remedies[STATE_KEY])
        return
    for name in dataset.info["features"]:
        remedy = remedies.get(name, "nothing here needs it; `lerobot-edit-dataset` 0.6 recomputes statistics")
        if name not in stats:
            severity: Literal["error", "warning"] = "error" if name in normalised else "warning"
            yield Problem(severity, STATS_PATH, f"nothing about {name!r}", remedy)
        elif not all(map(math.isfinite, _numbers(stats[name]))):
            yield Problem("error", STATS_PATH, f"{name!r} has statistics that are not finite", remedy)


def _check_places(dataset: Dataset) -> Iterator[Problem]:
    """Where the lines of the episode table say that they are; only LeRobot's tools look there."""
    for path in misplaced_lines(dataset.root):
        message = "has lines that say they are in other files, where LeRobot's tools will look for them"
        remedy = f"LeRobot's merge leaves them so; `wav label {dataset.root}`, or recording more, puts it right"
        yield Problem("warning", str(path.relative_to(dataset.root)), message, remedy)


def _check_order(dataset: Dataset) -> Iterator[Problem]:
    """Rows of all data files, one file after the other; of one that cannot be read its episodes tell."""
    first = 0
    for path in sorted(dataset.root.glob("data/*/*.parquet")):
        numbers = cells(path, "index")
        if numbers is None:
            return
        if numbers != list(range(first, first + len(numbers))):
            message = f"its rows are not frames {first} to {first + len(numbers) - 1} of the dataset, in this order"
            remedy = "LeRobot takes frames by their place; `wav dataset convert` writes a copy in order"
            yield Problem("error", str(path.relative_to(dataset.root)), message, remedy)
            return
        first += len(numbers)


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _numbers(item)
    else:
        yield float(value) if isinstance(value, (int, float)) else math.nan


def _check_labels(dataset: Dataset) -> Iterator[Problem]:
    """Values of one kind; unreadable files are reported with their episodes."""
    try:
        conflict = label_conflict([dataset])
    except DatasetError:
        return
    if conflict is not None:
        yield Problem("error", str(dataset.root), conflict, f"`wav label {dataset.root}` was interrupted: run it again")


def _read_tasks(dataset: Dataset) -> dict[int, str] | None:
    try:
        return dict(enumerate(read_tasks(dataset.root / TASKS_PATH)))
    except DatasetError:
        return None
