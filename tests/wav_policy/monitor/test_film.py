from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from wav_models import project_files
from wav_models.types import ActionChunk
from wav_policy.monitor.arm_strokes import stroke_ends, strokes
from wav_policy.monitor.film import FPS, frame, open_film
from wav_policy.monitor.open_recording import open_recording
from wav_policy.monitor.snapshot import Snapshot, StatusReport
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.description import arm_bodies, rotate


def make_snapshot(brightness: int) -> Snapshot:
    real = {view: np.full((240, 320, 3), brightness, np.uint8) for view in VIEWS}
    imagined = {view: np.full((64, 64, 3), 200, np.uint8) for view in VIEWS}
    values, scores = np.linspace(0.1, 0.5, 16), np.array([[10.0, 20.0], [15.0, 30.0]])
    joints = np.full(14, 0.01 * brightness)
    futures = np.full((126, 8 * 160, 3), 60, np.uint8)
    return Snapshot(joints=joints, real=real, imagined=imagined, values=values, scores=scores, futures=futures)


def test_cameras_are_above_what_was_imagined() -> None:
    picture = frame(make_snapshot(100), "episode 1: wave")
    middle = len(picture[0]) // 2
    assert (picture[150, [200, middle, -100]] == 100).all()
    assert (picture[450, [200, middle, -100]] == 200).all()
    assert (picture[620, [10, middle, -10]] == 60).all()
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


def test_mcap_has_what_the_page_shows_under_the_topics_of_the_layout(tmp_path: Path) -> None:
    highlevel = pytest.importorskip("rosbags.highlevel", reason="the extra `bags` is not installed")
    reports = {"policy_node: planning": StatusReport(1, "late", {"rounds": "0"})}
    chunk = ActionChunk(np.arange(28.0).reshape(2, 14), stamp=5e8, step=0.1)
    film = open_film(tmp_path / "out.mcap")
    same = make_snapshot(0)
    for brightness in range(0, 200, 10):
        moment = make_snapshot(brightness)
        film.add(replace(moment, imagined=same.imagined, reports=reports, chunk=chunk, instruction="wave"), "episode 1")
    film.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out.mcap"]
    with highlevel.AnyReader([tmp_path / "out.mcap"]) as reader:  # types are those in the file
        counts = {connection.topic: connection.msgcount for connection in reader.connections}
        found = {each.topic: (time, reader.deserialize(data, each.msgtype)) for each, time, data in reader.messages()}
    layout = json.loads(project_files.find("config/foxglove_layout.json").read_text())
    shown = set(re.findall(r'"(/[a-z_/]+)', json.dumps(layout["configById"])))
    assert shown - set(counts) == {"/imagined/markers"}
    assert (counts["/head/image_raw/compressed"], counts["/joint_states"], counts["/imagined/head/image_raw"]) == (
        20,
        20,
        1,
    )
    (time, state), (_, picture) = found["/joint_states"], found["/imagined/left_wrist/image_raw"]
    assert time == 2_900_000_000 == state.header.stamp.sec * 10**9 + state.header.stamp.nanosec
    np.testing.assert_allclose(state.position, 1.9)
    assert (rgb_from_any(picture) == 200).all()
    assert (counts["/instruction"], counts["/rosout"], found["/rosout"][1].msg) == (1, 1, "episode 1")
    (status,) = found["/diagnostics"][1].status
    assert (status.level, status.name, status.message, status.values[0].key) == (
        1,
        "policy_node: planning",
        "late",
        "rounds",
    )
    assert [point.time_from_start.nanosec for point in found["/action_chunk"][1].points] == [10**8, 2 * 10**8]
    again = open_recording(tmp_path / "out.mcap", 0, (64, 64), float(FPS), rgb_from_any)
    assert (len(again), again.instruction) == (20, "wave")
    np.testing.assert_allclose(again.states[:, 3], 0.1 * np.arange(20))
    np.testing.assert_allclose(again.model_images["head"][:, 5, 5, 1], 10 * np.arange(20), atol=3)


def test_mcap_places_the_robot_where_the_page_draws_it(tmp_path: Path) -> None:
    highlevel = pytest.importorskip("rosbags.highlevel", reason="the extra `bags` is not installed")
    joints = np.random.default_rng(0).uniform(-0.9, 0.9, 14)
    joints[[6, 13]] = 0.03, 0.07
    film = open_film(tmp_path / "out.mcap")
    film.add(Snapshot(joints=joints), "")
    film.close()
    poses = {"world": np.eye(4)}
    with highlevel.AnyReader([tmp_path / "out.mcap"]) as reader:
        (connection,) = [each for each in reader.connections if each.topic == "/tf"]
        ((_, _, data),) = reader.messages([connection])
        for each in reader.deserialize(data, connection.msgtype).transforms:
            pose, turn, place = np.eye(4), each.transform.rotation, each.transform.translation
            quaternion = np.array([turn.w, turn.x, turn.y, turn.z])
            pose[:3, :3] = np.stack([rotate(quaternion, axis) for axis in np.eye(3)], axis=1)
            pose[:3, 3] = place.x, place.y, place.z
            poses[each.child_frame_id] = poses[each.header.frame_id] @ pose
    bodies = [poses[arm_bodies()[stroke.body].name] for stroke in strokes()]
    drawn = [stroke.ends @ pose[:3, :3].T + pose[:3, 3] for stroke, pose in zip(strokes(), bodies, strict=True)]
    np.testing.assert_allclose(drawn, stroke_ends(joints), atol=1e-9)
    assert {f"{view}_camera" for view in VIEWS} <= set(poses)


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a film ends in one of .mp4, .gif, .rrd, .mcap"):
        open_film(tmp_path / "out.avi")
