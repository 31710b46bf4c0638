from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording import fake_operator
from tests.wav_policy.recording.fake_operator import FPS, SIZES, make_rows
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset
from wav_policy.recording.demonstrations import RecordingError, RecordingOptions, note_run, record_demonstrations
from wav_policy.recording.episode_writer import DatasetWriter


def run(root: Path, options: RecordingOptions, demonstrate: object = fake_operator.demonstrate) -> None:
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES) as writer:
        record_demonstrations(writer, demonstrate, options)  # type: ignore[arg-type]


def test_workers_are_merged_in_seed_order_and_resumed(tmp_path: Path) -> None:
    run(tmp_path, RecordingOptions(task="bowl", num_episodes=2, noise=(0.0, 0.3)))
    run(tmp_path, RecordingOptions(task="bowl", num_episodes=5, noise=(0.0, 0.3)))
    dataset = Dataset(tmp_path)
    assert [episode.seed for episode in dataset.episodes] == [1, 2, 4, 5, 7]
    assert [episode.noise for episode in dataset.episodes] == [0.3, 0.0, 0.0, 0.3, 0.3]
    assert all(episode.success for episode in dataset.episodes)
    for episode in dataset:
        assert episode.info.seed is not None
        np.testing.assert_array_equal(episode.states, make_rows(5 + episode.info.seed, episode.info.seed)[0])
        assert episode.images("head").shape == (len(episode), 48, 64, 3)
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["lock"]


def test_a_cluster_records_the_same_though_a_worker_dies(cluster: Any, tmp_path: Path) -> None:
    demonstrate = partial(fake_operator.demonstrate_unless_first, str(tmp_path / "killed"))
    by_cluster = RecordingOptions("bowl", 3, scheduler=cluster.scheduler_address)
    for name, options in (("there", by_cluster), ("here", replace(by_cluster, scheduler=None))):
        run(tmp_path / name, options, demonstrate)
        assert (tmp_path / "killed").exists()
    there, here = (Dataset(tmp_path / name) for name in ("there", "here"))
    assert [e.seed for e in there.episodes] == [e.seed for e in here.episodes] == [1, 2, 4]
    for one, other in zip(there, here, strict=True):
        np.testing.assert_array_equal(one.states, other.states)
        np.testing.assert_array_equal(one.images("head"), other.images("head"))


def seeds_of(root: Path) -> list[int | None]:
    return [episode.seed for episode in Dataset(root).episodes]


def test_runs_of_one_task_do_not_count_for_each_other(tmp_path: Path) -> None:
    later, earlier = (RecordingOptions("bowl", 2, seed=seed, keep_failures=True) for seed in (5, 3))
    run(tmp_path, later)
    run(tmp_path, earlier)
    assert seeds_of(tmp_path) == [5, 6, 3, 4]
    run(tmp_path, RecordingOptions("bowl", 3, seed=3, keep_failures=True))
    assert seeds_of(tmp_path) == [5, 6, 3, 4, 7]
    for options in (later, earlier):
        run(tmp_path, options)
    assert seeds_of(tmp_path) == [5, 6, 3, 4, 7]


def test_episodes_that_do_not_name_their_run_are_of_the_nearest_one(tmp_path: Path) -> None:
    """As datasets were recorded before; where nobody noted the runs either, all that could be of a run are."""
    options = RecordingOptions("bowl", 2, seed=5, keep_failures=True)
    note_run(tmp_path, options, None)
    run(tmp_path, options)
    for path in tmp_path.glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        column = table.column_names.index("extra")
        pq.write_table(table.set_column(column, "extra", pa.array(['{"task": "bowl"}'])), path)
    run(tmp_path, options)
    assert seeds_of(tmp_path) == [5, 6]
    run(tmp_path, RecordingOptions("bowl", 1, seed=3, keep_failures=True))
    assert seeds_of(tmp_path) == [5, 6, 3]
    (tmp_path / "meta/recordings.json").unlink()
    run(tmp_path, RecordingOptions("bowl", 3, seed=4, keep_failures=True))
    assert seeds_of(tmp_path) == [5, 6, 3, 7]


def test_failures_are_kept_on_demand(tmp_path: Path) -> None:
    run(tmp_path, RecordingOptions(task="bowl", num_episodes=4, seed=3, keep_failures=True))
    assert [(e.seed, e.success) for e in Dataset(tmp_path).episodes] == [(3, False), (4, True), (5, True), (6, False)]


def test_an_episode_that_was_begun_anew_is_recorded_once(tmp_path: Path) -> None:
    run(tmp_path, RecordingOptions(task="bowl", num_episodes=2, seed=1), fake_operator.begin_anew)
    dataset = Dataset(tmp_path)
    instruction = f"bowl: {fake_operator.INSTRUCTION}"
    assert [(e.seed, e.instruction) for e in dataset.episodes] == [(1, instruction), (2, instruction)]
    np.testing.assert_array_equal(dataset.read_episode(0).states, make_rows(6, 1)[0])
    assert list(check_dataset(tmp_path)) == []


def test_hopeless_operator_ends_the_recording(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="only 0 of 20 demonstrations of 'bowl' succeeded"):
        run(tmp_path, RecordingOptions(task="bowl", num_episodes=3), fake_operator.never_succeed)


RECORD_MANY = """
import multiprocessing
from pathlib import Path

from tests.wav_policy.recording import fake_operator
from tests.wav_policy.recording.test_demonstrations import RecordingOptions, DatasetWriter, record_demonstrations

def show(progress):
    if progress.kept == 2:
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)

if __name__ == "__main__":
    with DatasetWriter(Path({root!r}), fps=fake_operator.FPS, image_sizes=fake_operator.SIZES) as writer:
        record_demonstrations(writer, fake_operator.demonstrate, RecordingOptions("bowl", 50), show)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_ended_recording_leaves_no_worker_and_resumes(tmp_path: Path, signal_number: signal.Signals) -> None:
    root, script = tmp_path / "dataset", tmp_path / "record_many.py"
    script.write_text(RECORD_MANY.format(root=str(root)))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment, text=True)
    assert process.stdout is not None
    workers = [int(pid) for pid in process.stdout.readline().split()]
    assert len(workers) == 2
    process.send_signal(signal_number)
    process.wait(timeout=20)
    deadline = time.monotonic() + 10.0
    while any(map(is_running, workers)):
        assert time.monotonic() < deadline, "worker processes outlived the recording"
        time.sleep(0.05)
    num_kept = len(Dataset(root))
    assert num_kept >= 2
    run(root, RecordingOptions("bowl", num_kept + 2))
    assert [episode.seed for episode in Dataset(root).episodes] == [s for s in range(99) if s % 3][: num_kept + 2]
    assert list(check_dataset(root)) == []
