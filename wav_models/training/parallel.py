"""Data-parallel training on the CPU: single-threaded processes whose gradients are averaged over gloo.

Two torch threads on busy cores wait for each other at every operation; two processes wait once per step.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessExitedException

from wav_models.signals import meant_signals
from wav_models.training.randomness import RngStreams

Losses = Callable[[int, RngStreams], dict[str, Tensor]]
"""Losses of a fresh batch of that size."""


class TrainableStage(Protocol):
    """What distributing a stage needs of it."""

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class TrainingWorker:
    """This process's place among the workers.

    Attributes:
        group: connects them for what a thread of each does beside the training; None where they hold no shares.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def is_sharded(self) -> bool:
        """Whether this process holds only a share of every tensor."""
        return False

    def distribute(self, stage: TrainableStage) -> Losses:
        """The stage's losses, computed by this process on its samples."""
        return stage.losses

    def meet(self) -> None:
        """Wait for the other workers."""
        if self.size > 1:
            dist.barrier()

    def accumulating(self, losses: Losses, *, last: bool) -> AbstractContextManager[None]:
        """Around one part of a step: only the last one's backward pass needs to exchange gradients."""
        return nullcontext()

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over the workers."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.reshape(-1) for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        torch._foreach_copy_(
            gradients,
            [f.view_as(g) for f, g in zip(flat.split([g.numel() for g in gradients]), gradients, strict=True)],
        )

    def broadcast(self, values: Tensor) -> Tensor:
        """The main worker's values, on every worker."""
        if self.size > 1:
            values = values.to(self._wire)
            dist.broadcast(values, src=0)
        return values

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the workers."""
        if self.size > 1:
            values = values.to(self._wire)
            dist.all_reduce(values)
            values /= self.size
        return values

    @property
    def _wire(self) -> torch.device:
        """Where the backend that connects the workers takes tensors from."""
        return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


class StopRequest:
    """Set by SIGINT or SIGTERM, and in one of several workers when the process that started it is gone: finish the
    step, save, end. A training that a shell started survives the shell."""

    def __init__(self) -> None:
        self._requested = False
        started_by_us = multiprocessing.parent_process() is not None or "LOCAL_RANK" in os.environ
        self._parent = os.getppid() if started_by_us else None

    def __bool__(self) -> bool:
        return self._requested or self._parent not in (None, os.getppid())

    def set(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        self._requested = True


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn every signal that asks to end into a stop request for the duration of the block."""
    request = StopRequest()
    previous = {s: signal.signal(s, request.set) for s in meant_signals()}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def run_workers(function: Callable[..., None], arguments: tuple[Any, ...], size: int) -> None:
    """Call `function(worker, *arguments)` on `size` workers; in this process when there is one.

    Raises:
        ValueError: `size` is below 1.
        KeyboardInterrupt: a signal ended a worker that was not yet there to end by itself.
        Exception: whatever a worker raised, with its traceback; the others are ended.
    """
    if size < 1:
        raise ValueError(f"workers is {size}; at least 1 is needed")
    torch.set_num_threads(1)
    if size == 1:
        function(TrainingWorker(), *arguments)
        return
    with tempfile.TemporaryDirectory(prefix="wav_workers_") as directory:
        context = torch.multiprocessing.spawn(
            _run_worker, (size, str(Path(directory) / "store"), function, arguments), nprocs=size, join=False
        )
        assert context is not None
        told: list[int] = []
        forward = _forward_to(context.processes, told)
        previous = {s: signal.signal(s, forward) for s in meant_signals()}
        try:
            while not context.join():
                pass
        except ProcessExitedException as error:
            if told and error.signal_name == signal.SIGTERM.name:  # it had not begun to listen
                raise KeyboardInterrupt from error
            raise
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _forward_to(processes: Sequence[BaseProcess], told: list[int]) -> Callable[[int, FrameType | None], None]:
    """SIGTERM to those that have not ended: the first worker looks at held-out data after the others are done. What
    came is added to `told`."""

    def forward(number: int, _frame: FrameType | None) -> None:
        told.append(number)
        logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)  # it warns of ending the others
        for process in processes:
            process.terminate()

    return forward


def _run_worker(rank: int, size: int, store: str, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    try:
        function(TrainingWorker(rank, size), *arguments)
    finally:
        dist.destroy_process_group()
    leave(0)


def leave(code: int) -> NoReturn:
    """End this process with what it has printed, without Python's finalisation.

    Threads of gloo may outlive their destroyed group. One that drops its last tensor while Python finalises aborts the
    process, whose work is done and saved (pytorch/pytorch#179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
