from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.fake_operator import (
    FPS,
    INSTRUCTION,
    SIZES,
    make_images,
    make_rows,
    open_writer,
    record,
)
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.layout import EPISODE_FACTS, STATE_KEY
from wav_models.data.video_reader import inspect_video
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.recording import episode_writer
from wav_policy.recording.episode_recorder import StagedEpisode
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.joints import JOINT_NAMES


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        assert [record(writer, 12, seed, success=seed == 0, noise=0.5, note="x") for seed in range(2)] == [0, 1]
    dataset = Dataset(tmp_path)
    assert dataset.fps == FPS
    assert [(e.seed, e.success, e.noise, e.extra) for e in dataset.episodes] == [
        (0, True, 0.5, {"note": "x"}),
        (1, False, 0.5, {"note": "x"}),
    ]
    for seed, episode in enumerate(dataset):
        states, actions = make_rows(12, seed)
        np.testing.assert_array_equal(episode.states, states)
        np.testing.assert_array_equal(episode.actions, actions)
        np.testing.assert_array_equal(episode.capture_times, 100.0 + np.arange(12) / FPS)
        assert episode.instruction == INSTRUCTION
        assert episode.info.achieved_fps == pytest.approx(FPS)
        for view in SIZES:
            original = np.stack([make_images(frame, seed)[view] for frame in range(12)]).astype(float)
            error = np.abs(episode.images(view) - original)
            assert error.mean() < 4.0, f"{view}: codec error {error.mean():.1f}"


def test_layout_is_lerobot_v3(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 3, 0)
        record(writer, 4, 1)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", FPS, 2, 7)
    assert info["splits"] == {"train": "0:2"}
    assert info["features"][STATE_KEY] == {"dtype": "float32", "shape": [14], "names": list(JOINT_NAMES)}
    assert info["features"]["observation.images.top_head"]["shape"] == [48, 64, 3]
    assert not any("/" in name for name in info["features"])
    tables = [pq.read_table(path) for path in sorted((tmp_path / "data").glob("*/*.parquet"))]
    stored = {name for name, feature in info["features"].items() if feature["dtype"] != "video"}
    assert all(set(table.column_names) == stored for table in tables)
    assert [i for table in tables for i in table["index"].to_pylist()] == list(range(7))
    np.testing.assert_array_equal(tables[1]["timestamp"].to_numpy(), (np.arange(4) / FPS).astype(np.float32))
    (row,) = pq.read_table(tmp_path / "meta/episodes/chunk-000/file-001.parquet").to_pylist()
    assert (row["dataset_from_index"], row["dataset_to_index"], row["tasks"]) == (3, 7, [INSTRUCTION])
    assert row["videos/observation.images.top_head/to_timestamp"] == pytest.approx(0.4)
    tasks = pq.read_table(tmp_path / "meta/tasks.parquet")
    assert tasks.to_pylist() == [{"task_index": 0, "task": INSTRUCTION}]
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_those_of_all_frames(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        for seed, length in enumerate((5, 20, 11)):
            record(writer, length, seed)
    states = np.concatenate([make_rows(length, seed)[0] for seed, length in enumerate((5, 20, 11))]).astype(float)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    np.testing.assert_allclose(stats[STATE_KEY]["mean"], states.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(stats[STATE_KEY]["std"], states.std(axis=0), atol=1e-12)
    np.testing.assert_array_equal(stats[STATE_KEY]["max"], states.max(axis=0))
    assert stats[STATE_KEY]["count"] == [36]
    image = stats["observation.images.top_head"]
    assert np.shape(image["mean"]) == (3, 1, 1)
    assert 0.0 <= np.min(image["q01"]) <= np.max(image["q99"]) <= 1.0
    assert image["mean"][0][0][0] == pytest.approx((60 + np.arange(0, 64, 8)).mean() / 255)


def test_rows_are_kept_when_their_arrays_are_used_again(tmp_path: Path) -> None:
    states, actions = (rows.astype(np.float32) for rows in make_rows(4, 0))
    with open_writer(tmp_path) as writer:
        writer.start_episode(INSTRUCTION)
        state, action = np.empty(14, np.float32), np.empty(14, np.float32)
        for number in range(4):
            state[:], action[:] = states[number], actions[number]
            writer.add_frame(make_images(number), state, action, number / FPS)
        writer.end_episode()
    episode = Dataset(tmp_path).read_episode(0)
    np.testing.assert_array_equal(episode.states, states)
    np.testing.assert_array_equal(episode.actions, actions)


def test_every_episode_has_its_own_instruction(tmp_path: Path) -> None:
    instructions = ["stack the plates", "open the drawer", "stack the plates"]
    with open_writer(tmp_path) as writer:
        for instruction in instructions:
            writer.start_episode(instruction)
            for number in range(2):
                writer.add_frame(make_images(number), np.zeros(14), np.zeros(14), number / FPS)
            writer.end_episode()
    assert [episode.instruction for episode in Dataset(tmp_path).episodes] == instructions
    tables = [pq.read_table(path, partitioning=None) for path in sorted((tmp_path / "data").glob("*/*.parquet"))]
    assert [table["task_index"].to_pylist() for table in tables] == [[0, 0], [1, 1], [0, 0]]
    assert pq.read_table(tmp_path / "meta/tasks.parquet")["task"].to_pylist() == instructions[:2]


def test_discard_leaves_no_trace(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        writer.start_episode(INSTRUCTION)
        writer.add_frame(make_images(0), np.zeros(14), np.zeros(14), 0.0)
        writer.discard_episode()
        writer.start_episode(INSTRUCTION)
        writer.discard_episode()
        assert record(writer, 3) == 0
    assert len(Dataset(tmp_path)) == 1


def frame(**changes: object) -> dict[str, object]:
    return {"images": make_images(0), "state": np.zeros(14), "action": np.zeros(14), "capture_time": 1.0, **changes}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": np.zeros(7)}, r"observation\.state has shape \[7\], expected \[14\]"),
        ({"action": np.r_[np.zeros(6), np.nan, np.zeros(7)]}, r"action is not finite: left_gripper=nan"),
        ({"images": {**make_images(0), "head": np.zeros((48, 65, 3), np.uint8)}}, r"head image is uint8 \[48, 65, 3\]"),
        ({"images": {**make_images(0), "head": np.zeros((48, 64, 3))}}, r"head image is float64"),
        ({"images": {"head": make_images(0)["head"]}}, r"views \['head'\], expected"),
        ({"capture_time": 0.0}, r"frame 1: capture_time 0\.0 is not after"),
        ({"capture_time": float("nan")}, r"capture_time is nan"),
    ],
)
def test_invalid_frame_is_refused_whole(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with open_writer(tmp_path) as writer:
        writer.start_episode(INSTRUCTION)
        writer.add_frame(**frame(capture_time=0.0))  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=message):
            writer.add_frame(**frame(**changes))  # type: ignore[arg-type]
        writer.add_frame(**frame())  # type: ignore[arg-type]
        writer.end_episode()
    assert len(Dataset(tmp_path).read_episode(0)) == 2
    video = tmp_path / "videos/observation.images.top_head/chunk-000/file-000.mp4"
    assert inspect_video(video, decode=True).num_frames == inspect_video(video, decode=False).num_frames == 2


def test_slow_episode_is_flagged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_writer(tmp_path) as writer:
        writer.start_episode(INSTRUCTION)
        for i in range(5):
            writer.add_frame(make_images(i), np.zeros(14), np.zeros(14), i / 8.0)
        writer.end_episode()
    assert "recorded at 8.00 Hz" in caplog.text
    assert Dataset(tmp_path).episodes[0].achieved_fps == pytest.approx(8.0)


def test_other_rate_and_second_writer_are_refused(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 3)
        with pytest.raises(DatasetError, match="another process"):
            open_writer(tmp_path)
    with pytest.raises(DatasetError, match="fps is 10, not 30"):
        open_writer(tmp_path, fps=30)


WRITE_FOREVER = """
from pathlib import Path
from tests.wav_policy.recording.test_episode_writer import open_writer, record
writer = open_writer(Path({root!r}))
while True:
    print(record(writer, 6, writer.num_episodes), flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.009, 0.017, 0.031])
def test_kill_at_any_moment_loses_no_finished_episode(tmp_path: Path, delay: float) -> None:
    script = textwrap.dedent(WRITE_FOREVER).format(root=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    reported = 0
    while reported < 2:
        reported = int(process.stdout.readline())
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    reported = max([reported, *map(int, process.stdout.read().split())])
    process.wait()

    before = Dataset(tmp_path)
    assert len(before) >= reported + 1
    with open_writer(tmp_path) as writer:
        assert record(writer, 6, len(before)) == len(before)
    dataset = Dataset(tmp_path)
    assert len(dataset) == len(before) + 1
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"]) == (len(dataset), 6 * len(dataset))
    for seed, episode in enumerate(dataset):
        np.testing.assert_array_equal(episode.states, make_rows(6, seed)[0])
        assert all(len(episode.images(view)) == 6 for view in SIZES)
    assert len(list((tmp_path / "data").rglob("*"))) == len(dataset) + 1
    indices = [i for path in sorted((tmp_path / "data").glob("*/*")) for i in pq.read_table(path)["index"].to_pylist()]
    assert indices == list(range(6 * len(dataset)))


@pytest.mark.parametrize("fails", ["write_json", "remove"])
def test_a_disk_that_is_full_after_the_commit_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with open_writer(tmp_path) as writer:
        commit = writer.commit

        def commit_on_a_full_disk(episode: StagedEpisode) -> int:
            monkeypatch.setattr(episode_writer if fails == "write_json" else StagedEpisode, fails, fail)
            return commit(episode)

        monkeypatch.setattr(writer, "commit", commit_on_a_full_disk)
        assert record(writer, 3) == 0
        assert writer.num_episodes == 1
        monkeypatch.undo()
    assert "episode 0 is safe" in caplog.text
    assert "No space left on device" in caplog.text
    assert json.loads((tmp_path / "meta/info.json").read_text())["total_episodes"] == 0
    open_writer(tmp_path).close()
    assert json.loads((tmp_path / "meta/info.json").read_text())["total_episodes"] == 1
    assert [problem for problem in check_dataset(tmp_path) if problem.severity == "error"] == []
    assert [path.name for path in (tmp_path / ".staging").iterdir()] == ["lock"]


def test_interrupted_commit_is_undone(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 3, 0)
        told = (tmp_path / "meta/info.json").read_bytes()
        record(writer, 4, 1)
    (tmp_path / "meta/episodes/chunk-000/file-001.parquet").unlink()
    (tmp_path / "meta/info.json").write_bytes(told)  # it is written after the line
    (tmp_path / "data/chunk-000/.file-001.parquet.partial").write_bytes(b"PAR1")
    with open_writer(tmp_path) as writer:
        assert writer.num_frames == 3
        assert not (tmp_path / "data/chunk-000/file-001.parquet").exists()
        assert not list(tmp_path.rglob("*.partial"))
        assert record(writer, 5, 2) == 1
    assert [len(episode) for episode in Dataset(tmp_path)] == [3, 5]


def test_a_removal_that_ends_half_way_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its line is gone, and not taken for lost."""
    with open_writer(tmp_path) as writer:
        for seed in range(2):
            record(writer, 4, seed)
        monkeypatch.setattr(episode_writer, "sync", MagicMock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.remove_last()
    monkeypatch.undo()
    with open_writer(tmp_path) as writer:
        assert writer.num_episodes == 1
        assert not (tmp_path / "data/chunk-000/file-001.parquet").exists()
        assert record(writer, 5, 2) == 1


def split_off(root: Path, kept: int) -> None:
    """Leave one episode, numbered 0, with its files where they are: as LeRobot's split and delete do."""
    for path in sorted((root / "meta/episodes").glob("*/*.parquet")):
        table = pq.read_table(path, partitioning=None)
        if table["episode_index"].to_pylist() != [kept]:
            path.unlink()
            continue
        length = table["length"].to_pylist()[0]
        for name, value in {"episode_index": 0, "dataset_from_index": 0, "dataset_to_index": length}.items():
            place = table.column_names.index(name)
            table = table.set_column(place, name, pa.array([value], table.schema.field(name).type))
        pq.write_table(table, path)
    data = root / f"data/chunk-000/file-{kept:03d}.parquet"
    table = pq.read_table(data, partitioning=None)
    for name, values in {"episode_index": np.zeros(len(table)), "index": np.arange(len(table))}.items():
        table = table.set_column(table.column_names.index(name), name, pa.array(values.astype(np.int64)))
    pq.write_table(table, data)
    info = json.loads((root / "meta/info.json").read_text())
    info.update(total_episodes=1, total_frames=len(table))
    (root / "meta/info.json").write_text(json.dumps(info))


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_nothing_that_an_episode_refers_to_is_removed(tmp_path: Path, kept: int) -> None:
    with open_writer(tmp_path) as writer:
        for seed in range(3):
            record(writer, 6, seed)
    split_off(tmp_path, kept)
    files = sorted(path for path in tmp_path.rglob(f"file-{kept:03d}.*"))
    assert len(files) == 5
    with open_writer(tmp_path) as writer:
        assert record(writer, 6, 7) == 1
    assert all(path.is_file() for path in files)
    dataset = Dataset(tmp_path)
    np.testing.assert_array_equal(dataset.read_episode(0).states, make_rows(6, kept)[0])
    np.testing.assert_array_equal(dataset.read_episode(1).states, make_rows(6, 7)[0])
    np.testing.assert_allclose(dataset.read_episode(1).images("head", [2])[0], make_images(2, 7)["head"], atol=24)


def test_an_episode_table_in_one_file_is_appended_to(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        for seed in range(2):
            record(writer, 6, seed)
    files = sorted((tmp_path / "meta/episodes").glob("*/*.parquet"))
    rows = [pq.read_table(path, partitioning=None) for path in files]
    for path in files:
        path.unlink()
    pq.write_table(pa.concat_tables(rows), files[0])
    with open_writer(tmp_path) as writer:
        assert record(writer, 6, 2) == 2
        writer.remove_last()
        assert writer.num_episodes == 2
        with pytest.raises(DatasetError, match="shares this file with others"):
            writer.remove_last()
    for seed, episode in enumerate(Dataset(tmp_path)):
        np.testing.assert_array_equal(episode.states, make_rows(6, seed)[0])


@pytest.mark.parametrize("lines", [(0, 1), (1,)])
def test_lines_of_a_writer_without_quantiles_are_appended_to(tmp_path: Path, lines: tuple[int, ...]) -> None:
    with open_writer(tmp_path) as writer:
        for seed in range(2):
            record(writer, 6, seed)
    files = sorted((tmp_path / "meta/episodes").glob("*/*.parquet"))
    table = pa.concat_tables(pq.read_table(path, partitioning=None) for path in files)
    names = [f"stats/{STATE_KEY}/q01", "stats/action/mean"]
    for name in names:
        kept = [value if line not in lines else None for line, value in enumerate(table[name].to_pylist())]
        table = table.set_column(table.column_names.index(name), name, pa.array(kept, table[name].type))
    files[1].unlink()
    pq.write_table(table, files[0])
    with open_writer(tmp_path) as writer:
        record(writer, 6, 2)
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    assert [name in stats[STATE_KEY] for name in ("q01", "q99")] == [False, True]
    np.testing.assert_allclose(stats[STATE_KEY]["min"], np.min([make_rows(6, s)[0].min(axis=0) for s in range(3)], 0))
    assert stats["action"]["count"] == [6 * (3 - len(lines))]  # of the lines that have what every writer has


def test_what_is_made_of_links_is_read_and_not_written_to(tmp_path: Path) -> None:
    """A snapshot in the cache of the Hugging Face hub: other programs take it for what was downloaded."""
    blobs, root = tmp_path / "blobs", tmp_path / "snapshots" / "0 1"
    with open_writer(blobs) as writer:
        record(writer, 6, 0)
    for path in [path for path in blobs.rglob("*.*") if path.is_file()]:
        link = root / path.relative_to(blobs)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    before = sorted(root.rglob("*"))
    np.testing.assert_array_equal(Dataset(root).read_episode(0).states, make_rows(6, 0)[0])
    assert not [problem for problem in check_dataset(root) if "links" in str(problem)]
    for write in (lambda: open_writer(root), lambda: label_dataset(root, LabelConfig())):
        with pytest.raises(DatasetError, match="its files are links.*cp -rL '"):
            write()
    assert sorted(root.rglob("*")) == before
    subprocess.run(["cp", "-rL", root, tmp_path / "copy"], check=True)
    with open_writer(tmp_path / "copy") as writer:
        assert record(writer, 6, 1) == 1


def drop_columns(root: Path, names: list[str]) -> None:
    for path in (root / "meta/episodes").glob("*/*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(names), path)


def test_marks_outlive_the_columns_that_editing_tools_drop(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        for success in (True, False, None):
            writer.start_episode(INSTRUCTION, {"seed": 40, "success": success} if success is not None else {})
            for frame, (state, action) in enumerate(zip(*make_rows(4), strict=True)):
                writer.add_frame(make_images(frame), state, action, frame / FPS)
            writer.end_episode()
    drop_columns(tmp_path, ["success", "seed", "noise", "extra", "achieved_fps"])
    assert [(info.success, info.seed) for info in Dataset(tmp_path).episodes] == [(True, 40), (False, 40), (None, None)]


def test_the_episode_table_has_one_set_of_columns(tmp_path: Path) -> None:
    """LeRobot's loader refuses a table of which a later file has more columns; its delete and split drop ours."""
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES) as writer:
        record(writer, 5, 0)
    path = tmp_path / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.drop_columns(["seed", "success", "noise", "extra", "achieved_fps"]), path)
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES) as writer:
        record(writer, 5, 1)
    schemas = [pq.read_schema(file) for file in sorted((tmp_path / "meta/episodes").glob("*/*.parquet"))]
    assert {field.name: field.type for field in schemas[0]} == {field.name: field.type for field in schemas[1]}


def test_a_dataset_with_features_that_are_not_recorded_is_not_recorded_into(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES) as writer:
        record(writer, 5, 0)
    path = tmp_path / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["note"] = {"dtype": "float32", "shape": [1], "names": None}
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"feature 'note' is not recorded here"):
        DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES)


def test_datasets_of_before_the_marks_are_read_and_appended_to(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 6, 3)
    info = json.loads((tmp_path / "meta/info.json").read_text())
    data = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(data, partitioning=None)
    for key in EPISODE_FACTS.values():
        info["features"].pop(key)
        table = table.drop_columns([key])
    pq.write_table(table, data)
    (tmp_path / "meta/info.json").write_text(json.dumps(info))
    with open_writer(tmp_path) as writer:
        record(writer, 6, 4)
    first, second = (pq.read_schema(path) for path in sorted((tmp_path / "data").glob("*/*.parquet")))
    assert first.names == second.names
    assert len(Dataset(tmp_path)) == 2


def test_the_lock_cannot_be_deleted(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 4, 0)
        (tmp_path / ".staging/lock").unlink()
        with pytest.raises(DatasetError, match="another process writes to this dataset"):
            open_writer(tmp_path)


def test_a_directory_that_went_away_is_noticed(tmp_path: Path) -> None:
    root = tmp_path / "dataset"
    with open_writer(root) as writer:
        record(writer, 4, 0)
        os.rename(root, tmp_path / "elsewhere")
        with pytest.raises((DatasetError, OSError)):
            record(writer, 4, 1)
        with open_writer(root) as other:
            assert other.num_episodes == 0
            with pytest.raises(DatasetError, match="deleted or replaced while it was open"):
                record(writer, 4, 2)
    assert len(Dataset(tmp_path / "elsewhere")) == 1


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"features": null}', "[" * 100_000, "\x00" * 100])
@pytest.mark.parametrize("name", ["info.json", "tasks.parquet", "episodes/chunk-000/file-001.parquet"])
def test_damaged_metadata_is_a_named_error_and_nothing_is_lost(tmp_path: Path, name: str, content: str) -> None:
    with open_writer(tmp_path) as writer:
        for seed in range(2):
            record(writer, 4, seed)
    path = tmp_path / "meta" / name
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and p != path and ".staging" not in str(p)}
    path.write_text(content)
    with pytest.raises(DatasetError, match=path.name):
        open_writer(tmp_path)
    assert all(p.read_bytes() == content for p, content in before.items())


LAST_LINE = "meta/episodes/chunk-000/file-002.parquet"


@pytest.mark.parametrize("lost", ["meta", "meta/info.json", "meta/episodes", "two lines", LAST_LINE])
def test_what_lost_its_table_is_not_taken_for_leftovers(tmp_path: Path, lost: str) -> None:
    with open_writer(tmp_path) as writer:
        for seed in range(3):
            record(writer, 4, seed)
    for name in [f"meta/episodes/chunk-000/file-00{n}.parquet" for n in (1, 2)] if lost == "two lines" else [lost]:
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = {path for path in tmp_path.rglob("*") if path.suffix in (".parquet", ".mp4")}
    with pytest.raises(DatasetError, match="restore it from a copy, or use another directory"):
        open_writer(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.suffix in (".parquet", ".mp4")} == before
    if lost == "two lines":  # nor is it forgotten that they were there
        with pytest.raises(DatasetError, match="has 1 episode, meta/info.json tells 3; restore"):
            label_dataset(tmp_path, LabelConfig(image_size=(16, 16)))
        problems = [str(problem) for problem in check_dataset(tmp_path)]
        assert any("total_episodes is 3" in text and "are lost: restore" in text for text in problems)
        assert not any("delete it" in text or "repairs it" in text for text in problems)


def test_where_a_dataset_cannot_be_locked_nobody_else_is_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(DatasetError, match=r"cannot be locked here \(Bad file descriptor\).*network file system"):
        DatasetWriter(tmp_path / "dataset", fps=FPS)


def record_two_and_edit(root: Path, column: str, value: Any) -> None:
    """Two episodes; the table then says something else of the second one."""
    with open_writer(root) as writer:
        for seed in range(2):
            record(writer, 4, seed)
    path = root / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index(column)
    pq.write_table(table.set_column(place, column, pa.array([value])), path)


@pytest.mark.parametrize("mean", [[1.0, 2.0, 3.0], [], [["a"]]])
def test_statistics_that_do_not_fit_are_named_and_nothing_is_lost(tmp_path: Path, mean: list[Any]) -> None:
    """As after an edit by hand of the episode table."""
    record_two_and_edit(tmp_path, "stats/action/mean", mean)
    with pytest.raises(DatasetError, match=r"file-001\.parquet: statistics of episode 1 that do not fit the others"):
        open_writer(tmp_path)
    assert len(Dataset(tmp_path)) == 2


@pytest.mark.parametrize("told", [10**6, "x", None])
def test_frames_are_numbered_by_what_there_is(tmp_path: Path, told: Any) -> None:
    """Not by what the last line of the episode table says of itself."""
    record_two_and_edit(tmp_path, "dataset_to_index", told)
    with open_writer(tmp_path) as writer:
        assert record(writer, 4, 2) == 2
    data = pq.read_table(tmp_path / "data/chunk-000/file-002.parquet", partitioning=None)
    assert data["index"].to_pylist() == [8, 9, 10, 11]


def test_a_feature_that_is_no_description_is_named(tmp_path: Path) -> None:
    with open_writer(tmp_path) as writer:
        record(writer, 4, 0)
    path = tmp_path / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["episode_success"] = "by hand"
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match=r"info\.json: episode_success has shape None"):
        open_writer(tmp_path)
