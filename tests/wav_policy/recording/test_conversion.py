"""Datasets of other labs become what the recorder would have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.recording.fake_operator import make_images
from tests.wav_policy.recording.foreign import (
    ALOHA,
    CAMERAS,
    FPS,
    KEYS,
    LENGTHS,
    Change,
    in_units,
    make_foreign,
    motion,
    record,
)
from wav_models.data.check import check_dataset
from wav_models.data.conventions import Conventions
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.suggestion import suggest
from wav_models.embodiments import LIBERO_PANDA
from wav_models.types import FloatArray
from wav_policy.cli.main import main
from wav_policy.robot.joints import GRIPPERS, JOINT_NAMES, REVOLUTE, ROBOT

FROM_ZERO = [f"{side}Arm.joint_{number}.pos" for side in ("right", "left") for number in range(7)]


def from_open(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Grippers count down from 0, open, to minus 70 mm, closed."""
    changed = states.copy(), actions.copy()
    for rows in changed:
        rows[:, GRIPPERS] = 0.07 - rows[:, GRIPPERS]
        rows[:, GRIPPERS] *= -1.0
    return changed


def right_arm_first(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
    return np.roll(states, 7, axis=1), np.roll(actions, 7, axis=1)


def relative(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
    return states, actions - states


def relative_angles(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
    changed = actions.copy()
    changed[:, REVOLUTE] -= states[:, REVOLUTE]
    return states, changed


@pytest.mark.parametrize(
    ("names", "change", "version"),
    [
        (ALOHA, in_units(180 / np.pi, 1e3), "v2.1"),
        (FROM_ZERO, right_arm_first, "v3.0"),
        (None, in_units(1.0, 1.0), "v2.1"),
        ([name + ".pos" for name in JOINT_NAMES], relative, "v3.0"),
        (JOINT_NAMES, relative_angles, "v2.1"),
        (JOINT_NAMES, in_units(180e3 / np.pi, 1e6), "v3.0"),
    ],
)
def test_what_is_converted_is_what_was_recorded(
    tmp_path: Path, names: list[str] | None, change: Change, version: str
) -> None:
    recorded = Dataset(record(tmp_path / "theirs"))
    pictures = [{view: episode.images(view, [20])[0].mean(axis=(0, 1)) for view in CAMERAS} for episode in recorded]
    source = make_foreign(tmp_path / "theirs", names=names, change=change, version=version)
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    target = tmp_path / "ours"
    assert main(["dataset", "convert", str(source), str(target)]) == 2
    assert not target.exists()
    assert main(["dataset", "convert", str(source), str(target), "--yes"]) == 0
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    conventions = Conventions(ROBOT, limited=True)
    assert [str(p) for p in check_dataset(target, conventions=conventions) if p.severity == "error"] == []
    assert Dataset(target).fps == FPS
    for number, episode in enumerate(Dataset(target)):
        states, actions = motion(LENGTHS[number], number)
        np.testing.assert_allclose(episode.states, states, atol=1e-5)
        np.testing.assert_allclose(episode.actions, actions, atol=1e-5)
        assert episode.instruction == f"task {number}"
        for view in CAMERAS:
            shown = episode.images(view, [20])[0].mean(axis=(0, 1))
            np.testing.assert_allclose(shown, pictures[number][view], atol=1.5)


@pytest.mark.parametrize(
    ("change", "said", "message"),
    [
        (in_units(1.0, 16.0), ["scale.grippers=0.0625"], "a share of the stroke"),
        (in_units(1.0, 1.6e3), ["scale.grippers=0.000625"], "per cent"),
        (in_units(1.0, -1.0), ["scale.grippers=-1"], "of the other sign, or from the other end"),
        (in_units(-1.0, 1.0), ["scale.angles=-1"], "with the other sign left_joint2"),
        (from_open, ["scale.grippers=1", "offset.grippers=0.07"], "from the other end"),
    ],
)
def test_what_numbers_do_not_tell_must_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change, said: list[str], message: str
) -> None:
    source = make_foreign(record(tmp_path / "theirs"), names=JOINT_NAMES, change=change)
    target = tmp_path / "ours"
    command = ["dataset", "convert", str(source), str(target), "--yes"]
    assert main(command) == 2
    assert message in capsys.readouterr().out
    assert not target.exists()
    assert main([*command, *(part for each in said for part in ("--set", each))]) == 0
    np.testing.assert_allclose(Dataset(target).read_episode(1).states, motion(LENGTHS[1], 1)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"motor_{i}" for i in range(14)], "left arm first"),
        ([f"left_joint{i}" for i in range(14)], "which joints are observation.state"),
    ],
)
def test_unknown_joint_names(tmp_path: Path, names: list[str], message: str) -> None:
    source = make_foreign(record(tmp_path), names=names)
    suggestion = suggest(source, {}, ROBOT)
    assert any(message in text for text in (*suggestion.assumed, *suggestion.undecided))


def test_actions_in_another_unit_than_states_are_not_taken_for_relative(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path), names=JOINT_NAMES, change=lambda s, a: (s, 0.01 * a))
    assert any("actions are neither" in text for text in suggest(source, {}, ROBOT).undecided)


@pytest.mark.parametrize("rate", [10, 15, 24, 50])
def test_at_another_rate_pictures_are_the_nearest_and_actions_due_at_the_next_frame(tmp_path: Path, rate: int) -> None:
    source = make_foreign(record(tmp_path), names=JOINT_NAMES)
    episode = MappedDataset(source, DataMapping(cameras=KEYS, fps=rate), ROBOT).read_episode(0)
    times = np.arange(len(episode)) / rate
    assert times[-1] <= (LENGTHS[0] - 1) / FPS < times[-1] + 1 / rate
    states, actions = motion(LENGTHS[0])
    np.testing.assert_allclose(episode.states, _at(times, states, np.arange(LENGTHS[0]) / FPS), atol=1e-6)
    due = _at(times + 1 / rate, actions, (np.arange(LENGTHS[0]) + 1) / FPS)
    np.testing.assert_allclose(episode.actions, due, atol=1e-6)
    assert episode.video_frames is not None
    assert (np.abs(episode.video_frames / FPS - times) <= 0.5 / FPS + 1e-9).all()
    blue = [make_images(int(frame))["head"][..., 2].mean() for frame in episode.video_frames]
    assert np.corrcoef(episode.images("head")[..., 2].mean(axis=(1, 2)), blue)[0, 1] > 0.999


def _at(moments: FloatArray, rows: FloatArray, known: FloatArray) -> FloatArray:
    return np.stack([np.interp(moments, known, column) for column in rows.T], axis=1)


def test_marks_of_success_are_kept(tmp_path: Path) -> None:
    recording = record(tmp_path / "theirs")
    assert main(["dataset", "convert", str(recording), str(tmp_path / "ours"), "--set", "fps=10", "--yes"]) == 0
    assert [(e.success, e.seed) for e in Dataset(tmp_path / "ours").episodes] == [(True, 0), (False, 1)]


def test_a_mapping_that_does_not_fit_is_named(tmp_path: Path) -> None:
    source = make_foreign(record(tmp_path), names=ALOHA)
    with pytest.raises(DatasetError, match="Say in `joints` which is which"):
        MappedDataset(source, DataMapping(cameras=KEYS), ROBOT)
    with pytest.raises(DatasetError, match="there is no feature 'observation.images.top_head'; there are"):
        MappedDataset(source, DataMapping(joints=tuple(ALOHA)), ROBOT)
    with pytest.raises(DatasetError, match="unknown joint 'left_wist' in `joints`; did you mean 'left_waist'"):
        MappedDataset(source, DataMapping(cameras=KEYS, joints=("left_wist", *ALOHA[1:])), ROBOT)
    with pytest.raises(DatasetError, match="14 fit bimanual_piper"):
        MappedDataset(source, DataMapping(cameras=KEYS, joints=("a", "b")), ROBOT)
    with pytest.raises(DatasetError, match="unknown view 'top'"):
        MappedDataset(source, DataMapping(cameras={"top": KEYS["head"]}), ROBOT)
    with pytest.raises(DatasetError, match="relative are of joint targets; libero_panda takes end_effector_deltas"):
        MappedDataset(source, DataMapping(actions="relative"), LIBERO_PANDA)
    with pytest.raises(ValueError, match="1 different ones of 2"):
        DataMapping(joints=("a", "a"))
    assert main(["dataset", "convert", str(source), str(source), "--yes"]) == 2


@pytest.mark.parametrize(
    ("recording", "option", "message"),
    [
        ("bag.mcap", ["--set", "fps=10"], "is a recording: --set cannot be given"),
        ("bag/metadata.yaml", ["--mapping", "m.yaml", "--yes"], "is a recording: --mapping, --yes cannot be given"),
        ("bag/part_0.db3", ["--yes"], "is a recording: --yes cannot be given for one. Valid: --topics, --fps"),
        (None, ["--fps", "10"], "is a LeRobot dataset: --fps cannot be given for one. Valid: --mapping, --set, --ep"),
        (None, ["--topics", "t.yaml", "--instruction", "x"], "--topics, --instruction cannot be given"),
    ],
)
def test_options_of_the_other_kind_of_source_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], recording: str | None, option: list[str], message: str
) -> None:
    if recording is None:
        source = record(tmp_path / "theirs")
    else:
        file = tmp_path / recording
        file.parent.mkdir(exist_ok=True)
        file.touch()
        source = file if file.parent == tmp_path else file.parent
    assert main(["dataset", "convert", str(source), str(tmp_path / "ours"), *option]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "ours").exists()
