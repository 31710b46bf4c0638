"""`wav dataset show`: one picture of an episode, to be looked at before anything is trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wav_models.command_line import parsed
from wav_models.configuration import Count
from wav_policy.cli.options import mapped_robot


@dataclass(frozen=True)
class DatasetShowArguments:
    """Draw an episode: pictures of every camera, joints and grippers with the robot's limits, rewards if labelled."""

    directory: Annotated[Path, tyro.conf.Positional]
    """Dataset directory."""
    episode: Count = 0
    """Which episode."""
    out: Path | None = None
    """PNG file; DIRECTORY-EPISODE.png in this folder when not given."""
    mapping: Path | None = None
    """YAML file with the mapping of a dataset of another lab."""
    robot: str | None = None
    """With --mapping: whose state and commands it leads to: libero_panda or aloha; the Pipers' when not given."""


def main(argv: list[str]) -> None:
    """Entry point of `wav dataset show`."""
    arguments = parsed(DatasetShowArguments, "wav dataset show", argv)
    from wav_models.data.dataset import Dataset
    from wav_models.data.mapped_dataset import through_mapping
    from wav_policy.recording.episode_figure import draw_episode

    out = arguments.out or Path(f"{arguments.directory.resolve().name}-{arguments.episode}.png")
    robot = mapped_robot(arguments.robot, arguments.mapping)
    if arguments.mapping is None:
        dataset = Dataset(arguments.directory)
    else:
        dataset = through_mapping(arguments.directory, arguments.mapping, robot)
    if not any(arguments.episode == episode.index for episode in dataset.episodes):
        last = max((episode.index for episode in dataset.episodes), default=-1)
        raise ValueError(f"{arguments.directory}: there is no episode {arguments.episode}; the last one is {last}")
    draw_episode(dataset.read_episode(arguments.episode), dataset.robot, out)
    print(out)
