"""Pictures are found by their time, whatever the rate and the coding of the video."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from wav_models.data.video_reader import VideoError, read_frames

SIZE = (32, 48)


def grey_of(frame: int) -> int:
    """Of a picture: neighbours differ by far more than coding changes."""
    return 20 + 37 * frame % 211


def encode(path: Path, times: Sequence[float], **options: str) -> Path:
    """A video whose picture i, of the grey `grey_of(i)`, is shown at times[i] [s]."""
    with av.open(str(path.absolute()), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "12", **options})
        stream.height, stream.width = SIZE
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, 90000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((*SIZE, 3), grey_of(number), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(90000 * time), Fraction(1, 90000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def shown(path: Path, fps: float, frames: Sequence[int], start: float = 0.0) -> list[float]:
    return [float(image.mean()) for image in read_frames(path, fps, frames, None, start)]


@pytest.mark.parametrize(("fps", "stride"), [(60, 1), (30, 2), (15, 4), (10, 6)])
def test_of_a_faster_video_the_pictures_of_the_frames_own_times_are_read(tmp_path: Path, fps: int, stride: int) -> None:
    path = encode(tmp_path / "v.mp4", np.arange(90) / 60, g="12")
    frames = range(90 // stride)
    np.testing.assert_allclose(shown(path, fps, frames), [grey_of(stride * f) for f in frames], atol=4)
    later = range(3)  # of an episode that does not begin at a frame of its rate
    np.testing.assert_allclose(shown(path, fps, later, 7 / 60), [grey_of(7 + stride * f) for f in later], atol=4)


def test_times_that_are_not_even_are_those_of_the_nearest_frames(tmp_path: Path) -> None:
    times = np.arange(40) / 30 + np.random.default_rng(0).uniform(0.0, 0.012, 40)
    path = encode(tmp_path / "v.mp4", times)
    np.testing.assert_allclose(shown(path, 30, range(40)), [grey_of(f) for f in range(40)], atol=4)
    dropped = encode(tmp_path / "dropped.mp4", [f / 30 for f in range(40) if f != 20])
    with pytest.raises(VideoError, match="frame 20, due at 0.667 s, is missing .1 of 40 wanted frames.; the video has"):
        read_frames(dropped, 30, range(40))


@pytest.mark.parametrize(
    "options", [{"x264-params": "open-gop=1:scenecut=0:b-adapt=0", "g": "15", "bf": "3"}, {"g": "250", "bf": "3"}]
)
def test_any_frame_is_found_behind_any_key_frame(tmp_path: Path, options: dict[str, str]) -> None:
    path = encode(tmp_path / "v.mp4", np.arange(90) / 30, **options)
    for frame in range(90):
        np.testing.assert_allclose(shown(path, 30, [frame]), [grey_of(frame)], atol=4)


def test_frames_of_the_next_episode_are_not_shown(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", np.arange(30) / 30)
    assert len(read_frames(path, 30, range(10), None, 0.5, 25 / 30)) == 10
    with pytest.raises(VideoError, match="frame 9, due at 0.800 s, is missing .* this episode's part to 0.800 s"):
        read_frames(path, 30, range(10), None, 0.5, 24 / 30)


def test_a_video_that_begins_late_is_refused_whatever_is_read_of_it(tmp_path: Path) -> None:
    path = encode(tmp_path / "v.mp4", np.arange(2, 32) / 30)
    for frame in (0, 20):
        with pytest.raises(VideoError, match="begins at 0.06. s and not at 0"):
            read_frames(path, 30, [frame])


def test_a_relative_path_may_have_a_colon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pick:place").mkdir()
    assert len(read_frames(encode(Path("pick:place/v.mp4"), [0.0, 0.1]), 10, [0, 1])) == 2
