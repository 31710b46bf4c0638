"""Spawned worker processes. One that is killed, as by a full memory, is an error and not an endless wait."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any


@contextmanager
def worker_pool(
    num_workers: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Workers that are gone afterwards; what they still do when an exception ends the block is dropped.

    Args:
        initializer: called with `arguments` in every worker first.

    Raises:
        ChildProcessError: a worker died.
    """
    context = multiprocessing.get_context("spawn")
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


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    _live_and_die_with_parent()
    if initializer is not None:
        initializer(*arguments)


def _live_and_die_with_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent was killed."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
