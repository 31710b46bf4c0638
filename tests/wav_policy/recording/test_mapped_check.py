"""`wav dataset check --mapping`: another lab's dataset is looked through before it is converted or trained on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.wav_policy.recording.foreign import FPS, KEYS, LENGTHS, make_foreign, record
from tests.wav_policy.recording.stored import IMAGE_TYPE, encoded, picture, write_stored
from wav_models.data.dataset import DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.mapping import DataMapping
from wav_policy.cli.main import main
from wav_policy.robot.joints import JOINT_NAMES, ROBOT

Change = Callable[[Path], object]


def check(source: Path, *options: str, **mapping: Any) -> int:
    file = source.with_suffix(".yaml")
    file.write_text(yaml.safe_dump({"mapping": {"cameras": KEYS, "joints": list(range(14)), **mapping}}))
    return main(["dataset", "check", str(source), "--mapping", str(file), *options])


def rows(source: Path, key: str, cells: dict[int, Any]) -> None:
    """Change cells of a column of the first data file."""
    path = min(source.glob("data/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    column = table[key].to_pylist()
    for row, cell in cells.items():
        column[row] = cell
    kind = IMAGE_TYPE if key in KEYS.values() else table[key].type
    pq.write_table(table.set_column(table.column_names.index(key), key, pa.array(column, kind)), path)


def damage(source: Path, where: float, view: str = "head") -> None:
    """Overwrite some bytes of a camera's first video, at a share of its length."""
    path = min((source / "videos").glob(f"**/*{KEYS[view]}*/**/*0.mp4"))
    content = bytearray(path.read_bytes())
    middle = int(where * len(content))
    content[middle : middle + 400] = b"\xff" * 400
    path.write_bytes(content)


def frozen_from(frame: int) -> dict[int, Any]:
    return {row: {"bytes": encoded(picture("head", frame, 0)), "path": None} for row in range(frame, LENGTHS[0])}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("stored", [True, False])
def test_a_sound_dataset_is_told_as_its_conversion_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str, stored: bool
) -> None:
    source = tmp_path / "theirs"
    if stored:
        write_stored(source, version=version)
    else:
        make_foreign(record(source), names=JOINT_NAMES, version=version)
    for options in ([], ["--fast"]):
        assert check(source, "--json", *options) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["problems"] == []
    assert main(["dataset", "convert", str(source), str(tmp_path / "ours"), "--yes"]) == 0
    capsys.readouterr()
    assert main(["dataset", "check", str(tmp_path / "ours"), "--json"]) == 0
    assert found["facts"] == json.loads(capsys.readouterr().out)["facts"]
    assert check(source, "--json", fps=10) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert (facts["Hz"], facts["frames"]) == (10, sum((length - 1) // 3 + 1 for length in LENGTHS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: rows(s, KEYS["head"], {30: None}), "frame 30 is no image"),
        (lambda s: rows(s, KEYS["head"], {3: {"bytes": b"none", "path": None}}), "frame 3 cannot be decoded"),
        (lambda s: rows(s, KEYS["head"], frozen_from(20)), "the head camera shows one picture for 1.3 s from frame 21"),
        (lambda s: rows(s, "action", {7: [float("nan")] * 14}), "'action' is not finite at frame 7"),
        (lambda s: rows(s, "frame_index", {7: 8}), "frame 7 of 61 is missing or is there twice"),
        (lambda s: rows(s, "timestamp", {7: 7.5 / FPS + 0.01}), "frame 7 has the timestamp 0.260 s"),
        (lambda s: rows(s, "observation.state", {7: [0.0, -2.0, *[0.0] * 12]}), "state left_joint2 runs from -2.000"),
    ],
)
def test_what_is_wrong_is_named_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, message: str
) -> None:
    source = write_stored(tmp_path / "theirs")
    change(source)
    assert check(source) == 1
    assert message in capsys.readouterr().err
    assert check(source, "--episodes", "index != 0") == 0
    mapping = DataMapping(KEYS, joints=tuple(range(14)))
    with pytest.raises(DatasetError, match="see `wav dataset check --mapping FILE`"):
        DatasetGroup([source], ROBOT, {"theirs": mapping}).check()
    DatasetGroup([source], ROBOT, {"theirs": mapping}, {"theirs": "index != 0"}).check()


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_videos_are_decoded_unless_it_is_to_be_fast(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version=version)
    damage(source, 0.4)
    assert check(source) == 1
    said = capsys.readouterr().err
    assert f"episode 0 (data/chunk-000/{'file-000' if version == 'v3.0' else 'episode_000000'}.parquet)" in said
    assert KEYS["head"] in said
    assert '--episodes "index != 0"' in said
    assert check(source, "--fast") == 0
    assert check(source, "--episodes", "index != 0") == 0
    for path in (source / "videos").glob("**/*0.mp4"):
        path.unlink()
    capsys.readouterr()
    assert check(source, "--fast") == 1
    assert capsys.readouterr().err.count("error: episode 0 ") == len(KEYS)


def test_a_video_is_as_long_as_its_episode_also_where_its_end_is_not_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """LeRobot's encoder while recording drops pictures it has no time for; those behind are early by as many frames."""
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    path = max(source.glob("meta/episodes/*/*.parquet"))
    table, end = pq.read_table(path, partitioning=None), f"videos/{KEYS['left_wrist']}/to_timestamp"
    early = pa.array([time - 1 / FPS for time in table[end].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index(end), end, early), path)
    for options in ([], ["--fast"]):
        assert check(source, *options, fps=15) == 1
        said = capsys.readouterr().err
        assert said.count("frame 39, due at 1.300 s, is missing") == said.count("error:") == 1
    assert main(["dataset", "convert", str(source), str(tmp_path / "ours"), "--yes", "--set", "fps=15"]) == 2
    said = capsys.readouterr().err
    assert "frame 39, due at 1.300 s, is missing" in said
    assert '--episodes "index != 1"' in said


def test_an_instruction_is_needed_in_the_table_or_the_mapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_stored(tmp_path / "theirs", version="v2.1")
    path = source / "meta/episodes.jsonl"
    path.write_text(path.read_text().replace('"task 1"', '""'))
    assert check(source) == 1
    assert "the instruction is empty" in capsys.readouterr().err
    assert check(source, instruction="fold the towel") == 0


def test_a_call_that_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_stored(tmp_path / "theirs")
    assert check(source, "--fps", "10") == 1
    assert "recorded at 30 Hz, but 10 Hz is needed" in capsys.readouterr().err
    for options, mapping, message in (
        ([], {"cameras": {**KEYS, "head": "observation.images.cam_hihg"}}, "there is no feature"),
        ([], {"camera": KEYS}, "camera"),
        (["--episodes", "index > 7"], {}, "none of 2 episodes is meant by 'index > 7'"),
        (["--episodes", "indx > 7"], {}, "unknown name 'indx'"),
    ):  # fmt: skip
        assert check(source, *options, **mapping) == 2
        assert message in capsys.readouterr().err
    assert main(["dataset", "check", str(source), "--episodes", "index > 0"]) == 2
    assert "--episodes goes with --mapping" in capsys.readouterr().err


def test_pictures_that_repeat_are_told_of_the_rate_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At half the rate of the rows, a camera of that rate has a picture for each."""
    source = write_stored(tmp_path / "theirs")
    pairs = np.repeat(np.arange(0, LENGTHS[0], 2), 2)[: LENGTHS[0]]
    every_other = {row: {"bytes": encoded(picture("head", frame, 0)), "path": None} for row, frame in enumerate(pairs)}
    rows(source, KEYS["head"], every_other)
    assert check(source) == 0
    assert "of the pictures of the head camera are those of the frame before" in capsys.readouterr().err
    assert check(source, fps=15) == 0
    assert "of the frame before" not in capsys.readouterr().err
