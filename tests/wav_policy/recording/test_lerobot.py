"""What the recorder writes is what LeRobot reads."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, SIZES, make_images, make_rows
from wav_models.data.dataset import Dataset
from wav_models.data.layout import VIDEO_KEYS
from wav_policy.recording.episode_writer import DatasetWriter

VARIABLE = "WAV_LEROBOT_PYTHON"
LENGTHS = (12, 7)


def record(root: Path) -> None:
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES, source_times=True) as writer:
        for seed, length in enumerate(LENGTHS):
            states, actions = make_rows(length, seed)
            writer.start_episode(f"{INSTRUCTION} {seed}", {"success": True})
            for frame in range(length):
                time = 100.0 + frame / FPS
                images = make_images(frame, seed)
                writer.add_frame(images, states[frame], actions[frame], time, [time - 0.01] * 5)
            writer.end_episode()


def test_round_trip_with_the_real_loader(tmp_path: Path) -> None:
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"set {VARIABLE} to the Python of an environment with LeRobot (docs/recording.md says how)")
    record(tmp_path)
    reader = Path(__file__).with_name("lerobot_reader.py")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    read = subprocess.run([python, reader, tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout)
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
            np.testing.assert_allclose(row["source_times"], 100.0 + frame / FPS - 0.01, atol=1e-4)
            for view, key in VIDEO_KEYS.items():
                assert row["shapes"][key] == [3, *SIZES[view]]
                mean = decoded[view][frame].mean(axis=(0, 1)) / 255
                np.testing.assert_allclose(row["images"][key], mean, atol=0.01)
