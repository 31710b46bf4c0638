"""What a hurried user gives a conversion: targets that are taken, tables from other editors, half of a mapping."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.foreign import KEYS
from tests.wav_policy.recording.stored import write_stored
from wav_models.data.dataset import DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.suggestion import suggest
from wav_policy.cli.main import main
from wav_policy.recording.conversion import convert_dataset
from wav_policy.robot.joints import ROBOT

PLAIN = DataMapping(KEYS, joints=tuple(range(14)))


def opened(source: Path) -> MappedDataset:
    return MappedDataset(source, PLAIN, ROBOT)


def _link(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("ours", Path.touch, "ours is no directory; convert into a new one"),
        ("ours", _link, "ours is no directory; convert into a new one"),
        ("ours/x", lambda path: path.parent.touch(), "nothing was written there"),
        ("x" * 250, lambda path: None, "name too long"),
        ("ours.unfinished", lambda path: None, "is of conversions that did not end; name it otherwise"),
        ("ours", lambda path: path.with_name("ours.unfinished").touch(), "ours.unfinished is in the way"),
        ("ours", lambda path: path.with_name("ours.unfinished").mkdir(), "ours.unfinished is in the way"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_nothing_is_lost(
    tmp_path: Path, name: str, make: Callable[[Path], None], message: str
) -> None:
    source = opened(write_stored(tmp_path / "theirs"))
    make(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((DatasetError, OSError), match=message):
        convert_dataset(source, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def lines_of(source: Path, change: Callable[[dict[str, Any]], dict[str, Any]], before: str = "") -> Path:
    path = source / "meta/episodes.jsonl"
    rows = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text(before + "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return source


def test_tables_of_other_editors_are_read(tmp_path: Path) -> None:
    """A mark before the first letter, and characters that end a line elsewhere than in a file of JSON lines."""
    source = write_stored(tmp_path / "theirs", version="v2.1")
    lines_of(source, lambda row: row | {"tasks": ["fold\u2028the\x85🧺"]}, before="\ufeff")
    path = source / "meta/info.json"
    path.write_text("\ufeff" + path.read_text())
    assert {episode.instruction for episode in opened(source).episodes} == {"fold\u2028the\x85🧺"}


@pytest.mark.parametrize(
    "row",
    [{"episode_index": -1}, {"episode_index": 0.5}, {"length": 60.5}, {"length": -1}],
)
def test_a_number_that_counts_nothing_is_damage(tmp_path: Path, row: dict[str, Any]) -> None:
    source = lines_of(write_stored(tmp_path / "theirs", version="v2.1"), lambda line: line | row)
    with pytest.raises(DatasetError, match=r"episodes\.jsonl: episode .* is damaged"):
        opened(source)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_without_a_line_of_their_own_have_the_task_of_their_frames(tmp_path: Path, version: str) -> None:
    """An instruction for all of them would be wrong for some."""
    source = write_stored(tmp_path / "theirs", version=version, table={"tasks": [[], None]})
    if version == "v2.1":
        tasks = [{"task_index": 1, "task": "put"}, {"task_index": 0, "task": "fold"}]
        (source / "meta/tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    else:
        pq.write_table(pa.table({"task_index": [1, 0], "task": ["put", "fold"]}), source / "meta/tasks.parquet")
    said = DataMapping(KEYS, joints=PLAIN.joints, instruction="said")
    assert [episode.instruction for episode in MappedDataset(source, said, ROBOT).episodes] == ["fold", "put"]
    path = min(source.glob("data/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    numbers = [1] * 30 + [0] * (table.num_rows - 30)
    column = table.column_names.index("task_index")
    pq.write_table(table.set_column(column, "task_index", pa.array(numbers)), path)
    dataset = opened(source)
    assert (dataset.episodes[0].instruction, dataset.ambiguous) == ("put", [0])


@pytest.mark.parametrize(
    "pattern", ["data/{chunk_index:099999999999d}", "{file_index.__class__}", "{file_index!r}", "{}", "{", 3]
)
def test_a_pattern_of_paths_is_lerobots_or_none(tmp_path: Path, pattern: Any) -> None:
    source = write_stored(tmp_path / "theirs", info={"data_path": pattern})
    with pytest.raises(
        DatasetError, match=r"info\.json: data_path is .*; LeRobot's is 'data/chunk-\{chunk_index:03d\}"
    ):
        opened(source)


def test_a_file_that_cannot_be_read_is_left_out_with_all_its_episodes(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs")
    path = next(source.glob("data/*/*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match="there is no other episode: restore it from a copy"):
        opened(source).read_episode(0)
    table = next(source.glob("meta/episodes/*/*.parquet"))
    rows = pq.read_table(table, partitioning=None).to_pylist()
    rows += [row | {"episode_index": 2 + row["episode_index"], "data/file_index": 1} for row in rows]
    pq.write_table(pa.Table.from_pylist(rows), table)
    with pytest.raises(DatasetError, match=r'to leave it out: --episodes "index not in \[0, 1\]"'):
        opened(source).read_episode(1)


def test_a_column_that_is_there_twice_is_named(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs", version="v2.1")
    path = min(source.glob("data/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.append_column("action", table["action"]), path)
    with pytest.raises(DatasetError, match="column 'action' is there twice"):
        opened(source).read_episode(0)


def test_the_camera_that_is_asked_for_can_be_said_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_stored(tmp_path / "theirs")
    path = source / "meta/info.json"
    path.write_text(path.read_text().replace("observation.images.cam_high", "observation.images.kitchen"))
    for data in source.glob("data/*/*.parquet"):
        table = pq.read_table(data, partitioning=None)
        names = [name.replace("cam_high", "kitchen") for name in table.column_names]
        pq.write_table(table.rename_columns(names), data)
    path.write_text(
        json.dumps(
            (info := json.loads(path.read_text()))
            | {"features": {**info["features"], "observation.images.door": info["features"][KEYS["left_wrist"]]}}
        )
    )
    assert main(["dataset", "convert", str(source), str(tmp_path / "ours")]) == 2
    assert "which camera is head? `cameras: {head: ...}`" in capsys.readouterr().out
    said = suggest(source, {"cameras": {"head": "observation.images.kitchen"}}, ROBOT)
    assert said.undecided == []
    with pytest.raises(ValueError, match="unknown view 'top'"):
        suggest(source, {"cameras": {"top": "observation.images.kitchen"}}, ROBOT)
    assert said.mapping.cameras == {**KEYS, "head": "observation.images.kitchen"}


def test_no_rate_is_beyond_the_robots(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs")
    with pytest.raises(DatasetError, match="fps: 100000 Hz; bimanual_piper takes 200 commands a second at most"):
        MappedDataset(source, DataMapping(KEYS, joints=PLAIN.joints, fps=100000), ROBOT)


def test_an_episode_without_frames_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_stored(tmp_path / "theirs", version="v2.1")
    lines_of(source, lambda line: line | {"length": 0} if line["episode_index"] == 0 else line)
    path = min(source.glob("data/*/*.parquet"))
    pq.write_table(pq.read_table(path, partitioning=None).slice(0, 0), path)
    assert suggest(source, {}, ROBOT).undecided == []
    (tmp_path / "m.json").write_text(json.dumps({"cameras": KEYS, "joints": list(range(14))}))
    show = ["dataset", "show", str(source), "--mapping", str(tmp_path / "m.json"), "--out", str(tmp_path / "p.png")]
    for command in (["dataset", "convert", str(source), str(tmp_path / "ours"), "--yes"], show):
        assert main(command) == 2
        assert 'episode 0 has no frames; to leave it out: --episodes "index != 0"' in capsys.readouterr().err
    with pytest.raises(DatasetError, match="episode 0 has no frames"):
        DatasetGroup([source], ROBOT, {"theirs": PLAIN}).check()
    DatasetGroup([source], ROBOT, {"theirs": PLAIN}, {"theirs": "index != 0"}).check()
