"""`wav dataset check`: what is wrong with a dataset."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne
from wav_models.endings import FAILED, OK
from wav_policy.cli.json_output import say_result

if TYPE_CHECKING:
    from wav_models.data.conventions import Conventions
    from wav_models.embodiment import Embodiment


@dataclass(frozen=True)
class CheckArguments:
    """Inspect a recorded dataset; exit code 0 without errors, 1 with errors."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset to inspect."""
    fps: AtLeastOne | None = None
    """Rate it should have [Hz]."""
    fast: Flag = False
    """Count the frames of the videos without decoding them: damage and cameras that freeze are not found then."""
    json: Path | None = None
    """Where to write errors, warnings, problems and facts for scripts; nothing: to standard output."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset check`."""
    arguments = parsed(CheckArguments, "wav dataset check", argv)
    from wav_models.data.check import check_dataset
    from wav_models.data.conventions import Conventions, JointLimits

    if not arguments.directory.is_dir():
        raise FileNotFoundError(f"{arguments.directory} is no directory")
    robot = _robot(arguments.directory)
    conventions = Conventions(robot, JointLimits.of(robot))
    problems = []
    for problem in check_dataset(
        arguments.directory, arguments.fps, conventions=conventions, decode=not arguments.fast
    ):
        problems.append(problem)
        print(problem, file=sys.stderr)
    counts = Counter(problem.severity for problem in problems)
    facts = {} if counts["error"] else dict(describe(arguments.directory, conventions))
    summary = ", ".join(f"{name} {value}" for name, value in facts.items())
    say_result(
        {
            "errors": counts["error"],
            "warnings": counts["warning"],
            "problems": [asdict(problem) for problem in problems],
            "facts": facts,
        },
        (f"{arguments.directory}: {summary}\n" if facts else "")
        + f"{counts['error']} errors, {counts['warning']} warnings",
        arguments.json,
    )
    return FAILED if counts["error"] else OK


def _robot(directory: Path) -> Embodiment:
    """Whose dataset it is; this package's robot where that cannot be told, and the check says why."""
    from wav_models.data.dataset import Dataset, DatasetError
    from wav_policy.robot.joints import ROBOT

    try:
        return Dataset(directory).robot
    except DatasetError:
        return ROBOT


def describe(directory: Path, conventions: Conventions) -> Iterator[tuple[str, object]]:
    """What a sound dataset holds, by name."""
    from wav_models.data.dataset import Dataset
    from wav_models.data.layout import VALUE_KEY

    dataset = Dataset(directory)
    num_frames = sum(episode.length for episode in dataset.episodes)
    yield "episodes", len(dataset)
    yield "failed", sum(episode.success is False for episode in dataset.episodes)
    yield "frames", num_frames
    yield "Hz", dataset.fps
    yield "minutes", round(num_frames / dataset.fps / 60, 1)
    yield "instructions", len({episode.instruction for episode in dataset.episodes})
    yield "labelled", VALUE_KEY in dataset.info["features"]
    yield "frames by which the state follows the action", conventions.lag
    yield "share of frames that ask for no motion", round(conventions.rest_share or 0.0, 3)
