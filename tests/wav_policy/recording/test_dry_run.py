"""Demonstrations played without a dataset: a worker that dies ends them with an error."""

from __future__ import annotations

import os
import signal

import pytest

from wav_policy.recording.dry_run import dry_run


def _play(seed: int) -> tuple[str, bool, int]:
    if seed == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return "skilled", True, 10 * seed


def test_results_are_in_the_order_of_the_seeds() -> None:
    assert [result.steps for result in dry_run(_play, [3, 1], 1)] == [30, 10]


def test_a_killed_worker_is_an_error() -> None:
    with pytest.raises(ChildProcessError, match="a worker process died"):
        dry_run(_play, range(4), 1)
