"""The one training loop: every stage runs through `train`.

AdamW, warm-up, cosine to the planned end, gradient clip, weight average, bfloat16 autocast, accumulation, averaged
gradients over workers, atomic resumable state. What is trained, and on what loss, is the stage's business.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from wav_models.networks.blocks import onednn_formats
from wav_models.progress import progress as telling
from wav_models.training.config import LoopConfig
from wav_models.training.parallel import Losses, StopRequest, TrainingWorker, stop_on_signals
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.shares import put_together, write_shares
from wav_models.training.state import (
    Progress,
    Provenance,
    StateError,
    TrainState,
    load_progress,
    save_tensors,
    share,
    whole,
)
from wav_models.training.trackers import Track
from wav_models.words import counted

Report = Callable[[str], None]

BEST = "best"


def weights_path(run: Path, stage: str, label: str) -> Path:
    """Where a run keeps averaged weights of a stage: `BEST`, or the step in eight digits."""
    return run / f"{stage}.{label}.safetensors"


class Stage(Protocol):
    """What the loop needs to know of a stage."""

    name: str
    seconds_waited: float
    """For data, since the stage was made [s]."""

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that train, and those that adapters which train are added to; nothing else is touched."""

    def lr_scale(self, name: str) -> float:
        """Learning rate of a parameter relative to the loop's."""

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        """Losses of a fresh batch; "loss" is what is minimised, the others are reported."""

    def prepare(self, batch_size: int, streams: RngStreams) -> None:
        """Draw a batch ahead of `losses` with the same streams; called where a GPU computes meanwhile."""

    def evaluate(self) -> dict[str, float]:
        """Held-out metrics, with the averaged weights in place."""


@dataclass(frozen=True)
class Budget:
    """When to end: after `steps` optimiser steps or `seconds` of loop time, whichever is given.

    With `seconds` the learning rate follows the clock, so only a budget in steps resumes to the last digit.

    Raises:
        ValueError: both are given, or neither, or one that is not positive.
    """

    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("a budget has either steps or seconds (--steps N or --minutes X)")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 fits")
        if self.seconds is not None and not 0.0 < self.seconds < math.inf:
            raise ValueError(f"seconds is {self.seconds:g} (60 times the minutes); a positive number fits")

    def fraction(self, progress: Progress) -> float:
        """How much of the budget is used; 1 and above ends it."""
        if self.steps is not None:
            return progress.step / self.steps
        assert self.seconds is not None
        return progress.seconds / self.seconds


def learning_rate(config: LoopConfig, step: int, fraction: float) -> float:
    """Linear warm-up times a cosine from the peak to `final_rate` times it at the planned end."""
    warmup = min(1.0, (step + 1) / max(config.warmup_steps, 1))
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(fraction, 1.0)))
    return config.learning_rate * warmup * (config.final_rate + (1.0 - config.final_rate) * cosine)


def train(
    stage: Stage,
    config: LoopConfig,
    budget: Budget,
    seed: int,
    path: Path,
    *,
    worker: TrainingWorker | None = None,
    resume: bool = False,
    report: Report = print,
    track: Track = lambda values, step: None,
    provenance: Provenance | None = None,
) -> TrainState:
    """Train `stage` until its budget is used or a signal asks to stop; its state is at `path` afterwards.

    Args:
        resume: continue from `path` if it exists.
        track: takes the numbers that are reported, see `tracking`.
        provenance: noted in the state; what it began with is that of the first call.

    Raises:
        StateError: the state to resume from is damaged, of another configuration or of other inputs, or the stages
            before it have gone on since; or, without `resume`, an unfinished one would be overwritten.
        FloatingPointError: a loss that is not finite, naming step and stage; the last saved state stays.
    """
    worker, provenance = worker or TrainingWorker(), provenance or Provenance()
    if not resume and path.is_file():
        _refuse_unfinished(path)
    losses = worker.distribute(stage)  # before the optimiser: sharding replaces the parameters
    state = initial_state(stage, config)
    progress = state.progress
    if resume and path.is_file():
        state.load(path)
        progress = state.progress
        progress.require_inputs(path, provenance.inputs)
        progress.require_before(path, provenance.before)
    else:
        progress.before, progress.ancestors = provenance.before, provenance.ancestors
        if worker.is_main:
            weights_path(path.parent, stage.name, BEST).unlink(missing_ok=True)  # of the training before
    progress.inputs = provenance.inputs
    progress.calls.append({**provenance.call, "step": progress.step})
    loop = _Loop(stage, losses, config, budget, seed, path, worker, state, report, track)
    with stop_on_signals() as stop:
        loop.run(stop)
    return state


def _refuse_unfinished(path: Path) -> None:
    remedy = "go on with --resume, or remove the file to start anew"
    progress = load_progress(path, remedy)
    if not progress.complete:
        raise StateError(f"{path}: holds an unfinished training of {counted(progress.step, 'step')}; {remedy}")


def initial_state(stage: Stage, config: LoopConfig) -> TrainState:
    parameters = stage.named_parameters()
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        if parameter.requires_grad:
            groups.setdefault(stage.lr_scale(name), []).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr_scale": scale} for scale, params in groups.items()],
        lr=config.learning_rate,
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )
    average = {name: p.detach().clone() if p.requires_grad else p.detach() for name, p in parameters.items()}
    return TrainState(parameters, average, optimizer, Progress())


@dataclass
class _Loop:
    """The running state of `train`: clocks, sums since the last report, writer."""

    stage: Stage
    losses: Losses
    config: LoopConfig
    budget: Budget
    seed: int
    path: Path
    worker: TrainingWorker
    state: TrainState
    report: Report
    track: Track

    def __post_init__(self) -> None:
        config, size = self.config, self.worker.size
        self.share = config.batch_size // (size * config.accumulation)
        if self.share * size * config.accumulation != config.batch_size:
            raise ValueError(
                f"batch_size {config.batch_size} does not divide into {counted(size, 'worker')} "
                f"x {config.accumulation} accumulated parts"
            )
        self.device_type = next(iter(self.state.parameters.values())).device.type
        self.half = config.bf16 and (self.device_type != "cpu" or torch.bfloat16 in onednn_formats())
        if config.bf16 and not self.half:
            self._say("this processor does not multiply bfloat16: training in float32")
        self.sums: dict[str, Tensor | float] = {}  # on the device: reading one would wait for it
        self.counted, self.has_begun = 0, False
        self.logged_at, self.logged_waiting = time.monotonic(), self.stage.seconds_waited
        self.upcoming: RngStreams | None = None
        self.writer = ThreadPoolExecutor(1, thread_name_prefix="state")
        self.writing: Future[None] | None = None

    def run(self, stop: StopRequest) -> None:
        progress = self.state.progress
        self._say(f"training begins; a line every {self.config.log_seconds:g} s, the first steps take longest")
        clocks = dict.fromkeys(("log", "save", "evaluate"), progress.seconds)
        started, offset = time.monotonic(), progress.seconds
        while True:
            progress.seconds = offset + time.monotonic() - started
            fraction, stopping, progress.seconds = self.worker.broadcast(
                torch.tensor([self.budget.fraction(progress), float(bool(stop)), progress.seconds], dtype=torch.float64)
            ).tolist()
            if fraction >= 1.0 or stopping:
                break
            with telling(f"[{self.stage.name}] the first step") if self._is_to_wait() else contextlib.nullcontext():
                self._step(fraction)
            if self._due(clocks, "save"):
                self._save(meanwhile=True)
            if self._due(clocks, "log"):
                self._log(fraction)
            if self._due(clocks, "evaluate"):
                self._evaluate()
        progress.complete = fraction >= 1.0
        self._save()  # before reports and metrics: whatever ends them, the training itself is kept
        if self.counted:
            self._log(fraction)
        if progress.complete:
            self._evaluate()
        self._save()

    def _is_to_wait(self) -> bool:
        """Whether somebody waits for the first step of this run, in which networks are compiled."""
        is_first, self.has_begun = not self.has_begun, True
        return is_first and self.worker.is_main

    def _step(self, fraction: float) -> None:
        config, progress, optimizer = self.config, self.state.progress, self.state.optimizer
        rate = learning_rate(config, progress.step, fraction)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        optimizer.zero_grad(set_to_none=True)
        for part in range(config.accumulation):
            streams = self._streams(part)
            with self.worker.accumulating(self.losses, last=part == config.accumulation - 1):
                with torch.autocast(self.device_type, torch.bfloat16) if self.half else contextlib.nullcontext():
                    losses = self.losses(self.share, streams)
                (losses["loss"] / config.accumulation).backward()
            self._count(losses)
        parameters = list(self.state.parameters.values())
        self.worker.average_gradients(parameters)
        norm = whole(nn.utils.clip_grad_norm_(parameters, config.clip_norm))
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"stage {self.stage.name}: gradient norm {norm.item()} at step {progress.step}; lower the learning rate"
            )
        optimizer.step()
        self._average()
        progress.step += 1
        progress.samples += config.batch_size

    def _streams(self, part: int) -> RngStreams:
        """Of this part of this step; beside a GPU the next part's batch is drawn meanwhile."""
        streams = self.upcoming or self._streams_at(self.state.progress.step, part)
        if self.device_type != "cpu":
            accumulation = self.config.accumulation
            self.upcoming = self._streams_at(*divmod(self.state.progress.step * accumulation + part + 1, accumulation))
            self.stage.prepare(self.share, self.upcoming)
        return streams

    def _streams_at(self, step: int, part: int) -> RngStreams:
        return streams_at(self.seed, self.stage.name, step, self.worker.rank + part * self.worker.size)

    def _average(self) -> None:
        """Move the averaged weights; the decay rises with the steps so that the first weights are forgotten."""
        step = self.state.progress.step
        decay = min(self.config.ema_decay, (1.0 + step) / (10.0 + step))
        trained = {name: p for name, p in self.state.parameters.items() if p.requires_grad}
        average = [share(self.state.average[name]) for name in trained]
        weights = [share(parameter.detach()) for parameter in trained.values()]
        torch._foreach_lerp_(average, weights, 1.0 - decay)

    def _count(self, losses: dict[str, Tensor]) -> None:
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double()
        self.counted += 1

    def _due(self, clocks: dict[str, float], name: str) -> bool:
        period = getattr(self.config, f"{name}_seconds")
        if self.state.progress.seconds - clocks[name] < period:
            return False
        clocks[name] = self.state.progress.seconds
        return True

    def _log(self, fraction: float) -> None:
        progress = self.state.progress
        names = sorted(self.sums)
        means = self.worker.mean(torch.tensor([float(self.sums[n]) / self.counted for n in names], dtype=torch.float64))
        losses = dict(zip(names, means.tolist(), strict=True))
        speed = self._speed()
        left = progress.seconds * (1.0 / fraction - 1.0) if 0.0 < fraction < 1.0 else 0.0
        self._record({**losses, **speed})
        pace = f"{speed['samples_per_s']:.1f} samples/s, {speed['waiting']:.0%} of the time waiting for data"
        self._say(f"{_format(losses)}  {pace}  {left / 60:.1f} min left")
        self.sums, self.counted = {}, 0

    def _speed(self) -> dict[str, float]:
        """Of all workers together, and the share of the time that this one waited for data, since the last report."""
        now, waited = time.monotonic(), self.stage.seconds_waited
        seconds = now - self.logged_at
        speed = {
            "samples_per_s": self.counted / self.config.accumulation * self.config.batch_size / seconds,
            "waiting": (waited - self.logged_waiting) / seconds,
        }
        self.logged_at, self.logged_waiting = now, waited
        return speed

    def _evaluate(self) -> None:
        """Held-out metrics of the averaged weights, on the main worker while the others wait at the next step.

        None with sharded weights: no worker has them all. A run that goes on unsharded reports them again.
        """
        if not self.worker.is_main or self.worker.is_sharded:
            return
        self._say("looking at held-out observations")  # minutes, on a CPU
        with telling(f"[{self.stage.name}] held-out observations"):  # noqa: SIM117
            with averaged_weights(self.state), torch.no_grad():
                metrics = self.stage.evaluate()
        if metrics:
            self._record(metrics)
            self._say(f"held out: {_format(metrics)}")
            self._keep(metrics)

    def _keep(self, metrics: dict[str, float]) -> None:
        """Write the best averaged weights so far, and those of the last evaluations."""
        progress, judge = self.state.progress, getattr(self.stage, "judged_by", "")
        error = metrics.get(judge.removeprefix("-"))
        error = -error if error is not None and judge.startswith("-") else error
        labels = [f"{progress.step:08d}"] if self.config.keep else []
        if error is not None and (progress.best is None or error < progress.best):
            progress.best = error
            labels.append(BEST)
        for label in labels:
            tensors = {f"average.{name}": tensor for name, tensor in self.state.average.items()}
            save_tensors(weights_path(self.path.parent, self.stage.name, label), tensors, asdict(progress))
        kept = sorted(self.path.parent.glob(f"{self.stage.name}.[0-9]*.safetensors"))
        for path in kept[: max(0, len(kept) - self.config.keep)] if self.config.keep else ():
            path.unlink()

    def _record(self, values: dict[str, float]) -> None:
        progress = self.state.progress
        progress.history.append({"step": progress.step, "seconds": round(progress.seconds, 2), **values})
        self.track(values, progress.step)

    def _say(self, text: str) -> None:
        if self.worker.is_main:
            progress = self.state.progress
            self.report(f"[{self.stage.name} {progress.seconds / 60:5.1f} min, step {progress.step}] {text}")

    def _save(self, *, meanwhile: bool = False) -> None:
        """All workers take part, for each may hold a share.

        Args:
            meanwhile: write while the training goes on, where what is written are copies: of shares, or of a GPU's.

        Raises:
            StateError: this state, or the one before it, could not be written.
        """
        if self.writing is not None:
            self.writing.result()
            self.writing = None
        worker, tensors, numbers = self.worker, self.state.tensors(), asdict(self.state.progress)
        if worker.is_sharded:
            shares = write_shares(tensors, self.path, worker.group, is_main=worker.is_main)
            write = partial(put_together, shares, self.path, numbers, is_main=worker.is_main)
        elif worker.is_main:
            write = partial(save_tensors, self.path, {name: x.cpu() for name, x in tensors.items()}, numbers)
        else:
            return
        if meanwhile and (worker.is_sharded or self.device_type != "cpu"):
            self.writing = self.writer.submit(write)
        else:
            write()


@contextlib.contextmanager
def averaged_weights(state: TrainState):  # type: ignore[no-untyped-def]
    """Put the averaged weights in place for the duration of the block."""
    live = {name: parameter.data for name, parameter in state.parameters.items()}
    for name, parameter in state.parameters.items():
        parameter.data = state.average[name]
    try:
        yield
    finally:
        for name, parameter in state.parameters.items():
            parameter.data = live[name]


def _format(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
