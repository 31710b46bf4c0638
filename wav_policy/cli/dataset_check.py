"""`wav dataset check`: what is wrong with a dataset."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from wav_models.data.conventions import Conventions
    from wav_models.embodiment import Embodiment


@dataclass(frozen=True)
class CheckArguments:
    """Inspect a recorded dataset; exit code 0 without errors, 1 with errors, 2 for a wrong call."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset to inspect."""
    fps: int | None = None
    """Rate it should have [Hz]."""
    fast: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Count the frames of the videos without decoding them: damage and cameras that freeze are not found then."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object for scripts: errors, warnings, problems and facts."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset check`."""
    arguments = tyro.cli(CheckArguments, prog="wav dataset check", args=argv)
    from wav_models.data.check import check_dataset
    from wav_models.data.conventions import Conventions, JointLimits

    robot = _robot(arguments.directory)
    conventions = Conventions(robot, JointLimits.of(robot))
    problems = []
    for problem in check_dataset(
        arguments.directory, arguments.fps, conventions=conventions, decode=not arguments.fast
    ):
        problems.append(problem)
        if not arguments.json:
            print(problem, file=sys.stderr)
    counts = Counter(problem.severity for problem in problems)
    facts = {} if counts["error"] else dict(describe(arguments.directory, conventions))
    if arguments.json:
        found = {"problems": [asdict(problem) for problem in problems], "facts": facts}
        print(json.dumps({"errors": counts["error"], "warnings": counts["warning"], **found}))
    else:
        if facts:
            print(f"{arguments.directory}: " + ", ".join(f"{name} {value}" for name, value in facts.items()))
        print(f"{counts['error']} errors, {counts['warning']} warnings")
    return 1 if counts["error"] else 0


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
