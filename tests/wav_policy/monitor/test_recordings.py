"""Replay of recorded episodes: from our own dataset layout, and from a rosbag2 in MCAP."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests.wav_models.training.recorded import record
from tests.wav_policy.nodes.fake_browser import browser
from wav_models.data.dataset import DatasetError
from wav_models.embodiments import LIBERO_PANDA
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY
from wav_models.types import Observation, Plan
from wav_policy.cli.main import main
from wav_policy.monitor.commands import EPISODE, SEEK, SPEED, CommandError
from wav_policy.monitor.open_recording import check_recording, open_recording
from wav_policy.monitor.recording import Recording, ReplayError
from wav_policy.monitor.replay import Replay
from wav_policy.monitor.replay_film import film_replay
from wav_policy.monitor.replay_page import ReplayPage
from wav_policy.monitor.snapshot import ERROR, PLANNING, ReplayPlace
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES
from wav_policy.robot.model import home_positions

FEW = PlannerConfig(num_iterations=1, num_video_samples=2, num_video_elites=1, num_value_samples=2, num_value_elites=1)
PATIENCE = 180.0
"""For machines that are busy with other things [s]."""
STEP_HZ, SIZE = WAV_TINY.horizon.step_hz, WAV_TINY.latent.image_size


def make_recording(length: int = 12) -> Recording:
    images = np.random.default_rng(0).integers(0, 255, (length, *SIZE, 3), dtype=np.uint8)
    views = dict.fromkeys(VIEWS, images)
    rows = np.tile(np.arange(length, dtype=np.float64)[:, None], JOINT_DIM)
    values = np.arange(length) / 10.0
    return Recording("test", STEP_HZ, "put it away", np.zeros((length, JOINT_DIM)), rows, views, views, values)


def write_bag(directory: Path, seconds: float = 2.0, *, without: str = "", storage: str = "MCAP") -> Path:
    """Cameras at different rates and phases (brightness tells the time), joints at 50 Hz, an instruction."""
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the extra `bags` is not installed")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types = store.types
    image_type, joint_type, text_type = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "std_msgs/msg/String"
    header, stamp_type = types["std_msgs/msg/Header"], types["builtin_interfaces/msg/Time"]

    def at(t: float) -> object:
        return header(stamp=stamp_type(sec=int(t), nanosec=round((t % 1) * 1e9)), frame_id="")

    with rosbag2.Writer(directory, version=9, storage_plugin=rosbag2.StoragePlugin[storage]) as writer:

        def write(topic: str, kind: str, t: float, message: object) -> None:
            if topic != without:
                known = {connection.topic: connection for connection in writer.connections}
                connection = known.get(topic) or writer.add_connection(topic, kind, typestore=store)
                writer.write(connection, round(t * 1e9), store.serialize_cdr(message, kind))

        write("/instruction", text_type, 100.0, types[text_type](data="fold it"))
        for view, rate, phase in zip(VIEWS, (30.0, 15.0, 20.0), (0.0, 0.013, 0.021), strict=True):
            for t in np.arange(phase, seconds, 1.0 / rate):
                pixels = np.full(24 * 32 * 3, round(100 * t), np.uint8)
                message = types[image_type](at(100 + t), 24, 32, "rgb8", 0, 96, pixels)
                write(f"/{view}/image_raw", image_type, 100 + t, message)
        names = list(reversed(JOINT_NAMES))
        for t in np.arange(0.0, seconds, 0.02):
            values = np.arange(JOINT_DIM)[::-1] + t
            message = types[joint_type](at(100 + t), names, values, np.zeros(0), np.zeros(0))
            write("/joint_states", joint_type, 100 + t, message)
    return directory


@pytest.mark.parametrize(("storage", "suffix"), [("MCAP", "mcap"), ("SQLITE3", "db3")])
def test_a_bag_becomes_steady_frames_of_the_newest_that_had_come(tmp_path: Path, storage: str, suffix: str) -> None:
    recording = open_recording(write_bag(tmp_path / "bag", storage=storage), 0, SIZE, STEP_HZ, rgb_from_any)
    assert recording.instruction == "fold it"
    assert len(recording) == 20  # from the last camera's first frame, 0.021 s, to the 15 Hz camera's last
    assert recording.model_images["head"].shape == (20, *SIZE, 3)
    np.testing.assert_allclose(recording.actions[:-1], recording.states[1:])  # nothing says what was commanded
    np.testing.assert_allclose(recording.states[:, 0], 0.02 + 0.1 * np.arange(20), atol=1e-9)
    np.testing.assert_allclose(recording.states[0], np.arange(JOINT_DIM) + 0.02)  # reordered by name
    for view, period in zip(VIEWS, (1 / 30, 1 / 15, 1 / 20), strict=True):
        times = 0.021 + 0.1 * np.arange(20)
        ages = times - recording.model_images[view][:, 0, 0, 0] / 100
        assert ages.min() > -0.006  # brightness is rounded to 10 ms
        assert ages.max() < period + 0.006
    (file,) = (tmp_path / "bag").glob(f"*.{suffix}")
    assert len(open_recording(file, 0, SIZE, STEP_HZ, rgb_from_any)) == 20


@pytest.mark.parametrize(("success", "mark"), [(True, " (success)"), (False, " (failure)"), (None, "")])
def test_of_a_dataset_it_is_told_whether_it_went_well_and_what_was_commanded_for_each_step(
    tmp_path: Path, success: bool | None, mark: str
) -> None:
    """At 20 Hz two rows make a step; the command that is due at the next one is in the row before it."""
    fps, root = 2 * round(STEP_HZ), tmp_path / "drawer"
    images = dict.fromkeys(VIEWS, np.zeros((48, 64, 3), np.uint8))
    with DatasetWriter(root, fps=fps, image_sizes=dict.fromkeys(VIEWS, (48, 64))) as writer:
        writer.start_episode("wave", {} if success is None else {"success": success})
        for row in range(6):
            writer.add_frame(images, home_positions(), home_positions() + 0.01 * row, row / fps)
        writer.end_episode()
    recording = open_recording(root, 0, SIZE, STEP_HZ, rgb_from_any)
    assert recording.title == f"drawer, episode 0{mark}"
    assert recording.values is None
    np.testing.assert_allclose(recording.actions[:, 0] - home_positions()[0], [0.01, 0.03, 0.05], atol=1e-6)


def test_a_bag_without_a_topic_is_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", without="/left_wrist/image_raw")
    with pytest.raises(ReplayError, match="nothing recorded of /left_wrist/image_raw"):
        open_recording(bag, 0, SIZE, STEP_HZ, rgb_from_any)


def test_what_is_no_recording_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ReplayError, match="neither a LeRobot dataset"):
        open_recording(tmp_path, 0, SIZE, STEP_HZ, rgb_from_any)
    assert main(["replay", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    data = record(tmp_path / "libero", "tidy up", [True], robot=LIBERO_PANDA, fps=20)
    assert main(["replay", str(data)]) == 2
    assert "libero/meta/info.json: observation.state has shape [8]; bimanual_piper has" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="bimanual_piper"):
        check_recording(data, 0)  # before a checkpoint is loaded
    (tmp_path / "broken.mcap").write_bytes(b"no bag at all")
    with pytest.raises(ReplayError):
        open_recording(tmp_path / "broken.mcap", 0, SIZE, STEP_HZ, rgb_from_any)


def test_the_imagination_is_recomputed_beside_the_recording(random_checkpoint: Path, tmp_path: Path) -> None:
    recording, policy = make_recording(), WAVPolicy.load(random_checkpoint, engine="torch", num_threads=1, planner=FEW)
    replay = Replay(recording, policy)
    try:
        deadline = time.monotonic() + PATIENCE
        while replay.num_imagined < replay.num_plans and time.monotonic() < deadline:
            time.sleep(0.1)
        assert replay.num_plans == 3  # at frames 0, 4 and 8
        before, at_first, late = replay.snapshot(7), replay.snapshot(8), replay.snapshot(11)
        assert not before.imagined  # the first imagined frame is of 0.8 s later
        (first, known) = (at_first.imagined["head"], policy.imagine(replay._known[0].plan))
        np.testing.assert_array_equal(first, known[0, 0])
        assert late.chunk is replay._known[8].plan.chunk
        assert at_first.recorded_actions is late.recorded_actions is not None
        assert late.recorded_actions[:, 0].tolist() == [8.0, 9.0, 10.0]  # due at 9, 10, 11, the last frame
        assert late.recorded_values is not None
        assert late.recorded_values.tolist() == [0.9, 1.0, 1.1]
        horizon = policy.config.horizon
        first_plan = replay.snapshot(0)
        assert first_plan.recorded_actions is not None
        assert len(first_plan.recorded_actions) == min(horizon.action_horizon, 11)
        assert late.scores is not None
        assert late.scores.shape[1] == policy.planner.num_video_samples
        np.testing.assert_array_equal(late.real["head"], recording.pictures["head"][11])
        again = replay.snapshot(11)  # the page sends what is another object
        assert again.scores is late.scores
        assert again.futures is late.futures is not None
        assert again.value_times is late.value_times
        assert all(again.real[view] is late.real[view] for view in VIEWS)
        assert all(again.imagined[view] is late.imagined[view] for view in VIEWS)
        film_replay(replay, recording, tmp_path / "film.mp4", print)
        with av.open(str(tmp_path / "film.mp4")) as film:
            assert len(list(film.decode(film.streams.video[0]))) == len(recording)
        film_replay(replay, recording, tmp_path / "film.mcap", print)
        again = open_recording(tmp_path / "film.mcap", 0, SIZE, STEP_HZ, rgb_from_any)
        assert (len(again), again.instruction) == (len(recording), recording.instruction)
    finally:
        replay.close()


def test_a_film_of_what_cannot_be_imagined_says_why(
    random_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording, policy = make_recording(), WAVPolicy.load(random_checkpoint, engine="torch", num_threads=1, planner=FEW)
    monkeypatch.setattr(policy, "plan", lambda *arguments, **options: 1 / 0)
    with (
        closing(Replay(recording, policy)) as replay,
        pytest.raises(ReplayError, match="imagining stopped at 0.0 s: ZeroDivisionError"),
    ):
        film_replay(replay, recording, tmp_path / "film.mp4", print)
    assert not (tmp_path / "film.mp4").exists()


def test_wav_replay_shows_a_bag_and_what_is_imagined_of_it(tmp_path: Path, random_checkpoint: Path) -> None:
    """The command as the user gives it, to a browser's websocket."""
    (file,) = write_bag(tmp_path / "bag").glob("*.mcap")
    command = [sys.executable, "-m", "wav_policy.cli", "replay", str(file), "--checkpoint", str(random_checkpoint)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(": 20 frames, 'fold it'\n")
        url = process.stdout.readline().split()[-1]
        with browser(url) as page:
            deadline = time.monotonic() + PATIENCE
            while not (page.shows("fold it") and page.shows("5 of 5 futures imagined") and page.has_picture("futures")):
                assert time.monotonic() < deadline, page.contents
            assert page.has_picture("real head")
            assert page.contents["paths"] is not None
            assert page.contents["playback"]["end"] == 1.9
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()


class FailingPolicy:
    """Cannot plan."""

    config = WAV_TINY

    def plan(self, observation: Observation, **options: Any) -> Plan:
        raise FloatingPointError("a value is not finite")


def test_another_episode_takes_the_place_of_the_first_and_one_that_does_not_open_does_not() -> None:
    def open_episode(number: int) -> Recording:
        if number == 2:
            raise ReplayError("its video is damaged")
        return dataclasses.replace(make_recording(5), title=f"episode {number}", episode=number, num_episodes=3)

    first = Replay(dataclasses.replace(make_recording(), num_episodes=3), FailingPolicy())  # type: ignore[arg-type]
    with closing(ReplayPage(first, open_episode)) as page:
        page.obey(SPEED, "2")
        page.obey(SEEK, "0.5")
        assert page.obey(EPISODE, "1") == ""
        shown = ReplayPlace(0.0, 0.4, playing=True, speed=2.0, step=0.1, episode=1, num_episodes=3)
        assert page._playback == shown
        assert page._replay.snapshot(0).title.startswith("episode 1,")
        for wrong, why in (("3", "the last one is 2"), ("-1", "no episode -1"), ("0.5", "0.5"), ("x", "no number")):
            with pytest.raises(CommandError, match=why):
                page.obey(EPISODE, wrong)
        with pytest.raises(ReplayError, match="damaged"):
            page.obey(EPISODE, "2")
        assert page._playback == shown
        assert not first._thread.is_alive()


def test_imagining_that_fails_is_said() -> None:
    replay = Replay(make_recording(), FailingPolicy())  # type: ignore[arg-type]
    try:
        replay._thread.join(10.0)
        report = replay.snapshot(0).reports[PLANNING]
        assert report.level == ERROR
        assert "a value is not finite" in report.message
    finally:
        replay.close()
