"""Videos of cameras that do not see what the arms do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.wav_models.piper import VIEWS
from wav_models.data.check import check_dataset
from wav_models.types import FloatArray
from wav_policy.recording.episode_writer import DatasetWriter

FPS, LENGTH = 10, 60
SIZES = dict.fromkeys(VIEWS, (48, 64))


def record(root: Path, shown: dict[str, list[int]], states: FloatArray) -> Path:
    """An episode in which every camera's frame shows the noise of the frame that is listed for it."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (LENGTH, *SIZES["head"], 3), dtype=np.uint8)
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES) as writer:
        writer.start_episode("wave", {"success": True})
        for frame in range(LENGTH):
            images = {view: noise[shown.get(view, range(LENGTH))[frame]] for view in VIEWS}
            writer.add_frame(images, states[frame], states[min(frame + 1, LENGTH - 1)], frame / FPS)
        writer.end_episode()
    return root


def waving(side: int) -> FloatArray:
    """The six joints of one arm move, the other arm rests."""
    states = np.zeros((LENGTH, 14))
    states[:, 7 * side : 7 * side + 6] = 0.5 * np.sin(np.arange(LENGTH) / 5.0)[:, None]
    return states


def found(root: Path) -> list[str]:
    return [problem.message for problem in check_dataset(root) if "camera" in problem.message]


def test_a_camera_that_freezes_while_its_arm_moves(tmp_path: Path) -> None:
    frozen = {"left_wrist": [*range(20), *[20] * 20, *range(40, LENGTH)]}
    (message,) = found(record(tmp_path / "moving", frozen, waving(0)))
    assert re.match(r"the left_wrist camera shows one picture for [12]\.\d s from frame 2\d on", message)
    assert found(record(tmp_path / "resting", frozen, waving(1))) == []


def test_a_camera_that_is_slower_than_the_dataset(tmp_path: Path) -> None:
    slow = {"head": [2 * (frame // 2) for frame in range(LENGTH)]}
    (message,) = found(record(tmp_path, slow, waving(1)))
    assert "of the pictures of the head camera are those of the frame before" in message


def test_fast_does_not_decode(tmp_path: Path) -> None:
    root = record(tmp_path, {"head": [0] * LENGTH}, waving(0))
    assert len(found(root)) == 1
    assert [p for p in check_dataset(root, decode=False) if "camera" in p.message] == []


@pytest.mark.parametrize("tokens", [14, 15])
def test_an_instruction_that_is_too_long_for_a_model(tmp_path: Path, tokens: int) -> None:
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES) as writer:
        writer.start_episode(" ".join(["word"] * tokens), {"success": True})
        writer.add_frame({view: np.zeros((48, 64, 3), np.uint8) for view in VIEWS}, np.zeros(14), np.zeros(14), 0.0)
        writer.end_episode()
    assert any("wav-tiny takes 16" in problem.message for problem in check_dataset(tmp_path)) == (tokens == 15)
