"""The command `wav train STAGE`.

Where there is one GPU, stages train on it; where there are several, or `--devices` says so, one process is started for
each by accelerate. Where torchrun, accelerate or SLURM have started several already, this is one of them.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import tyro

from wav_models.command_line import parsed
from wav_models.configuration import AtLeastOne, ConfigurationError, Count, Positive
from wav_models.endings import INTERRUPTED, OK
from wav_models.project_files import resolve
from wav_models.training.config import DISTIL, EVERY_STAGE, load_config
from wav_models.training.trackers import require_installed
from wav_models.words import counted

if TYPE_CHECKING:
    from wav_models.training.launched import LaunchedWorker
    from wav_models.training.loop import Budget

PROG = "wav train"
TRAINED = ("autoencoder", *EVERY_STAGE)


@dataclass(frozen=True)
class TrainArguments:
    """Train one stage. The order is autoencoder, latents, video, value, action, checkpoint. "distil", before the
    checkpoint, trains a student that plans with fewer passes and steps."""

    stage: Annotated[
        Literal["autoencoder", "latents", "video", "value", "action", "distil", "checkpoint"], tyro.conf.Positional
    ]
    """What to do: train a part, encode the dataset ("latents"), or write the result ("checkpoint")."""
    data: tuple[Path, ...]
    """Dataset directories (LeRobot v3.0, labelled by `wav label`), trained on as one; always in the same order."""
    out: Path
    """Run directory."""
    config: Path = Path("config/train_tiny.yaml")
    """Configuration of the run; a relative path that is not here is one of the project's."""
    set: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Any key of the configuration, such as video.loop.learning_rate=3e-4; may be given several times."""
    minutes: Positive | None = None
    """Train for this long; the learning rate falls to its end by then. Earlier, resumed time counts, but not the first
    step of each call, in which networks are compiled."""
    steps: AtLeastOne | None = None
    """Train for this many optimiser steps; resumes to the last digit."""
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Continue from the stage's saved state, if there is one."""
    pretrained: Path | None = None
    """Local LTX-Video directory (vae, tokenizer, text_encoder), for presets that use them."""
    weights: Path | None = None
    """Published weights (safetensors of LTX-Video's transformer, Genie Envisioner or WAV), or model.safetensors of a
    checkpoint of the same networks for another robot: what they hold starts from
    them instead of from random ones (not when resuming, nor what an earlier stage of this run has trained)."""
    start: Path | None = None
    """A checkpoint, or another run: start from its weights instead of from random ones (not when resuming). Give a
    checkpoint to every step of the run, "latents" and "checkpoint" too: its auto-encoder and normalisation are used.
    "autoencoder" goes on from its auto-encoder, which may be another robot's."""
    teacher: Path | None = None
    """The checkpoint that "distil" learns from; without it what the stage starts from. A student of a student names the
    first teacher here."""
    workers: AtLeastOne | None = None
    """Processes with averaged gradients on a CPU; overrides the configuration."""
    scheduler: str | None = None
    """Address of a dask scheduler, tcp://HOST:8786, whose workers encode for "latents" instead, with the same files at
    the same paths ('wav-policy[cluster]')."""
    devices: Count | None = None
    """GPUs of this machine to train on, one process each; all when not given, 0 trains on the CPU."""
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Report the numbers there too: to files in RUN/tensorboard, to Weights & Biases (WANDB_MODE=offline: to files)."""
    sharding: Literal["ddp", "fsdp"] = "ddp"
    """On several devices: a copy of the model on every one, or a share of it."""
    best: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """"checkpoint" takes the last stage's weights of the best held-out error instead of the last ones."""
    checkpoint: Path | None = None
    """Where "checkpoint" writes; RUN/checkpoint when not given."""


def main(argv: list[str]) -> int:
    """Entry point; of every process where there are several. 130 after a signal: everything is saved then."""
    arguments = parsed(TrainArguments, PROG, argv)
    if arguments.stage in TRAINED and arguments.minutes is not None and arguments.steps is not None:
        raise ValueError("give either --minutes X or --steps N")
    if arguments.scheduler is not None and (arguments.stage != "latents" or arguments.workers is not None):
        raise ValueError("--scheduler is for `latents`, in the place of --workers")
    if arguments.teacher is not None and arguments.stage != DISTIL:
        raise ValueError(f"--teacher is for `distil`, not for `{arguments.stage}`")
    for option, given in (("--start", arguments.start), ("--teacher", arguments.teacher)):
        if given is not None and not given.is_dir():
            raise FileNotFoundError(f"{option} {given} is no directory")
    require_installed(arguments.trackers)
    for directory in arguments.data if arguments.stage != "checkpoint" else ():
        if not directory.is_dir():
            raise FileNotFoundError(
                f"--data {directory} is no directory; `wav record`, `wav demonstrate` and `wav dataset convert` make "
                "one"
            )
    if os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0":  # of several processes one speaks
        print(f"[{arguments.stage}] reading the configuration and the data", file=sys.stderr, flush=True)
    from torch.multiprocessing.spawn import ProcessException

    try:
        if arguments.stage in TRAINED and (devices := _devices_to_start(arguments)) > 1:
            _start(devices, argv)
        complete = _train(arguments, f"{PROG} {shlex.join(argv)}")
    except ProcessException as error:  # holds a worker's whole traceback
        raise ChildProcessError(_cause(str(error))) from error
    return OK if complete else INTERRUPTED


def _cause(traceback: str) -> str:
    """Its last line that names an error: what torch advises on behind it is none."""
    lines = traceback.rstrip().splitlines()
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Unsupported): ", line)]
    return (named or lines)[-1]


def _devices_to_start(arguments: TrainArguments) -> int:
    """Processes that are to be started; 1 where something else has started them, or one is enough.

    Raises:
        ValueError: there are not so many GPUs.
    """
    import torch

    from wav_models.training.launched import cluster_environment

    if cluster_environment(os.environ):
        return 1
    there = torch.cuda.device_count()
    if arguments.devices is not None and not 0 <= arguments.devices <= there:
        raise ValueError(f"devices is {arguments.devices}; this machine has {counted(there, 'GPU')}")
    return there if arguments.devices is None else arguments.devices


def _start(devices: int, argv: list[str]) -> NoReturn:
    """Become accelerate's launcher of this command on so many devices, so that signals reach it."""
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1", "--mixed_precision", "no"]
    launch += ["--main_process_port", "0"]  # a free one: several may train on a machine
    launch += ["--dynamo_backend", "no", "--num_processes", str(devices), "-m", "wav_models.training", *argv]
    os.execv(sys.executable, [sys.executable, *launch])


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


def _join(arguments: TrainArguments) -> LaunchedWorker | None:
    """This process's place, on a GPU or among several; None where the run's own workers train on the CPU."""
    import torch

    from wav_models.training.launched import LaunchedWorker, cluster_environment

    on_gpu = torch.cuda.is_available() and arguments.devices != 0
    if not on_gpu and not cluster_environment(os.environ):
        return None
    return LaunchedWorker.join("ddp" if arguments.stage == "autoencoder" else arguments.sharding, on_gpu=on_gpu)


def _train(arguments: TrainArguments, command: str) -> bool:
    """Whether it was done to the end; a signal may have ended it earlier, with everything saved."""
    import torch

    from wav_models.checkpoint import PLANNER
    from wav_models.networks.wav_model import lacking_to_compile
    from wav_models.training import steps
    from wav_models.training.assembly import assemble_checkpoint
    from wav_models.training.loop import BEST
    from wav_models.training.run import Run
    from wav_models.training.state import load_progress

    config = load_config(resolve(arguments.config), arguments.set)
    if arguments.workers is not None:
        config = replace(config, workers=arguments.workers)
    on_gpu = torch.cuda.is_available() and arguments.devices != 0
    compiled = arguments.stage in EVERY_STAGE and config.compile
    if compiled and (lacking := lacking_to_compile("cuda" if on_gpu else "cpu")):
        raise ConfigurationError(f"`compile` needs {lacking}, or give --set compile=false")
    run = Run(
        arguments.out,
        arguments.data,
        config,
        command,
        trackers=arguments.trackers,
        start=arguments.start,
        pretrained=arguments.pretrained,
        weights=arguments.weights,
        teacher=arguments.teacher,
    )
    if arguments.stage in ("autoencoder", DISTIL) and run.start is not None and run.base is None:
        raise ValueError(f"--start {run.start}: is no checkpoint; give `{arguments.stage}` one, or leave it out")
    if arguments.stage == "latents":
        steps.encode_latents(run, arguments.scheduler)
        return True
    if arguments.stage == "checkpoint":
        directory = arguments.checkpoint or arguments.out / "checkpoint"
        assemble_checkpoint(run, directory, BEST if arguments.best else None)
        print(f"checkpoint: {directory}")
        if not (directory / PLANNER).is_file():
            print(f"it has no {PLANNER}: it will plan with the defaults of PlannerConfig (docs/training.md)")
        return True
    budget = _budget(arguments, getattr(config, arguments.stage).loop.steps)
    worker = _join(arguments)
    if arguments.stage == "autoencoder":
        steps.train_autoencoder(run, budget, resume=arguments.resume, worker=worker)
    elif worker is None:
        steps.train_stage(run, arguments.stage, budget, resume=arguments.resume)
    else:
        steps.train_stage_on(worker, run, arguments.stage, budget, arguments.resume)
    if worker is not None:
        worker.part()
        if not worker.is_main:
            return True
    return load_progress(run.state_path(arguments.stage), "").complete
