"""Workers behind `concurrent.futures`: processes of this machine, or those of a dask scheduler.

The former are forked from a server that has imported, once, what this process had when it first asked for workers.

A process of this machine that is killed, as by a full memory, is an error and not an endless wait; of a cluster, where
machines come and go, the work is done again by another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from typing import Any, Final, TypeVar
from uuid import uuid4

ANSWER_SECONDS: Final = 10.0
_PARENTS_BUSINESS: Final = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""What a terminal sends to all its processes; workers end when their parent ends them."""

T = TypeVar("T")
_prepared: Any = None


def prepare(make: Callable[..., Any], *arguments: Any) -> None:
    """As an initializer of workers: what `make` makes is each one's own; torch gets one thread."""
    import torch

    torch.set_num_threads(1)
    global _prepared
    _prepared = make(*arguments)


def with_prepared(function: Callable[..., T], *arguments: Any) -> T:
    """As a job: `function` of what this worker has prepared, and of the arguments."""
    return function(_prepared, *arguments)


@contextmanager
def worker_pool(
    num_workers: int,
    initializer: Callable[..., None] | None = None,
    arguments: tuple[Any, ...] = (),
    scheduler: str | None = None,
) -> Iterator[Executor]:
    """Workers that are gone afterwards; what they still do when an exception ends the block is dropped.

    Args:
        num_workers: of this machine.
        initializer: called with `arguments` in every worker first.
        scheduler: address of a dask scheduler, e.g. "tcp://10.0.0.1:8786", whose workers do the work instead, each one
            thing at a time (`dask worker --nthreads 1`), with this package and the same files.

    Raises:
        ChildProcessError: a worker died; with a scheduler, several that tried the same.
        ValueError: no scheduler answers there, or dask.distributed is not installed.
    """
    if scheduler is None:
        with _local(num_workers, initializer, arguments) as pool:
            yield pool
    else:
        with _cluster(scheduler, initializer, arguments) as executor:
            yield executor


@contextmanager
def _local(
    num_workers: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> Iterator[ProcessPoolExecutor]:
    _start_server()
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(num_workers, context, _start, (initializer, arguments))
    try:
        yield pool
    except BaseException as error:
        for process in list(pool._processes.values()):
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise ChildProcessError(
                "a worker process died; what it said is above. If it said nothing, it was killed, as happens when "
                "memory runs out (`dmesg` tells): run again with fewer workers"
            ) from error
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_server() -> None:
    """One for the life of this process, which no signal of a terminal ends."""
    forkserver.set_forkserver_preload([name for name in sys.modules if name.startswith(("wav_models", "wav_policy"))])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS_BUSINESS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _cluster(scheduler: str, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> Iterator[Executor]:
    try:
        from distributed import Client, KilledWorker, WorkerPlugin
    except ModuleNotFoundError as error:
        raise ValueError("a scheduler needs dask.distributed; install 'wav-policy[cluster]'") from error

    class Initialize(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            if initializer is not None:
                initializer(*arguments)

    try:
        client = Client(scheduler, timeout=ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"no dask scheduler answers at {scheduler} ({error}); start one with `dask scheduler`"
        ) from error
    with client:
        client.register_plugin(Initialize(), name=f"wav-{uuid4()}")
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except KilledWorker as error:
            raise ChildProcessError(f"several workers died over the same work: {error}") from error
        finally:
            executor.shutdown(wait=False)


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    _live_and_die_with_parent()
    if initializer is not None:
        initializer(*arguments)


def _live_and_die_with_parent() -> None:
    """Leave a terminal's signals to the parent, and end when the parent was killed."""
    for number in _PARENTS_BUSINESS:
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
