"""Efforts in recordings: a column of the whole dataset, or none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, make_images, make_rows, open_writer, record
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.layout import EFFORT_KEY, STATE_KEY
from wav_policy.recording.episode_recorder import vector_column
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import SOURCES
from wav_policy.robot.joints import JOINT_NAMES


def record_robot(writer: DatasetWriter, length: int, efforts: np.ndarray | None, wanted: bool = True) -> int:
    """An episode as from the robot; `efforts` [14] of every frame, scaled by its number."""
    states, actions = make_rows(length)
    writer.start_episode(INSTRUCTION, efforts=wanted)
    for frame in range(length):
        time, effort = frame / FPS, None if efforts is None else (frame + 1) * efforts
        times = np.full(len(SOURCES), time)
        writer.add_frame(make_images(frame), states[frame], actions[frame], time, times, effort)
    return writer.end_episode()


EFFORTS = np.linspace(-2.0, 1.0, 14).astype(np.float32)


def test_efforts_are_a_column_of_the_whole_dataset(tmp_path: Path) -> None:
    with open_writer(tmp_path, source_times=True) as writer:
        record_robot(writer, 6, EFFORTS)
    with open_writer(tmp_path, source_times=True) as writer:
        assert writer.efforts
        record_robot(writer, 6, EFFORTS, wanted=False)
        assert writer.efforts, "decided with the first episode"
    dataset = Dataset(tmp_path)
    assert dataset.info["features"][EFFORT_KEY]["names"] == list(JOINT_NAMES)
    for index in range(2):
        assert dataset.read_episode(index).efforts is None, "not asked for"
        efforts = dataset.read_episode(index, efforts=True).efforts
        np.testing.assert_array_equal(efforts, np.arange(1, 7)[:, None].astype(np.float32) * EFFORTS)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())[EFFORT_KEY]
    np.testing.assert_allclose(stats["mean"], 3.5 * EFFORTS, rtol=1e-6)
    assert list(check_dataset(tmp_path)) == []


def test_whether_there_are_efforts_is_decided_by_the_first_episode_that_is_kept(tmp_path: Path) -> None:
    with open_writer(tmp_path, source_times=True) as writer:
        writer.start_episode(INSTRUCTION, efforts=True)
        assert EFFORT_KEY in json.loads((tmp_path / "meta/info.json").read_text())["features"]
        writer.discard_episode()
        record_robot(writer, 6, None, wanted=False)
        record_robot(writer, 6, None, wanted=True)
        assert not writer.efforts
    assert [episode.efforts for episode in Dataset(tmp_path)] == [None, None]
    assert list(check_dataset(tmp_path)) == []


@pytest.mark.parametrize(
    ("is_wanted", "effort", "words"),
    [
        (True, None, "frame 0: the recording needs observation.effort"),
        (False, EFFORTS, "frame 0: the recording was not made for observation.effort"),
        (True, np.full(14, np.nan), "frame 0: observation.effort is not finite: left_joint1=nan"),
        (True, EFFORTS[:7], r"frame 0: observation.effort has shape \[7\], expected \[14\]"),
    ],
)
def test_efforts_are_whole_or_not_there(tmp_path: Path, is_wanted: bool, effort: np.ndarray | None, words: str) -> None:
    with open_writer(tmp_path, source_times=True) as writer, pytest.raises(ValueError, match=words):
        record_robot(writer, 6, effort, wanted=is_wanted)


def test_demonstrations_do_not_go_into_a_dataset_with_efforts(tmp_path: Path) -> None:
    """Of another robot: without the capture times that ours have."""
    with open_writer(tmp_path) as writer:
        record(writer, 6)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    info["features"][EFFORT_KEY] = info["features"][STATE_KEY]
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="recorded from a robot, with observation.effort; use another directory"):
        open_writer(tmp_path)


@pytest.mark.parametrize(
    ("efforts", "words"),
    [
        (np.zeros(14), "observation.effort is zero throughout"),
        (1000 * np.ones(14), "observation.effort left_joint1 reaches 6e.03: not in N m"),
        (np.full(14, np.nan), "'observation.effort' is not finite at frame 0"),
    ],
)
def test_the_check_knows_efforts_that_were_not_measured(tmp_path: Path, efforts: np.ndarray, words: str) -> None:
    with open_writer(tmp_path, source_times=True) as writer:
        record_robot(writer, 6, np.ones(14))
    path = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    rows = np.arange(1, 7)[:, None] * efforts
    column = vector_column(rows.astype(np.float32))
    pq.write_table(table.set_column(table.column_names.index(EFFORT_KEY), EFFORT_KEY, column), path)
    problems = list(check_dataset(tmp_path))
    assert problems
    assert all(problem.severity == "warning" for problem in problems)
    assert re.search(words, str(problems[0]))
    assert len(Dataset(tmp_path).read_episode(0)) == 6, "other people's efforts do not keep a dataset from being used"
