"""A worker that dies ends the work with an error."""

from __future__ import annotations

import os
import signal
import time

import pytest

from wav_models.worker_pool import worker_pool


def _die(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(ChildProcessError, match="killed, as happens when memory runs out"), worker_pool(1) as pool:
        list(pool.map(_die, range(3)))


def test_an_exception_does_not_wait_for_what_runs() -> None:
    def interrupted() -> None:
        with worker_pool(1) as pool:
            assert pool.submit(_die, 0).result() == 0
            pool.submit(time.sleep, 60.0)
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - began < 30.0
