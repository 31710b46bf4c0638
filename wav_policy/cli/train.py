"""`wav train`: the auto-encoder, the cached latents, the three stages, and the checkpoint."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

TRAINED = ("autoencoder", "video", "value", "action")


@dataclass(frozen=True)
class TrainArguments:
    """Train one stage. The order is autoencoder, latents, video, value, action, checkpoint."""

    stage: Annotated[Literal["autoencoder", "latents", "video", "value", "action", "checkpoint"], tyro.conf.Positional]
    """What to do: train a part, encode the dataset ("latents"), or write the result ("checkpoint")."""
    data: Path
    """Dataset directory (LeRobot v3.0, labelled by `wav label`)."""
    out: Path
    """Run directory."""
    config: Path = Path("config/train_tiny.yaml")
    """Configuration of the run."""
    minutes: float | None = None
    """Train for this long; the learning rate falls to its end by then. Earlier, resumed time counts."""
    steps: int | None = None
    """Train for this many optimiser steps; resumes to the last digit."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue from the stage's saved state, if there is one."""
    workers: int | None = None
    """Processes with averaged gradients; overrides the configuration."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write scalars to RUN/tensorboard."""
    checkpoint: Path | None = None
    """Where "checkpoint" writes; RUN/checkpoint when not given."""


def main(argv: list[str]) -> int:
    """Entry point of `wav train`."""
    arguments = tyro.cli(TrainArguments, prog="wav train", args=argv)
    if arguments.stage in TRAINED and (arguments.minutes is None) == (arguments.steps is None):
        print(f"wav train {arguments.stage}: give either --minutes X or --steps N", file=sys.stderr)
        return 2
    from wav_models.checkpoint import CheckpointError
    from wav_models.training.state import StateError

    try:
        _train(arguments, "wav train " + shlex.join(argv))
    except (ValueError, OSError, FloatingPointError, StateError, CheckpointError) as error:
        print(f"wav train {arguments.stage}: {error}", file=sys.stderr)
        return 1
    return 0


def _train(arguments: TrainArguments, command: str) -> None:
    from wav_models.training import run as steps
    from wav_models.training.config import load_config
    from wav_models.training.loop import Plan

    config = load_config(arguments.config)
    if arguments.workers is not None:
        config = replace(config, workers=arguments.workers)
    run = steps.Run(arguments.out, arguments.data, config, command, arguments.tensorboard)
    if arguments.stage == "latents":
        steps.encode_latents(run)
        return
    if arguments.stage == "checkpoint":
        directory = arguments.checkpoint or arguments.out / "checkpoint"
        steps.assemble_checkpoint(run, directory)
        print(f"checkpoint: {directory}")
        return
    seconds = None if arguments.minutes is None else 60.0 * arguments.minutes
    plan = Plan(arguments.steps, seconds)
    if arguments.stage == "autoencoder":
        steps.train_autoencoder(run, plan, resume=arguments.resume)
    else:
        steps.train_stage(run, arguments.stage, plan, resume=arguments.resume)
