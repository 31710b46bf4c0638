"""Recordings of somebody else's stack become episodes: MCAP and sqlite3, raw and JPEG, a topic for every arm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from wav_models import project_files
from wav_models.configuration import ConfigurationError, from_dict, load
from wav_models.data.dataset import Dataset
from wav_policy.cli.main import main
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.recording.bag import BagError
from wav_policy.recording.bag_conversion import convert
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

MAP = project_files.find("config/bag_map.yaml")
TOPICS = load(BagTopics, MAP)
SECONDS = 2.0


def at(types: Any, t: float) -> Any:
    stamp = types["builtin_interfaces/msg/Time"](sec=int(t), nanosec=round((t % 1) * 1e9))
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="")


def write_bag(
    directory: Path,
    storage: str = "MCAP",
    *,
    jpeg: bool = True,
    without: str = "",
    pause: str = "",
    width: int = 7,
    text: str = "",
    leap: float = 0.0,
    broken: float = 0.1,
    names: Sequence[str] = (),
    wheels: str = "",
) -> Path:
    """Three cameras at 30 Hz (brightness: 100 per second), two arms at 50 Hz, measured 0.01 behind what is commanded.

    Args:
        without: topic that is not recorded.
        pause: topic with nothing between 0.5 s and 1.2 s.
        width: positions in an arm's message.
        text: topic that holds texts instead.
        leap: of all clocks after 1 s [s].
        broken: of the second number of the arms, after 1.5 s.
        names: of the joints.
        wheels: topic on which somebody else tells of wheels.
    """
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the extra `bags` is not installed")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types = store.types
    with rosbag2.Writer(directory, version=9, storage_plugin=rosbag2.StoragePlugin[storage]) as writer:
        known: dict[str, Any] = {}

        def write(topic: str, kind: str, t: float, message: Any) -> None:
            if topic == without or (topic == pause and 0.5 < t < 1.2):
                return
            if topic == text:
                kind = "std_msgs/msg/String"
                message = types[kind]("x")
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], round((100.0 + t) * 1e9), store.serialize_cdr(message, kind))

        def clock(t: float) -> Any:
            return at(types, 100 + t + (leap if t > 1.0 else 0.0))

        for t in np.arange(0.0, SECONDS, 1 / 30):
            for view, topic in TOPICS.images.items():
                level = round(100 * t) + 10 * VIEWS.index(view)
                picture = np.full((48, 64, 3), level, np.uint8)
                if jpeg:
                    data = cv2.imencode(".jpg", picture)[1].ravel()
                    kind = "sensor_msgs/msg/CompressedImage"
                    write(f"{topic}/compressed", kind, t, types[kind](clock(t), "rgb8; jpeg", data))
                else:
                    kind = "sensor_msgs/msg/Image"
                    message = types[kind](clock(t), 48, 64, "bgr8", 0, 192, picture.ravel())
                    write(topic, kind, t, message)
        for t in np.arange(0.0, SECONDS, 0.02):
            for number, topic in enumerate([*TOPICS.joints, *TOPICS.actions]):
                values = 0.1 * np.arange(width) + 0.1 * t + (0.01 if number >= 2 else 0.0) + 0.5 * (number % 2)
                values[1] += broken - 0.1 if t > 1.5 else 0.0
                called = list(names) or [f"joint{i}" for i in range(width)]
                kind = "sensor_msgs/msg/JointState"
                empty = np.zeros(0)
                write(topic, kind, t, types[kind](clock(t), called, values, empty, empty))
                if topic == wheels:
                    write(topic, kind, t + 0.01, types[kind](clock(t), ["wheel"], np.zeros(1), empty, empty))
    return directory


@pytest.mark.parametrize(("storage", "jpeg"), [("MCAP", True), ("SQLITE3", True), ("MCAP", False)])
def test_an_episode_has_what_was_recorded_at_every_instant(
    tmp_path: Path, storage: str, jpeg: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the example is found from anywhere
    root = tmp_path / "dataset"
    write_bag(tmp_path / "bag", storage, jpeg=jpeg)
    command = ["dataset", "convert", "bag", "dataset", "--topics", "config/bag_map.yaml", "--instruction", "fold it"]
    assert main(command) == 0
    assert main(command) == 0, "another recording is another episode"
    first, second = Dataset(root)
    times = 0.1 * np.arange(20)
    assert (first.instruction, len(first), len(second)) == ("fold it", 20, 20)
    for side in (0, 7):
        expected = 0.1 * np.arange(7) + 0.1 * times[:, None] + 0.5 * bool(side)
        np.testing.assert_allclose(first.states[:, side : side + 7], expected, atol=1e-5)
        np.testing.assert_allclose(first.actions[:, side : side + 7], expected + 0.01, atol=1e-5)
    for number, view in enumerate(VIEWS):
        levels = first.images(view)[:, 5, 5].astype(float).mean(axis=1)
        np.testing.assert_allclose(levels, 100 * times + 10 * number, atol=6.0)


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({"without": "/puppet/joint_left"}, ["--instruction", "x"], "nothing recorded of /puppet/joint_left"),
        ({"without": "/camera_l/color/image_raw/compressed"}, ["--instruction", "x"], "of /camera_l/color/image_raw"),
        ({"pause": "/camera_f/color/image_raw/compressed"}, ["--instruction", "x"], "/camera_f.*paused for 0.[67]"),
        ({"pause": "/master/joint_right"}, ["--instruction", "x"], "/master/joint_right paused for 0.[67]"),
        ({"width": 6}, ["--instruction", "x"], "/puppet/joint_left has 6 positions; the map names 7"),
        ({}, [], "give one: --instruction TEXT"),
        (
            {"text": "/camera_l/color/image_raw/compressed"},
            ["--instruction", "x"],
            "holds std_msgs/msg/String; sensor_ms",
        ),
        ({"text": "/master/joint_left"}, ["--instruction", "x"], "/master/joint_left holds no numbers"),
        ({"leap": 1.7e9}, ["--instruction", "x"], "image_raw leap by 1700000000 s; cut the recording there"),
        ({"broken": np.nan}, ["--instruction", "x"], "/puppet/joint_left has left_joint2 at nan"),
    ],
)
def test_what_is_no_training_data_is_named_and_leaves_no_episode(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    arguments: list[str],
    message: str,
) -> None:
    bag, root = write_bag(tmp_path / "bag", **options), tmp_path / "dataset"
    assert main(["dataset", "convert", str(bag), str(root), "--topics", str(MAP), *arguments]) == 2
    said = capsys.readouterr().err
    assert "\n" not in said.strip()
    assert re.search(message, said)
    assert not (root / "meta").exists()


def test_only_a_text_is_an_instruction(tmp_path: Path) -> None:
    topics = replace(TOPICS, instruction="/puppet/joint_left")
    with pytest.raises(BagError, match="/puppet/joint_left holds sensor_msgs/msg/JointState; std_msgs/msg/String fits"):
        convert(write_bag(tmp_path / "bag"), tmp_path / "dataset", topics, 10, "", rgb_from_any)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {"head": "/x"}}, "images has no topic for left_wrist, right_wrist"),
        ({"images": {"ceiling": "/x"}}, "unknown view 'ceiling'"),
        ({"joints": {"/x": list(JOINT_NAMES[:13])}}, "unlike right_gripper"),
        ({"joints": {"/x": [], "/y": ["left_joint1"]}}, "unlike left_joint1"),
        ({"scale": {"elbow": 1.0}}, "unknown joint 'elbow'"),
        ({"jointz": {}}, "did you mean 'joints'"),
    ],
)
def test_a_wrong_map_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_dict(BagTopics, {**yaml.safe_load(MAP.read_text()), **change}, "map.yaml")


def damaged(bag: Path, how: str) -> Path:
    """The recording after an accident."""
    (file,) = (path for path in bag.iterdir() if path.suffix in (".mcap", ".db3"))
    data = bytearray(file.read_bytes())
    match how.partition(" "):
        case ("cut", _, share):
            del data[int(float(share) * len(data)) :]
        case ("bits", _, seed):
            for place in np.random.default_rng(int(seed)).integers(0, len(data), 40):
                data[place] ^= 0x55
        case ("text", _, text):
            (bag / "metadata.yaml").write_text(text)
        case ("gone", _, _):
            file.unlink()
            return bag
    file.write_bytes(data)
    return bag


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
@pytest.mark.parametrize(
    "how",
    ["cut 0", "cut 0.01", "cut 0.5", "cut 0.99", *(f"bits {seed}" for seed in range(8)), "gone", "text ", "text a: ["],
)
def test_a_damaged_recording_is_one_sentence_or_still_good(storage: str, how: str, tmp_path: Path) -> None:
    bag = damaged(write_bag(tmp_path / "bag", storage), how)
    frames, said = 0, ""
    try:
        frames = convert(bag, tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any)
    except BagError as error:
        said = str(error)
    if frames and how.startswith("bits"):
        return
    assert said.startswith(str(bag))
    assert "\n" not in said
    assert not any((tmp_path / "dataset/data").rglob("*.parquet"))


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_a_directory_that_lost_its_metadata_is_read_all_the_same(storage: str, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", storage)
    (bag / "metadata.yaml").unlink()
    assert convert(bag, tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any) > 10
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="neither metadata.yaml nor any .mcap or .db3 file"):
        convert(tmp_path / "empty", tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any)


def test_other_drivers_share_the_topic_of_the_joints(tmp_path: Path) -> None:
    topic = next(iter(TOPICS.joints))
    topics = replace(TOPICS, joints={topic: ()}, actions={})
    bag = write_bag(tmp_path / "shared", width=14, names=JOINT_NAMES, wheels=topic)
    assert convert(bag, tmp_path / "dataset", topics, 10, "stack the plates", rgb_from_any) > 10
    bag = write_bag(tmp_path / "other", width=14)
    with pytest.raises(BagError, match=f"nothing recorded of {topic} .only of other joints: joint0, joint1"):
        convert(bag, tmp_path / "dataset", topics, 10, "stack the plates", rgb_from_any)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_recordings_compressed_with_zstd(storage: str, mode: str, tmp_path: Path) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the extra `bags` is not installed")

    class Compressing(rosbag2.Writer):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_compression(rosbag2.CompressionMode[mode], rosbag2.CompressionFormat.ZSTD)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rosbag2, "Writer", Compressing)
        bag = write_bag(tmp_path / "bag", storage)
    assert "zstd" in (bag / "metadata.yaml").read_text()
    assert convert(bag, tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any) > 10
