"""What the recorder writes is what LeRobot reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.wav_models.piper import VIDEO_KEYS
from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, SIZES, make_images, make_rows
from tests.wav_policy.recording.foreign import motion
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.cli.main import main
from wav_policy.recording.episode_writer import DatasetWriter

pytestmark = pytest.mark.slow

VARIABLE = "WAV_LEROBOT_PYTHON"
LENGTHS = (12, 7)


def record(root: Path) -> None:
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES, source_times=True) as writer:
        for seed, length in enumerate(LENGTHS):
            states, actions = make_rows(length, seed)
            writer.start_episode(f"{INSTRUCTION} {seed}", {"success": True}, efforts=True)
            for frame in range(length):
                time = 100.0 + frame / FPS
                images = make_images(frame, seed)
                writer.add_frame(images, states[frame], actions[frame], time, [time - 0.01] * 5, 10 * states[frame])
            writer.end_episode()


def run_in_lerobot(script: str, *arguments: Path) -> str:
    """Standard output of a script that runs in LeRobot's environment."""
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"set {VARIABLE} to the Python of an environment with LeRobot (docs/recording.md says how)")
    command = [python, Path(__file__).with_name(script), *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_round_trip_with_the_real_loader(tmp_path: Path) -> None:
    record(tmp_path)
    found = json.loads(run_in_lerobot("lerobot_reader.py", tmp_path))
    assert (found["episodes"], found["fps"], len(found["rows"])) == (len(LENGTHS), FPS, sum(LENGTHS))
    rows = iter(found["rows"])
    for episode in Dataset(tmp_path):
        decoded = {view: episode.images(view) for view in SIZES}
        for frame in range(len(episode)):
            row = next(rows)
            assert (row["episode"], row["frame"], row["task"]) == (episode.info.index, frame, episode.instruction)
            assert row["timestamp"] == pytest.approx(frame / FPS)
            np.testing.assert_array_equal(np.float32(row["state"]), episode.states[frame].astype(np.float32))
            np.testing.assert_array_equal(np.float32(row["action"]), episode.actions[frame].astype(np.float32))
            np.testing.assert_allclose(row["effort"], 10 * episode.states[frame], rtol=1e-6)
            np.testing.assert_allclose(row["source_times"], 100.0 + frame / FPS - 0.01, atol=1e-4)
            for view, key in VIDEO_KEYS.items():
                assert row["shapes"][key] == [3, *SIZES[view]]
                mean = decoded[view][frame].mean(axis=(0, 1)) / 255
                np.testing.assert_allclose(row["images"][key], mean, atol=0.01)


def test_what_lerobot_writes_is_converted(tmp_path: Path) -> None:
    states, actions = motion(60)
    units = np.where(np.arange(14) % 7 == 6, 1e3, 180 / np.pi)
    pictures = np.stack([np.full((64, 96, 3), 3 * frame, np.uint8) for frame in range(60)])
    rows = {"states": (units * states).astype(np.float32), "actions": (units * actions).astype(np.float32)}
    np.savez(tmp_path / "rows.npz", **rows, pictures=pictures, fps=30)
    run_in_lerobot("lerobot_writer.py", tmp_path / "rows.npz", tmp_path / "theirs")
    assert main(["dataset", "convert", str(tmp_path / "theirs"), str(tmp_path / "ours"), "--yes"]) == 0
    assert [str(p) for p in check_dataset(tmp_path / "ours") if p.severity == "error"] == []
    for episode in Dataset(tmp_path / "ours"):
        np.testing.assert_allclose(episode.states, states, atol=1e-5)
        np.testing.assert_allclose(episode.actions, actions, atol=1e-5)
        assert episode.instruction == "fold the towel"
        grey = episode.images("head").mean(axis=(1, 2, 3))
        np.testing.assert_allclose(grey, 3 * np.arange(60), atol=4)


@pytest.mark.parametrize(
    ("edited", "seeds"),
    [("delete", [1, 2]), ("split/train", [0, 2]), ("split/val", [1]), ("merge", [0, 1, 2, 0, 1, 2])],
)
def test_datasets_that_lerobot_has_edited_keep_their_marks_and_can_be_recorded_into(
    edited_datasets: Path, tmp_path: Path, edited: str, seeds: list[int]
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(edited_datasets / edited, root)
    dataset = Dataset(root)
    assert [(info.seed, info.success) for info in dataset.episodes] == [(seed, seed != 1) for seed in seeds]
    assert [str(p) for p in check_dataset(root) if p.severity == "error"] == []
    before = {path: path.read_bytes() for path in root.rglob("*.mp4")}
    label_dataset(root, LabelConfig(discount=0.9, image_size=(32, 32)))
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES) as writer:
        states, actions = make_rows(5, 7)
        writer.start_episode(INSTRUCTION, {"success": True, "seed": 7})
        for frame in range(5):
            writer.add_frame(make_images(frame, 7), states[frame], actions[frame], frame / FPS)
        assert writer.end_episode() == len(seeds)
    assert all(path.read_bytes() == content for path, content in before.items())
    for seed, episode in zip([*seeds, 7], Dataset(root), strict=True):
        np.testing.assert_array_equal(episode.states, make_rows(len(episode), seed)[0])
        np.testing.assert_allclose(episode.images("head", [2])[0], make_images(2, seed)["head"], atol=30)


@pytest.fixture(scope="module")
def edited_datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What LeRobot's delete, split and merge make of three episodes, of which the second failed."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("edited")
    with DatasetWriter(source, fps=FPS, image_sizes=SIZES) as writer:
        for seed, length in enumerate((12, 7, 9)):
            states, actions = make_rows(length, seed)
            writer.start_episode(INSTRUCTION, {"success": seed != 1, "seed": seed})
            for frame in range(length):
                writer.add_frame(make_images(frame, seed), states[frame], actions[frame], frame / FPS)
            writer.end_episode()
    run_in_lerobot("lerobot_editor.py", source, target)
    return target
