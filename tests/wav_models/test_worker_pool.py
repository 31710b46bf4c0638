"""A worker that dies ends the work with an error."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

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


def _begin(marker: int) -> None:
    os.environ["WAV_TEST_MARKER"] = str(marker)


def _squared_unless_first(job: tuple[int, str]) -> tuple[int, int]:
    """Kills its worker once: where the file is not there yet."""
    number, once = job
    if number == 3 and not os.path.exists(once):
        Path(once).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2, int(os.environ["WAV_TEST_MARKER"])


def test_the_work_of_a_cluster_survives_the_death_of_a_worker(cluster: Any, tmp_path: Path) -> None:
    """The same results as of this machine's own processes, and every worker has begun as they do."""
    jobs = [(number, str(tmp_path / "killed")) for number in range(8)]
    with worker_pool(2, _begin, (7,), scheduler=cluster.scheduler_address) as pool:
        by_cluster = [job.result() for job in [pool.submit(_squared_unless_first, job) for job in jobs]]
    assert (tmp_path / "killed").exists()
    with worker_pool(2, _begin, (7,)) as pool:
        assert list(pool.map(_squared_unless_first, jobs)) == by_cluster == [(n**2, 7) for n in range(8)]


def test_no_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("wav_models.worker_pool.ANSWER_SECONDS", 0.5)
    with pytest.raises(ValueError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:1 "):  # noqa: SIM117
        with worker_pool(1, scheduler="tcp://127.0.0.1:1"):
            pass
