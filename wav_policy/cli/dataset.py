"""`wav dataset check`: what is wrong with a dataset."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


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


def main(argv: list[str]) -> int:
    """Entry point of `wav dataset`."""
    arguments = tyro.cli(DatasetArguments, prog="wav dataset", args=argv)
    import numpy as np

    from wav_models.data.check import check_dataset
    from wav_models.data.conventions import JointLimits
    from wav_policy.robot.joints import both_arms
    from wav_policy.robot.kinematics import JOINT_LIMITS, LARGEST_STROKE

    lower, upper = np.append(JOINT_LIMITS[:, 0], 0.0), np.append(JOINT_LIMITS[:, 1], LARGEST_STROKE)
    limits = JointLimits(both_arms(lower), both_arms(upper))
    counts = {"error": 0, "warning": 0}
    for problem in check_dataset(arguments.directory, arguments.fps, limits=limits, decode=not arguments.fast):
        counts[problem.severity] += 1
        print(problem, file=sys.stderr)
    if not counts["error"]:
        print(_describe(arguments.directory))
    print(f"{counts['error']} errors, {counts['warning']} warnings")
    return 1 if counts["error"] else 0


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
