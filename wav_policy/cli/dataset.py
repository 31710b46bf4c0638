"""`wav dataset check`: what is wrong with a dataset; `wav dataset convert`: a rosbag2 recording as its next episode."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from wav_models.embodiment import Embodiment


@dataclass(frozen=True)
class DatasetArguments:
    """Inspect a recorded dataset; exits with 1 when there are errors."""

    command: Annotated[Literal["check"], tyro.conf.Positional]
    """What to do."""
    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset to inspect."""
    fps: int | None = None
    """Rate it should have [Hz]."""
    fast: bool = False
    """Count the frames of the videos without decoding them."""


@dataclass(frozen=True)
class ConvertArguments:
    """Append a rosbag2 recording (MCAP or sqlite3) of any stack to a dataset, as one episode."""

    command: Annotated[Literal["convert"], tyro.conf.Positional]
    """What to do."""
    bag: Annotated[Path, tyro.conf.Positional]
    """rosbag2 directory, or .mcap or .db3 file."""
    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset, new or existing."""
    topics: Path | None = None
    """YAML file with the topics (config/bag_map.yaml); this project's own where not given."""
    fps: int = 10
    """Rate of the dataset [Hz]."""
    instruction: str = ""
    """Command in words, where the recording has none."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset`."""
    if argv[:1] == ["convert"]:
        return _convert(tyro.cli(ConvertArguments, prog="wav dataset", args=argv))
    arguments = tyro.cli(DatasetArguments, prog="wav dataset", args=argv)
    from wav_models.data.check import check_dataset
    from wav_models.data.conventions import JointLimits

    limits = JointLimits.of(_robot(arguments.directory))
    counts = {"error": 0, "warning": 0}
    for problem in check_dataset(arguments.directory, arguments.fps, limits=limits, decode=not arguments.fast):
        counts[problem.severity] += 1
        print(problem, file=sys.stderr)
    if not counts["error"]:
        print(_describe(arguments.directory))
    print(f"{counts['error']} errors, {counts['warning']} warnings")
    return 1 if counts["error"] else 0


def _convert(arguments: ConvertArguments) -> int:
    """Exit code 2 where recording, topics or dataset do not fit."""
    from wav_models.configuration import load
    from wav_policy.nodes.messages.images import rgb_from_any
    from wav_policy.recording.bag_conversion import convert
    from wav_policy.recording.bag_topics import BagTopics

    try:
        topics = BagTopics() if arguments.topics is None else load(BagTopics, arguments.topics)
        length = convert(arguments.bag, arguments.directory, topics, arguments.fps, arguments.instruction, rgb_from_any)
    except (ValueError, OSError) as error:
        print(f"wav dataset: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.bag}: {length} frames at {arguments.fps} Hz appended to {arguments.directory}")
    return 0


def _robot(directory: Path) -> Embodiment:
    """Whose dataset it is; this package's robot where that cannot be told, and the check says why."""
    from wav_models.data.dataset import Dataset, DatasetError
    from wav_policy.robot.joints import ROBOT

    try:
        return Dataset(directory).robot
    except DatasetError:
        return ROBOT


def _describe(directory: Path) -> str:
    from wav_models.data.dataset import Dataset

    dataset = Dataset(directory)
    num_frames = sum(episode.length for episode in dataset.episodes)
    failed = sum(episode.success is False for episode in dataset.episodes)
    instructions = {episode.instruction for episode in dataset.episodes}
    labelled = "labelled" if "state_value" in dataset.info["features"] else "not labelled"
    return (
        f"{directory}: {len(dataset)} episodes ({failed} failed), {num_frames} frames at {dataset.fps} Hz "
        f"({num_frames / dataset.fps / 60:.1f} min), {len(instructions)} instructions, {labelled}"
    )
