from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from wav_policy.monitor.film import FPS, frame, open_film
from wav_policy.monitor.snapshot import Snapshot
from wav_policy.robot.cameras import VIEWS


def make_snapshot(brightness: int) -> Snapshot:
    real = {view: np.full((240, 320, 3), brightness, np.uint8) for view in VIEWS}
    imagined = {view: np.full((64, 64, 3), 200, np.uint8) for view in VIEWS}
    values, scores = np.linspace(0.1, 0.5, 16), np.array([[10.0, 20.0], [15.0, 30.0]])
    joints = np.full(14, 0.01 * brightness)
    return Snapshot(joints=joints, real=real, imagined=imagined, values=values, scores=scores)


def test_cameras_are_above_what_was_imagined() -> None:
    picture = frame(make_snapshot(100), "episode 1: wave")
    middle = len(picture[0]) // 2
    assert (picture[150, [200, middle, -100]] == 100).all()
    assert (picture[450, [200, middle, -100]] == 200).all()
    assert (picture[-100:] != picture[-1, -1]).any(), "no chart"
    assert frame(Snapshot(), "nothing known").shape == picture.shape


def test_mp4_plays_at_its_rate(tmp_path: Path) -> None:
    film = open_film(tmp_path / "films" / "out.mp4")
    for brightness in range(0, 250, 10):
        film.add(make_snapshot(brightness), "episode 1: wave")
    film.close()
    with av.open(str(tmp_path / "films" / "out.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate) == (
            "h264",
            "yuv420p",
            FPS,
        )
        frames = [picture.to_ndarray(format="rgb24") for picture in container.decode(stream)]
    assert len(frames) == 25
    assert abs(int(frames[20][150, 200, 0]) - 200) < 8


def test_gif_is_half_the_rate_and_size(tmp_path: Path) -> None:
    film = open_film(tmp_path / "out.gif")
    for brightness in range(0, 200, 10):
        film.add(make_snapshot(brightness), "episode 1: wave")
    film.close()
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.n_frames == 10
        assert gif.size[0] * 2 == frame(make_snapshot(0), "").shape[1]


def test_rerun_has_what_the_page_shows(tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="the extra `rerun` is not installed")
    film = open_film(tmp_path / "out.rrd")
    for brightness in range(0, 50, 10):
        film.add(make_snapshot(brightness), "episode 1: wave")
    film.close()
    command = [sys.executable, "-m", "rerun", "rrd", "print", str(tmp_path / "out.rrd")]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pictures = {f"/{row}/{view}" for row in ("camera", "imagined") for view in VIEWS}
    assert {*pictures, "/joints", "/value", "/log/caption", "/log/Policy"} <= set(printed.split())


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a film ends in .mp4, .gif or .rrd"):
        open_film(tmp_path / "out.avi")
