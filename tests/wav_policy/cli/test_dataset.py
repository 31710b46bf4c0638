"""`wav dataset show` and `check`, of datasets of every robot there is."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.wav_policy.recording.foreign import KEYS
from tests.wav_policy.recording.stored import write_stored
from wav_models.embodiment import Channel, Embodiment
from wav_models.embodiments import EMBODIMENTS
from wav_models.types import FloatArray
from wav_policy.cli.main import main
from wav_policy.recording.episode_writer import DatasetWriter

FPS, LENGTH, SIZE = 10, 30, (48, 64)


def swing(channels: tuple[Channel, ...], frame: int) -> FloatArray:
    """Slowly about the middle of every number's range."""
    lower, upper = (np.array([getattr(channel, end) for channel in channels]) for end in ("lower", "upper"))
    return np.asarray(lower + (upper - lower) * (0.5 + 0.3 * np.sin(frame / 10)))


@pytest.mark.parametrize("robot", EMBODIMENTS.values(), ids=lambda robot: robot.name)
def test_an_episode_is_drawn_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str], robot: Embodiment) -> None:
    rng, root = np.random.default_rng(0), tmp_path / robot.name
    with DatasetWriter(root, fps=FPS, robot=robot, image_sizes=dict.fromkeys(robot.view_names, SIZE)) as writer:
        writer.start_episode("wave", {"success": True})
        for frame in range(LENGTH):
            images = {view: rng.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for view in robot.view_names}
            writer.add_frame(images, swing(robot.state, frame), swing(robot.actions, frame + 1), frame / FPS)
        writer.end_episode()
    assert main(["dataset", "show", str(root), "--out", str(tmp_path / "episode.png")]) == 0
    assert cv2.imread(str(tmp_path / "episode.png")).std() > 10.0
    capsys.readouterr()
    assert main(["dataset", "check", str(root), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["facts"]
    assert (facts["episodes"], facts["frames"], facts["labelled"]) == (1, LENGTH, False)
    assert facts["frames by which the state follows the action"] == (1.0 if robot.relative_to_state else None)


def test_an_episode_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with DatasetWriter(tmp_path, fps=FPS):
        pass
    assert main(["dataset", "show", str(tmp_path), "--episode", "3"]) == 2
    assert "there is no episode 3" in capsys.readouterr().err


def test_the_picture_is_where_it_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Matplotlib gives a name without an ending one; a directory got a neighbour."""
    source = write_stored(tmp_path / "theirs")
    mapping = tmp_path / "m.json"
    mapping.write_text(json.dumps({"cameras": KEYS, "joints": list(range(14))}))
    show = ["dataset", "show", str(source), "--mapping", str(mapping), "--out"]
    assert main([*show, str(tmp_path / "picture")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes().startswith(b"\x89PNG")
    before = sorted(tmp_path.iterdir())
    assert main([*show, str(source)]) == 1
    assert sorted(tmp_path.iterdir()) == before
