"""Datasets that others edited, cut or wrote in their own way; conversions that end early."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.fake_operator import make_images
from tests.wav_policy.recording.foreign import ALOHA, KEYS, LENGTHS, Change, in_units, make_foreign, motion, record
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.lock import DatasetLock
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.suggestion import suggest
from wav_models.types import FloatArray
from wav_policy.cli.main import main
from wav_policy.robot.joints import GRIPPERS, JOINT_NAMES, ROBOT


def convert(source: Path, target: Path, *options: str) -> int:
    return main(["dataset", "convert", str(source), str(target), "--yes", *options])


def require_recorded(target: Path, numbers: Sequence[int] = (0, 1)) -> None:
    """The episodes of these numbers are what was recorded."""
    converted = list(Dataset(target))
    assert len(converted) == len(numbers)
    for episode, number in zip(converted, numbers, strict=True):
        states, actions = motion(LENGTHS[number], number)
        np.testing.assert_allclose(episode.states, states, atol=1e-5)
        np.testing.assert_allclose(episode.actions, actions, atol=1e-5)
        assert episode.info.extra["source_episode"] == number
        blue = [make_images(frame, number)["head"][..., 2].mean() for frame in range(len(episode))]
        assert np.corrcoef(episode.images("head")[..., 2].mean(axis=(1, 2)), blue)[0, 1] > 0.999


def change_rows(source: Path, change: Callable[[pa.Table], pa.Table], file: int = 0) -> Path:
    path = sorted(source.glob("data/*/*.parquet"))[file]
    pq.write_table(change(pq.read_table(path, partitioning=None)), path)
    return source


def change_features(source: Path, **features: dict[str, Any]) -> Path:
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    for key, feature in features.items():
        info["features"][key] |= feature
    path.write_text(json.dumps(info))
    return source


def with_times(change: Callable[[Any], Any]) -> Callable[[pa.Table], pa.Table]:
    def changed(table: pa.Table) -> pa.Table:
        times = change(table["timestamp"].to_numpy().astype(np.float64))
        return table.set_column(table.column_names.index("timestamp"), "timestamp", pa.array(times))

    return changed


def test_rows_in_another_order_are_those_of_their_frames(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    change_rows(source, lambda table: table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows))))
    assert convert(source, tmp_path / "ours") == 0
    require_recorded(tmp_path / "ours")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_times(lambda t: t * 30 / 24), "frame 3 has the timestamp 0.125 s; at 30 Hz"),
        (with_times(lambda t: t + (t > 1.0)), "frame 31 has the timestamp 2.033 s"),
        (with_times(lambda t: t + 1.7e9), "frame 0 has the timestamp 1700000000.000 s"),
        (lambda table: table.take(pa.array([*range(10), 9, *range(11, table.num_rows)])), "frame 10 of 61 is missing"),
        (lambda table: table.slice(0, 30), "30 frames, the episode table says 61"),
    ],
)
def test_rows_that_are_not_at_their_frames_times_are_refused_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    source = change_rows(make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES), change)
    assert convert(source, tmp_path / "ours") == 2
    said = capsys.readouterr().err
    assert message in said
    assert '--episodes "index != 0"' in said
    assert convert(source, tmp_path / "ours", "--episodes", "index != 0") == 0
    require_recorded(tmp_path / "ours", [1])


def test_stamps_that_are_hardly_off_do_not_matter(tmp_path: Path) -> None:
    jitter = np.random.default_rng(0).uniform(-0.012, 0.012, LENGTHS[0])
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    assert convert(change_rows(source, with_times(lambda t: t + jitter)), tmp_path / "ours") == 0
    require_recorded(tmp_path / "ours")


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_episodes_that_were_taken_out_leave_a_gap(tmp_path: Path, version: str) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version=version)
    if version == "v2.1":
        table = source / "meta/episodes.jsonl"
        table.write_text(table.read_text().splitlines()[1] + "\n")
    else:
        min(source.glob("meta/episodes/*/*.parquet")).unlink()
    assert convert(source, tmp_path / "ours") == 0
    require_recorded(tmp_path / "ours", [1])


@pytest.mark.parametrize(
    ("line", "instruction", "success"),
    [
        ({"tasks": "fold the towel"}, "fold the towel", None),
        ({"tasks": ["fold the towel", "rest"]}, "fold the towel", None),
        ({"tasks": None}, "said", None),
        ({"tasks": []}, "said", None),
        ({"success": 0, "seed": "unknown", "noise": "low", "extra": "Ann"}, "task 0", False),
        ({"success": float("nan")}, "task 0", None),
    ],
)
def test_what_others_note_of_an_episode(
    tmp_path: Path, line: dict[str, Any], instruction: str, success: bool | None
) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    table = source / "meta/episodes.jsonl"
    first, second = map(json.loads, table.read_text().splitlines())
    table.write_text("\n".join(json.dumps(row) for row in (first | line, second)))
    assert convert(source, tmp_path / "ours", "--set", "instruction=said") == 0
    info = Dataset(tmp_path / "ours").episodes[0]
    assert (info.instruction, info.success) == (instruction, success)


def test_what_is_taken_for_granted_of_episodes_is_told(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    assert any(
        "neither success nor failure is marked in 2 of 2 episodes" in text
        for text in suggest(source, {}, ROBOT).assumed
    )
    table = source / "meta/episodes.jsonl"
    rows = [json.loads(line) | {"tasks": ["a", "b"], "success": True} for line in table.read_text().splitlines()]
    table.write_text("\n".join(map(json.dumps, rows)))
    assumed = suggest(source, {}, ROBOT).assumed
    assert any("2 episodes (0, 1) with several instructions" in text for text in assumed)
    assert not any("neither success" in text for text in assumed)
    table.write_text(json.dumps(rows[0] | {"success": "perhaps"}))
    with pytest.raises(DatasetError, match="success is 'perhaps'; it must be true or false"):
        suggest(source, {}, ROBOT)


def test_an_unknown_mark_of_a_column_is_none(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    for file, mark in enumerate((None, False)):
        change_rows(
            source, lambda t, m=mark: t.append_column("next.success", pa.array([m] * t.num_rows, pa.bool_())), file
        )
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["next.success"] = {"dtype": "bool", "shape": [1], "names": None}
    path.write_text(json.dumps(info))
    assert [episode.success for episode in MappedDataset(source, DataMapping(KEYS), ROBOT).episodes] == [None, False]


@pytest.mark.parametrize(
    ("state", "action", "turned"),
    [
        (ALOHA, ALOHA[7:] + ALOHA[:7], True),
        (None, ALOHA[7:] + ALOHA[:7], True),
        (ALOHA, None, False),
        ([name + ".pos" for name in ALOHA], [name + ".goal" for name in ALOHA], False),
        ({"motors": ALOHA}, {name: column for column, name in enumerate(ALOHA[7:] + ALOHA[:7])}, True),
        ([f"m{number}" for number in range(14)], [f"n{number}" for number in range(14)], False),
    ],
)
def test_actions_have_their_own_names(tmp_path: Path, state: Any, action: Any, turned: bool) -> None:
    turn = (lambda states, actions: (states, np.roll(actions, 7, axis=1))) if turned else in_units(1.0, 1.0)
    source = make_foreign(record(tmp_path / "theirs"), names=None, change=turn)
    change_features(source, **{"observation.state": {"names": state}, "action": {"names": action}})
    assert convert(source, tmp_path / "ours") == 0
    require_recorded(tmp_path / "ours")


def test_the_mapping_that_is_printed_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=ALOHA, change=in_units(180 / np.pi, 1e3))
    assert main(["dataset", "convert", str(source), str(tmp_path / "ours")]) == 2
    printed = "mapping:" + capsys.readouterr().out.split("\nmapping:")[1].split("\nnothing was written")[0]
    (tmp_path / "m.yaml").write_text(printed)
    assert convert(source, tmp_path / "ours", "--mapping", str(tmp_path / "m.yaml")) == 0
    require_recorded(tmp_path / "ours")
    show = ["dataset", "show", str(source), "--mapping", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "p.png")]
    assert main(show) == 0
    assert main([*show, "--episode", "2"]) == 2
    assert "there is no episode 2; the last one is 1" in capsys.readouterr().err


def test_speeds_and_efforts_beside_positions_are_no_joints(tmp_path: Path) -> None:
    source = make_foreign(
        record(tmp_path / "theirs"), names=None, change=lambda s, a: (np.concatenate([0 * s, s, 9 * s], axis=1), a)
    )
    wide = [f"{name}.{what}" for what in ("vel", "pos", "torque") for name in ALOHA]
    described = {"names": wide, "shape": [42]}
    change_features(source, **{"observation.state": described, "action": {"names": ALOHA}})
    assert convert(source, tmp_path / "ours") == 0
    require_recorded(tmp_path / "ours")


@pytest.mark.parametrize("feature", ["observation.state", "action"])
def test_poses_are_not_taken_for_joints(tmp_path: Path, feature: str) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    names = [f"{side}_{axis}" for side in "lr" for axis in ("x", "y", "z", "a", "b", "c", "grip")]
    change_features(source, **{feature: {"names": names}})
    assert any(f"{feature}?" in text and "poses" in text for text in suggest(source, {}, ROBOT).undecided)


def grippers_of_actions(factor: float) -> Change:
    def change(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
        changed = actions.copy()
        changed[:, GRIPPERS] *= factor
        return states, changed

    return change


def test_grippers_of_actions_have_their_own_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_foreign(record(tmp_path / "a"), names=JOINT_NAMES, change=grippers_of_actions(1e3))
    assert convert(source, tmp_path / "ours") == 0
    assert "actions of the grippers are in millimetres" in capsys.readouterr().out
    require_recorded(tmp_path / "ours")
    source = make_foreign(record(tmp_path / "b"), names=JOINT_NAMES, change=grippers_of_actions(16.0))
    assert convert(source, tmp_path / "shares") == 2
    assert "`action_scale: {grippers: 0.07}`" in capsys.readouterr().out
    assert convert(source, tmp_path / "shares", "--set", "action_scale.grippers=0.0625") == 0
    require_recorded(tmp_path / "shares")


def test_training_refuses_what_a_mapping_makes_of_another_unit(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, change=in_units(180 / np.pi, 1.0))
    right = DataMapping(KEYS, scale={"angles": np.pi / 180})
    DatasetGroup([source], ROBOT, {"theirs": right}).check()
    with pytest.raises(DatasetError, match="see `wav dataset check --mapping FILE`. .*state left_joint1 reaches 9"):
        DatasetGroup([source], ROBOT, {"theirs": DataMapping(KEYS)}).check()


@pytest.mark.parametrize("number", [0.0, float("nan"), float("inf")])
def test_a_scale_is_a_number(number: float) -> None:
    with pytest.raises(ValueError, match=r"action_scale\.grippers is .*; a finite number is needed"):
        DataMapping(action_scale={"grippers": number})


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    path = sorted(source.glob("videos/*/*/*.mp4"))[-1]
    path.write_bytes(path.read_bytes()[:500])
    before = sorted(tmp_path.rglob("*"))
    assert convert(source, tmp_path / "ours") == 2
    assert '--episodes "index != 1"' in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
    for inside in (source / "ours", source / "a/b", source / "../theirs/c"):
        assert convert(source, inside) == 2
        assert "which stays as it is" in capsys.readouterr().err
    with DatasetLock(tmp_path / "ours.unfinished", "another conversion"):
        assert convert(source, tmp_path / "ours") == 2
        assert "another process writes to this dataset (another conversion" in capsys.readouterr().err
    assert convert(source, tmp_path / "ours", "--episodes", "index != 1") == 0
    assert sorted(p for p in tmp_path.rglob("*") if not p.is_relative_to(tmp_path / "ours")) == before
    require_recorded(tmp_path / "ours", [0])


def test_a_conversion_that_was_killed_is_done_anew(tmp_path: Path) -> None:
    source, unfinished = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES), tmp_path / "ours.unfinished"
    command = [
        sys.executable,
        "-m",
        "wav_policy.cli",
        "dataset",
        "convert",
        str(source),
        str(tmp_path / "ours"),
        "--yes",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ)
    deadline = time.monotonic() + 120.0
    while not any(unfinished.glob("meta/*")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert unfinished.exists()
    assert not (tmp_path / "ours").exists()
    assert convert(source, tmp_path / "ours") == 0
    assert not unfinished.exists()
    require_recorded(tmp_path / "ours")


def test_relative_paths_may_have_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = make_foreign(record(tmp_path / "pick:place"), names=JOINT_NAMES)
    assert convert(Path(source.name), Path("our:s")) == 0
    assert main(["dataset", "check", "our:s", "--fast"]) == 0
    assert main(["label", "our:s", "--workers", "1"]) == 0
    require_recorded(Path("our:s"))


def test_an_episode_table_without_tasks_has_those_of_the_frames_or_needs_an_instruction(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES)
    for path in source.glob("meta/episodes/*/*.parquet"):  # as LeRobot 0.6.1 leaves it when it makes videos of images
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["tasks"]), path)
    assert [e.instruction for e in MappedDataset(source, DataMapping(KEYS), ROBOT).episodes] == ["task 0", "task 1"]
    (source / "meta/tasks.parquet").unlink()
    assert convert(source, tmp_path / "ours") == 2
    assert convert(source, tmp_path / "ours", "--set", "instruction=said") == 0
    assert [episode.instruction for episode in Dataset(tmp_path / "ours").episodes] == ["said", "said"]
