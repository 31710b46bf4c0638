"""`wav dataset check`: what is wrong with a dataset, of this project's layout or through a mapping."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from wav_models.command_line import Flag, parsed
from wav_models.configuration import AtLeastOne
from wav_models.endings import FAILED, OK
from wav_models.progress import progress
from wav_models.words import counted
from wav_policy.cli.json_output import say_result
from wav_policy.cli.options import mapped_robot

if TYPE_CHECKING:
    from wav_models.data.conventions import Conventions
    from wav_models.data.dataset import Dataset


@dataclass(frozen=True)
class CheckArguments:
    """Inspect a recorded dataset; exit code 0 without errors, 1 with errors."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset to inspect."""
    fps: AtLeastOne | None = None
    """Rate it should have [Hz]."""
    fast: Flag = False
    """Count the frames of the videos without decoding them: damage and cameras that freeze are not found then."""
    workers: AtLeastOne = 2
    """Processes that go through the videos; through a mapping there is one."""
    mapping: Path | None = None
    """YAML file with the mapping of a dataset of another lab, which is checked as `wav train` would read it."""
    robot: str | None = None
    """With --mapping: whose state and commands it leads to: libero_panda or aloha; the Pipers' when not given."""
    episodes: str | None = None
    """Through a mapping: which of its episodes, such as "index != 3"; all when not given."""
    json: Path | None = None
    """Where to write errors, warnings, problems and facts for scripts; `--json` alone: to standard output."""


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset check`."""
    arguments = parsed(CheckArguments, "wav dataset check", argv)
    from wav_models.data.check import check_dataset, check_mapped
    from wav_models.data.conventions import Conventions
    from wav_models.data.episode_filter import EpisodeFilter
    from wav_models.data.layout import INFO_PATH
    from wav_models.data.mapped_dataset import through_mapping

    directory, fps, decode = arguments.directory, arguments.fps, not arguments.fast
    if not directory.is_dir():
        raise FileNotFoundError(f"{directory} is no directory")
    target = mapped_robot(arguments.robot, arguments.mapping)
    if arguments.mapping is None:
        if arguments.episodes is not None:
            raise ValueError("--episodes goes with --mapping; a dataset of this project's layout is checked whole")
        if not (directory / INFO_PATH).exists():
            raise FileNotFoundError(f"{directory} is no LeRobot dataset: it has no {INFO_PATH}")
        dataset = _opened(directory)
        robot = target if dataset is None else dataset.robot
        conventions = Conventions(robot, limited=True)
        check = partial(check_dataset, directory, workers=arguments.workers)
    else:
        episodes = None if arguments.episodes is None else EpisodeFilter(arguments.episodes)
        dataset = mapped = through_mapping(directory, arguments.mapping, target, episodes)
        conventions = Conventions(target, limited=True)
        check = partial(check_mapped, mapped)
    problems = []
    with progress("checking") as tell:
        for problem in check(fps=fps, conventions=conventions, decode=decode, on_progress=tell):
            problems.append(problem)
            print(problem, file=sys.stderr)
    counts = Counter(problem.severity for problem in problems)
    facts = {} if counts["error"] or dataset is None else dict(describe(dataset, conventions))
    summary = ", ".join(f"{name} {value}" for name, value in facts.items())
    say_result(
        {
            "errors": counts["error"],
            "warnings": counts["warning"],
            "problems": [asdict(problem) for problem in problems],
            "facts": facts,
        },
        (f"{arguments.directory}: {summary}\n" if facts else "")
        + f"{counted(counts['error'], 'error')}, {counted(counts['warning'], 'warning')}",
        arguments.json,
    )
    return FAILED if counts["error"] else OK


def _opened(directory: Path) -> Dataset | None:
    """None where it cannot be opened; the check says why."""
    from wav_models.data.dataset import Dataset, DatasetError

    try:
        return Dataset(directory)
    except DatasetError:
        return None


def describe(dataset: Dataset, conventions: Conventions) -> Iterator[tuple[str, object]]:
    """What a sound dataset holds, by name."""
    from wav_models.data.layout import VALUE_KEY

    num_frames = sum(episode.length for episode in dataset.episodes)
    yield "episodes", len(dataset)
    yield "failed", sum(episode.success is False for episode in dataset.episodes)
    yield "frames", num_frames
    yield "Hz", dataset.fps
    yield "minutes", round(num_frames / dataset.fps / 60, 1)
    yield "instructions", len({episode.instruction for episode in dataset.episodes})
    yield "labelled", VALUE_KEY in dataset.info["features"]
    yield "frames by which the state follows the action", conventions.lag
    rest_share = conventions.rest_share
    yield "share of frames that ask for no motion", None if rest_share is None else round(rest_share, 3)
