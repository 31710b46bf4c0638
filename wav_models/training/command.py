"""The commands `wav train STAGE` and `accelerate launch -m wav_models.training STAGE`.

The second runs one of the three stages over the processes that accelerate started; everything else is the first's.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from wav_models.training.config import STAGES, load_config

if TYPE_CHECKING:
    from wav_models.training.loop import Budget

LAUNCH = "accelerate launch -m wav_models.training"
ON_ONE_GPU = "accelerate launch --num_processes 1 -m wav_models.training"
TRAINED = ("autoencoder", *STAGES)
INTERRUPTED = 130
"""Exit code after a signal: everything is saved, and the next command of a script must not begin."""


@dataclass(frozen=True)
class TrainArguments:
    """Train one stage. The order is autoencoder, latents, video, value, action, checkpoint."""

    stage: Annotated[Literal["autoencoder", "latents", "video", "value", "action", "checkpoint"], tyro.conf.Positional]
    """What to do: train a part, encode the dataset ("latents"), or write the result ("checkpoint")."""
    data: tuple[Path, ...]
    """Dataset directories (LeRobot v3.0, labelled by `wav label`), trained on as one; always in the same order."""
    out: Path
    """Run directory."""
    config: Path = Path("config/train_tiny.yaml")
    """Configuration of the run."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Any key of the configuration, such as video.loop.learning_rate=3e-4; may be given several times."""
    minutes: float | None = None
    """Train for this long; the learning rate falls to its end by then. Earlier, resumed time counts."""
    steps: int | None = None
    """Train for this many optimiser steps; resumes to the last digit."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue from the stage's saved state, if there is one."""
    pretrained: Path | None = None
    """Local LTX-Video directory (vae, tokenizer, text_encoder), for presets that use them."""
    weights: Path | None = None
    """Published weights (safetensors of LTX-Video's transformer, Genie Envisioner or WAV): what they hold starts from
    them instead of from random ones (not when resuming, nor what an earlier stage of this run has trained)."""
    start: Path | None = None
    """A checkpoint, or another run: start from its weights instead of from random ones (not when resuming). Give a
    checkpoint to every step of the run, "latents" and "checkpoint" too: its auto-encoder and normalisation are used."""
    workers: int | None = None
    """Processes with averaged gradients; overrides the configuration."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write scalars to RUN/tensorboard."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """Under `accelerate launch`: a copy of the model on every device, or a share of it."""
    best: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """"checkpoint" takes the last stage's weights of the best held-out error instead of the last ones."""
    checkpoint: Path | None = None
    """Where "checkpoint" writes; RUN/checkpoint when not given."""


def main(argv: list[str], *, launched: bool = False) -> int:
    """Entry point of both commands.

    Args:
        launched: this process is one of those that accelerate started.
    """
    prog = LAUNCH if launched else "wav train"
    arguments = tyro.cli(TrainArguments, prog=prog, args=argv)
    if arguments.stage in TRAINED and arguments.minutes is not None and arguments.steps is not None:
        print(f"{prog} {arguments.stage}: give either --minutes X or --steps N", file=sys.stderr)
        return 2
    if launched and arguments.stage not in STAGES:
        print(f"{prog}: only {', '.join(STAGES)} train on several devices; use wav train", file=sys.stderr)
        return 2
    from torch.multiprocessing.spawn import ProcessException

    from wav_models.checkpoint import CheckpointError
    from wav_models.training.state import StateError

    try:
        complete = _train(arguments, f"{prog} {shlex.join(argv)}", launched)
    except (ValueError, OSError, FloatingPointError, StateError, CheckpointError) as error:
        print(f"{prog} {arguments.stage}: {error}", file=sys.stderr)
        return 1
    except ProcessException as error:  # holds a worker's whole traceback
        print(f"{prog} {arguments.stage}: {str(error).rstrip().splitlines()[-1]}", file=sys.stderr)
        return 1
    return 0 if complete else INTERRUPTED


def _budget(arguments: TrainArguments, configured_steps: int | None) -> Budget:
    """How long to train; what the command says counts more than what the configuration does.

    Raises:
        ValueError: neither says anything.
    """
    from wav_models.training.loop import Budget

    if arguments.minutes is not None:
        return Budget(seconds=60.0 * arguments.minutes)
    steps = configured_steps if arguments.steps is None else arguments.steps
    if steps is None:
        raise ValueError("give either --minutes X or --steps N, or loop.steps in the configuration")
    return Budget(steps=steps)


def _say_unused_gpu(stage: str, command: str) -> None:
    """`wav train` computes on the CPU: nobody should have to find that out by waiting."""
    import torch

    if not torch.cuda.is_available():
        return
    if stage == "autoencoder":
        print("training on the CPU: the auto-encoder has no other way; the GPU is not used")
    else:
        print(f"training on the CPU; on the GPU: {ON_ONE_GPU} {command.removeprefix('wav train ')}")


def _train(arguments: TrainArguments, command: str, launched: bool) -> bool:
    """Whether it was done to the end; a signal may have ended it earlier, with everything saved."""
    from wav_models.checkpoint import PLANNER
    from wav_models.training import run as steps
    from wav_models.training.assembly import assemble_checkpoint
    from wav_models.training.loop import BEST
    from wav_models.training.state import load_progress

    config = load_config(arguments.config, arguments.set)
    if arguments.workers is not None:
        config = replace(config, workers=arguments.workers)
    run = steps.Run(
        arguments.out,
        arguments.data,
        config,
        command,
        tensorboard=arguments.tensorboard,
        start=arguments.start,
        pretrained=arguments.pretrained,
        weights=arguments.weights,
    )
    if arguments.stage == "latents":
        steps.encode_latents(run)
        return True
    if arguments.stage == "checkpoint":
        directory = arguments.checkpoint or arguments.out / "checkpoint"
        assemble_checkpoint(run, directory, BEST if arguments.best else None)
        print(f"checkpoint: {directory}")
        if not (directory / PLANNER).is_file():
            print(f"it has no {PLANNER}: it will plan with the defaults of PlannerConfig (docs/training.md)")
        return True
    budget = _budget(arguments, getattr(config, arguments.stage).loop.steps)
    if not launched:
        _say_unused_gpu(arguments.stage, command)
    if arguments.stage == "autoencoder":
        steps.train_autoencoder(run, budget, resume=arguments.resume)
    elif launched:
        from wav_models.training.launched import LaunchedWorker

        worker = LaunchedWorker.join(arguments.sharding)
        steps.train_stage_on(worker, run, arguments.stage, budget, arguments.resume)
        worker.part()
        if not worker.is_main:
            return True
    else:
        steps.train_stage(run, arguments.stage, budget, resume=arguments.resume)
    return load_progress(run.state_path(arguments.stage), "").complete
