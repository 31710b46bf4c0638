"""Datasets of other labs with joints over several features, pictures in their rows, and marks of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.foreign import KEYS, LENGTHS, make_foreign, motion, record
from tests.wav_policy.recording.stored import (
    SIZE,
    WHOLE,
    Columns,
    encoded,
    picture,
    write_stored,
)
from wav_models.configuration import from_dict
from wav_models.data.check import check_dataset
from wav_models.data.conventions import Conventions
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.dataset_group import DatasetGroup
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping, read_mapping
from wav_models.data.suggestion import Suggestion, suggest
from wav_models.data.video_reader import VideoError
from wav_models.training.data.frames import fingerprints
from wav_policy.cli.main import main
from wav_policy.robot.joints import JOINT_NAMES, ROBOT

ANGLES, GRIPPERS = [*range(6), *range(7, 13)], [6, 13]
SIX = [f"joint_{number}" for number in range(1, 7)]
ARMS: Columns = {
    ".left_arm": (range(6), SIX),
    ".right_arm": (range(7, 13), SIX),
    ".gripper": (GRIPPERS, ["left", "right"]),
}
NAMED: Columns = {"": ([*ANGLES, *GRIPPERS], [*(f"joint_{n}" for n in range(12)), "gripper_0", "gripper_1"])}
SIDES: Columns = {"s.left": (range(7), None), "s.right": (range(7, 14), None)}
PLAIN = DataMapping(KEYS, joints=tuple(range(14)))


def opened(source: Path, suggestion: Suggestion) -> MappedDataset:
    assert not suggestion.undecided
    return MappedDataset(source, suggestion.mapping, ROBOT)


def require_motion(dataset: Dataset) -> None:
    for number, episode in enumerate(dataset):
        states, actions = motion(LENGTHS[number], number)
        np.testing.assert_allclose(episode.states, states, atol=1e-5)
        np.testing.assert_allclose(episode.actions, actions, atol=1e-5)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (ARMS, ARMS),
        ({".gripper": ARMS[".gripper"], ".right_arm": ARMS[".right_arm"], ".left_arm": ARMS[".left_arm"]}, WHOLE),
        ({".left_arm": (range(7), None), ".right_arm": (range(7, 14), None)}, ARMS),
        ({".joint_position": (ANGLES, None), ".gripper_position": (GRIPPERS, None)}, WHOLE),
        (WHOLE, {".joint_position": (ANGLES, None), ".gripper_position": (GRIPPERS, None)}),
        ({"": (ANGLES, None), ".gripper_position": (GRIPPERS, None)}, SIDES),
        (
            {
                ".left_arm": (range(6), None),
                ".left_gripper": ([6], None),
                ".right_gripper": ([13], None),
                ".right_arm": (range(7, 13), None),
                ".left_eef_pose": (range(6), None),
                ".left_arm_velocity": (range(6), None),
            },
            WHOLE,
        ),
        (NAMED, {"": ([*ANGLES, *GRIPPERS], None)}),
        (NAMED, NAMED),
    ],
)
def test_joints_over_several_features_are_one_row(tmp_path: Path, state: Columns, action: Columns) -> None:
    source = write_stored(tmp_path / "theirs", state=state, action=action)
    require_motion(opened(source, suggest(source, {}, ROBOT)))


def test_a_mapping_says_the_features_and_their_joints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd: Columns = {".a": ([*range(7, 13), 6], None), ".b": ([*range(6), 13], ["u", "v", "w", "x1", "y1", "z1", "q"])}
    source = write_stored(tmp_path / "theirs", state=odd)
    asked = suggest(source, {}, ROBOT).undecided
    assert any("which feature holds the joints of the state? `state: FEATURE`" in text for text in asked)
    a, b = "observation.state.a", "observation.state.b"
    assert any("`joints: [14 names" in t for t in suggest(source, {"state": [a, b]}, ROBOT).undecided)
    names = [
        *(f"{b}.{n}" for n in ("u", "v", "w", "x1", "y1", "z1")),
        f"{a}.6",
        *(f"{a}.{n}" for n in range(6)),
        f"{b}.q",
    ]
    said = {"state": [a, b], "joints": names, "action_joints": list(range(14))}
    require_motion(opened(source, suggest(source, said, ROBOT)))
    for wrong, message in (
        ([a, "observation.state.c"], "there is no feature 'observation.state.c'; there are"),
        ([a, a], "state: 1 different features of 2"),
        ([], "state: 0 different features of 0"),
    ):
        with pytest.raises((DatasetError, ValueError), match=message):
            MappedDataset(source, DataMapping(KEYS, tuple(wrong), joints=tuple(range(14))), ROBOT)
    (tmp_path / "m.yaml").write_text(json.dumps(said | {"cameras": KEYS}))
    assert main(["dataset", "convert", str(source), str(tmp_path / "x"), "--mapping", str(tmp_path / "m.yaml")]) == 2
    (tmp_path / "p.yaml").write_text(
        "mapping:" + capsys.readouterr().out.split("\nmapping:")[1].split("\nnothing was written")[0]
    )
    printed = from_dict(DataMapping, read_mapping(tmp_path / "p.yaml"))
    require_motion(MappedDataset(source, printed, ROBOT))


@pytest.mark.parametrize(("version", "kind"), [("v2.1", "JPEG"), ("v3.0", "PNG")])
def test_pictures_in_rows_are_read_as_videos_are(tmp_path: Path, version: str, kind: str) -> None:
    source = write_stored(tmp_path / "theirs", version=version, kind=kind)
    target = tmp_path / "ours"
    assert main(["dataset", "convert", str(source), str(target), "--yes", "--set", "fps=15"]) == 0
    problems = check_dataset(target, conventions=Conventions(ROBOT, limited=True))
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    for number, episode in enumerate(Dataset(target)):
        assert len(episode) == (LENGTHS[number] + 1) // 2
        for view in KEYS:
            shown = episode.images(view, [3, len(episode) - 1])[:, 0, 0].astype(float)
            due = [picture(view, 2 * frame, number)[0, 0] for frame in (3, len(episode) - 1)]
            np.testing.assert_allclose(shown, due, atol=6)


def cells_of(source: Path, change: dict[int, Any], key: str = KEYS["head"]) -> None:
    """Change cells of the first rows of a file."""
    path = min(source.glob("data/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    cells = table[key].to_pylist()
    for row, cell in change.items():
        cells[row] = cell
    kind = table[key].type if not isinstance(cells[0], bytes) else pa.binary()
    pq.write_table(table.set_column(table.column_names.index(key), key, pa.array(cells, kind)), path)


def test_a_picture_is_in_the_row_or_a_file_of_the_dataset(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs", version="v2.1")
    (source / "images").mkdir()
    (source / "images/0.png").write_bytes(encoded(picture("head", 9, 1)))
    cells_of(
        source, {0: {"bytes": None, "path": "images/0.png"}, 1: {"bytes": None, "path": str(source / "images/0.png")}}
    )
    shown = MappedDataset(source, PLAIN, ROBOT).read_episode(0).images("head", [2, 1, 0, 1])[:, 0, 0]
    np.testing.assert_array_equal(shown, [picture("head", *place)[0, 0] for place in ((2, 0), (9, 1), (9, 1), (9, 1))])
    cells_of(source, {row: encoded(picture("head", row + 5, 0)) for row in range(LENGTHS[0])})
    shown = MappedDataset(source, PLAIN, ROBOT).read_episode(0).images("head", [2])[:, 0, 0]
    np.testing.assert_array_equal(shown, [picture("head", 7, 0)[0, 0]])


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ({"bytes": encoded(picture("head", 0, 0))[:70]}, "cannot be decoded"),
        ({"bytes": b"no image"}, "cannot be decoded"),
        ({"bytes": None, "path": "frame_000003.png"}, "has no bytes, and 'frame_000003.png' is no file in the dataset"),
        ({"bytes": None, "path": "../secret.png"}, "is no file in the dataset"),
        ({"bytes": None, "path": "/etc/hostname"}, "is no file in the dataset"),
        (None, "is no image: neither bytes nor the path of a file"),
        ({"bytes": encoded(np.zeros(SIZE, np.uint16))}, "mode I;16: depth"),
        ({"bytes": encoded(np.zeros((9, 9, 3), np.uint8))}, "differ in size"),
    ],
)  # fmt: skip
def test_a_picture_that_cannot_be_used_is_named_and_can_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: Any, message: str
) -> None:
    (tmp_path / "secret.png").write_bytes(encoded(picture("head", 0, 0)))
    source = write_stored(tmp_path / "theirs")
    cells_of(source, {3: cell})
    with pytest.raises(VideoError, match=message):
        MappedDataset(source, PLAIN, ROBOT).read_episode(0).images("head")
    if cell is None:
        assert main(["dataset", "convert", str(source), str(tmp_path / "ours"), "--yes"]) == 2
        said = capsys.readouterr().err
        assert "frame 3 is no image" in said
        assert '--episodes "index != 0"' in said


def test_rows_of_pictures_are_those_of_their_frames(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs")
    path = next(source.glob("data/*/*.parquet"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.take(pa.array(np.random.default_rng(0).permutation(len(table)))), path, row_group_size=25)
    for number in range(2):
        shown = MappedDataset(source, PLAIN, ROBOT).read_episode(number).images("left_wrist")[:, 0, 0, 1]
        np.testing.assert_array_equal(shown, 3 * np.arange(LENGTHS[number]))


def test_cameras_in_one_file_are_told_apart(tmp_path: Path) -> None:
    """Encoded pictures are those of the mapping that is asked for."""
    source = write_stored(tmp_path / "theirs")
    turned = {**KEYS, "left_wrist": KEYS["right_wrist"], "right_wrist": KEYS["left_wrist"]}
    groups = [
        DatasetGroup([source], ROBOT, {"theirs": DataMapping(k, joints=PLAIN.joints, fps=10)}) for k in (KEYS, turned)
    ]
    groups[0].check()
    assert fingerprints(groups[0]) != fingerprints(groups[1])


def test_a_dataset_has_one_name_through_a_link_and_wherever_its_files_are(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "real", info={"data_path": "data/{chunk_index}{file_index}.parquet"})
    next(source.glob("data/*/*.parquet")).rename(source / "data/00.parquet")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "other").mkdir()
    for root, name in ((tmp_path / "link", "link"), (tmp_path / "other/../real", "real")):
        group = DatasetGroup([root], ROBOT, {name: PLAIN}, {name: "index == 1"})
        assert [group.place(0), fingerprints(group)[0][:2]] == [(name, 1), [name, 1]]


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize(
    ("frames", "table", "key"),
    [
        ({"is_success": ("bool", ([True], [False]))}, {}, "is_success"),
        ({"next.success": ("int64", ([0] * 60 + [1], [0]))}, {}, None),
        ({"success": ("float32", ([[1.0]], [[0.0]]))}, {}, "success"),
        ({"episode_successful": ("string", (["Success"], ["failure"]))}, {}, "episode_successful"),
        ({"next.reward": ("float32", ([0.0] * 60 + [1.0], [0.0]))}, {}, "next.reward"),
        ({}, {"is_success": [True, False]}, "is_success"),
        ({}, {"episode success": ["yes", "no"]}, "episode success"),
        ({}, {"success": ["true", "false"]}, None),
        ({"is_success": ("bool", ([None], [False]))}, {"isSuccess": [True, False]}, None),
    ],
)
def test_marks_of_success_wherever_they_are(
    tmp_path: Path, version: str, frames: dict[str, Any], table: dict[str, Any], key: str | None
) -> None:
    source = write_stored(tmp_path / "theirs", version=version, frames=frames, table=table)
    suggestion = suggest(source, {}, ROBOT)
    if "isSuccess" in table:
        assert any("which of is_success, isSuccess says" in text for text in suggestion.undecided)
        suggestion = suggest(source, {"success": "isSuccess"}, ROBOT)
    else:
        assert suggestion.mapping.success == key
        told = f"success is told by {key}: 1 of 2 episodes succeeded, 1 failed" in suggestion.assumed
        assert told == (key is not None)
    assert not any("neither success" in text for text in suggestion.assumed)
    assert [episode.success for episode in opened(source, suggestion).episodes] == [True, False]
    assert [e.index for e in MappedDataset(source, suggestion.mapping, ROBOT).episodes if e.success] == [0]


@pytest.mark.parametrize(
    ("rewards", "least", "marks", "told"),
    [
        (([0.0] * 60 + [1.0], [0.5]), None, [None, None], "next.reward is from 0 to 1: where reaching"),
        (([0.0], [0.0]), None, [None, None], "next.reward is from 0 to 0"),
        (([-1.0] * 60 + [10.0], [9.5]), 10.0, [True, False], ""),
        (([float("nan")], [2.0]), 1.5, [None, True], ""),
    ],
)
def test_rewards_tell_success_only_where_that_is_said(
    tmp_path: Path, rewards: Sequence[Any], least: float | None, marks: list[bool | None], told: str
) -> None:
    source = write_stored(tmp_path / "theirs", frames={"next.reward": ("float32", rewards)})
    said = {} if least is None else {"success": "next.reward", "success_from": least}
    suggestion = suggest(source, said, ROBOT)
    assert any(told in text for text in suggestion.assumed)
    assert [episode.success for episode in opened(source, suggestion).episodes] == marks


def test_marks_that_are_none_are_named(tmp_path: Path) -> None:
    source = write_stored(tmp_path / "theirs", frames={"is_success": ("string", (["good"], ["bad"]))})
    (undecided,) = suggest(source, {}, ROBOT).undecided
    assert "episode 0: is_success: success is 'good'; it must be true or false" in undecided
    assert "`success: null`" in undecided
    assert [e.success for e in opened(source, suggest(source, {"success": None}, ROBOT)).episodes] == [None, None]
    with pytest.raises(DatasetError, match="no feature or column of episodes 'is_succes'; did you mean 'is_success'"):
        MappedDataset(source, DataMapping(KEYS, joints=PLAIN.joints, success="is_succes"), ROBOT)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_locations_that_are_not_told_are_lerobots(tmp_path: Path, version: str) -> None:
    said = {"data_path": "missing", "video_path": "missing", "chunks_size": None}
    source = write_stored(tmp_path / "theirs", version=version, info=said)
    suggestion = suggest(source, {}, ROBOT)
    assert any("meta/info.json has no data_path" in text for text in suggestion.assumed)
    assert not any("video_path" in text for text in suggestion.assumed)
    require_motion(opened(source, suggestion))


def test_videos_are_found_without_their_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    path.write_text(json.dumps(info | {"video_path": None}))
    suggestion = suggest(source, {}, ROBOT)
    assert any("meta/info.json has no video_path" in text for text in suggestion.assumed)
    assert opened(source, suggestion).read_episode(1).images("head", [39]).shape[0] == 1
    for fault, message in (
        ({"video_path": "videos/{name}.mp4"}, "video_path is 'videos/{name}.mp4'; LeRobot's is 'videos/chunk-"),
        ({"data_path": 3}, "data_path is 3; LeRobot's is 'data/chunk-"),
        ({"chunks_size": 0}, "chunks_size is 0; it must be a positive whole number, in LeRobot 1000"),
    ):  # fmt: skip
        path.write_text(json.dumps(info | fault))
        assert main(["dataset", "convert", str(source), str(tmp_path / "ours")]) == 2
        assert message in capsys.readouterr().err


def test_the_check_of_an_older_layout_names_the_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, version="v2.1")
    path = source / "meta/info.json"
    text = path.read_text()
    for view, key in KEYS.items():
        text = text.replace(key, ROBOT.view_keys[view])
    path.write_text(text)
    assert main(["dataset", "check", str(source)]) == 1
    said = capsys.readouterr().err
    assert "codebase_version 'v2.1', not v3.0; `wav dataset convert`" in said
    assert "data_path" not in said


def test_what_is_not_ours_is_said_by_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = record(tmp_path / "theirs")
    path = source / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.images.hand_left"]["dtype"] = "image"
    path.write_text(json.dumps(info | {"data_path": None}))
    assert main(["dataset", "check", str(source)]) == 1
    said = capsys.readouterr().err
    assert "data_path is None; LeRobot's is 'data/chunk-" in said
    assert "observation.images.hand_left has dtype 'image'; ours are videos" in said
    assert "wav dataset convert" in said
