"""Recordings of somebody else's stack become episodes: MCAP and sqlite3, raw and JPEG, a topic for every arm."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from wav_models import project_files
from wav_models.configuration import ConfigurationError, from_dict, load
from wav_models.data.dataset import Dataset, Episode
from wav_policy.cli.main import main
from wav_policy.monitor.open_recording import open_recording
from wav_policy.monitor.recording import ReplayError
from wav_policy.nodes.messages.images import rgb_from_any
from wav_policy.recording.bag_conversion import convert
from wav_policy.recording.bag_file import BagError
from wav_policy.recording.bag_topics import BagTopics
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_NAMES

MAP = project_files.find("config/bag_map.yaml")
TOPICS = load(BagTopics, MAP)
SECONDS = 2.0


def at(types: Any, t: float) -> Any:
    stamp = types["builtin_interfaces/msg/Time"](sec=int(t), nanosec=round((t % 1) * 1e9))
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id="")


ARMS = {
    f"/{which}/joint_{side}": [[f"{which}/{name}" for name in JOINT_NAMES if name.startswith(side)]]
    for which in ("puppet", "master")
    for side in ("left", "right")
}
"""Topics of the map, and what the joints are called there."""
THEIRS = {f"puppet/{name}": name for name in JOINT_NAMES}
SHUFFLED = ["wheel", *reversed(THEIRS), "lift"]
LEFT, RIGHT = list(JOINT_NAMES[:7]), list(JOINT_NAMES[7:])


def position(name: str, t: float, broken: float = 0.0) -> float:
    """Of a joint, by its name; `broken` is added to the second ones after 1.5 s."""
    which, _, ours = name.rpartition("/")
    place = JOINT_NAMES.index(ours) if ours in JOINT_NAMES else 50
    excess = broken if "joint2" in name and t > 1.5 else 0.0
    return 0.1 * (place % 7) + 0.1 * t + 0.5 * (place // 7) + (0.01 if which == "master" else 0.0) + excess


def write_bag(
    directory: Path,
    storage: str = "MCAP",
    *,
    jpeg: bool = True,
    without: str = "",
    pause: str = "",
    width: int = 99,
    text: str = "",
    clock: Callable[[str, float], float] = lambda topic, t: 100.0 + t,
    damaged: Collection[int] = (),
    broken: float = 0.0,
    silent: Collection[str] = (),
    arms: Mapping[str, Sequence[Sequence[str]]] | None = None,
) -> Path:
    """Three cameras at 30 Hz (brightness: 100 per second), two arms at 50 Hz, measured 0.01 behind what is commanded.

    Args:
        without: topic that is not recorded.
        pause: topic with nothing between 0.5 s and 1.2 s.
        width: joints in a message, at most.
        text: topic that holds texts instead.
        clock: stamp of what is sent on a topic at a time [s].
        damaged: numbers of the head's pictures that are cut off.
        broken: of the second number of the arms, after 1.5 s.
        silent: topics with pictures of which none comes.
        arms: topics instead of the four, with the names in each of the messages that come there at a time.
    """
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the extra `bags` is not installed")
    typesys = pytest.importorskip("rosbags.typesys")
    store = typesys.get_typestore(typesys.Stores.ROS2_JAZZY)
    types = store.types
    with rosbag2.Writer(directory, version=9, storage_plugin=rosbag2.StoragePlugin[storage]) as writer:
        known: dict[str, Any] = {}
        for topic in silent:
            writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=store)

        def write(topic: str, kind: str, t: float, message: Any) -> None:
            if topic == without or (topic == pause and 0.5 < t < 1.2):
                return
            if topic == text:
                kind = "std_msgs/msg/String"
                message = types[kind]("x")
            if topic not in known:
                known[topic] = writer.add_connection(topic, kind, typestore=store)
            writer.write(known[topic], round((100.0 + t) * 1e9), store.serialize_cdr(message, kind))

        for number, t in enumerate(np.arange(0.0, SECONDS, 1 / 30).tolist()):
            for view, topic in TOPICS.images.items():
                level = round(100 * t) + 10 * VIEWS.index(view)
                picture = np.full((48, 64, 3), level, np.uint8)
                header = at(types, clock(topic, t))
                if jpeg:
                    whole = cv2.imencode(".jpg", picture)[1].ravel()
                    data = whole[: len(whole) // 2] if view == "head" and number in damaged else whole
                    kind = "sensor_msgs/msg/CompressedImage"
                    write(f"{topic}/compressed", kind, t, types[kind](header, "rgb8; jpeg", data))
                else:
                    kind = "sensor_msgs/msg/Image"
                    message = types[kind](header, 48, 64, "bgr8", 0, 192, picture.ravel())
                    write(topic, kind, t, message)
        for t in np.arange(0.0, SECONDS, 0.02).tolist():
            for topic, messages in (ARMS if arms is None else arms).items():
                for names in messages:
                    values = np.array([position(name, t, broken) for name in names])
                    kind, empty = "sensor_msgs/msg/JointState", np.zeros(0)
                    message = types[kind](at(types, clock(topic, t)), names[:width], values[:width], empty, empty)
                    write(topic, kind, t, message)
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
    check(first, times)


def check(episode: Episode, times: NDArray[np.floating[Any]], *, late: float = 0.0) -> None:
    """What was recorded at `times` [s] is in its rows, pictures up to `late` [s] older."""
    expected = np.array([[position(name, t) for name in JOINT_NAMES] for t in times])
    np.testing.assert_allclose(episode.states, expected, atol=2e-3 + 0.1 * late)
    np.testing.assert_allclose(episode.actions, expected + 0.01, atol=2e-3 + 0.1 * late)
    for number, view in enumerate(VIEWS):
        levels = episode.images(view)[:, 5, 5].astype(float).mean(axis=1)
        np.testing.assert_allclose(levels, 100 * times + 10 * number, atol=6.0 + 100 * late)


def converted(bag: Path, root: Path, topics: BagTopics = TOPICS) -> tuple[list[Episode], list[int], str]:
    lengths, remarks = convert(bag, root, topics, 10, "stack the plates", rgb_from_any)
    return list(Dataset(root)), lengths, "\n".join(remarks)


@pytest.mark.parametrize(
    ("wrong", "clock"),
    [
        ("one an hour ahead", lambda topic, t: 100.0 + t + 3600.0 * (abs(t - 1.0) < 1e-6)),
        ("two from long ago", lambda topic, t: 100.0 + t - 80.0 * (abs(t - 1.01) < 0.011)),
        ("one that is 0", lambda topic, t: (100.0 + t) * (abs(t - 1.0) > 1e-6)),
        ("none before the clock ran", lambda topic, t: (100.0 + t) * (t > 0.15)),
        ("the first is of another clock", lambda topic, t: 100.0 + t + 1e9 * (t == 0.0)),
        ("one comes late", lambda topic, t: 100.0 + t - 0.25 * (abs(t - 1.0) < 1e-6)),
    ],
)
def test_a_stamp_that_cannot_be_believed_costs_its_message_only(
    wrong: str, clock: Callable[[str, float], float], tmp_path: Path
) -> None:
    (episode,), _, said = converted(write_bag(tmp_path / "bag", clock=clock), tmp_path / "dataset")
    begins = {"none before the clock ran": 1 / 6, "the first is of another clock": 1 / 30}.get(wrong, 0.0)
    check(episode, begins + 0.1 * np.arange(len(episode)), late=0.04)
    assert len(episode) >= 18
    assert len(re.findall(r"joint_left: [1-9]\d* messages? left out", said)) == (0 if "first" in wrong else 2)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
def test_pictures_are_taken_from_the_topic_that_has_some(storage: str, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", storage, silent=TOPICS.images.values())
    (episode,), _, _ = converted(bag, tmp_path / "dataset")
    check(episode, 0.1 * np.arange(20))


def test_a_clock_that_starts_at_zero_is_one(tmp_path: Path) -> None:
    (episode,), _, said = converted(write_bag(tmp_path / "bag", clock=lambda topic, t: t + 0.01), tmp_path / "dataset")
    check(episode, 0.1 * np.arange(20))
    assert not said


@pytest.mark.parametrize("shift", [-90.0, 1.7e9])
def test_where_the_clock_becomes_another_one_another_episode_begins(shift: float, tmp_path: Path) -> None:
    changes = {topic: 0.99 + 0.01 * number for number, topic in enumerate([*TOPICS.images.values(), *ARMS])}
    bag = write_bag(tmp_path / "bag", clock=lambda topic, t: 100.0 + t + shift * (t >= changes[topic]))
    (first, second), lengths, said = converted(bag, tmp_path / "dataset")
    check(first, 0.1 * np.arange(len(first)))
    begins = next(t for t in 0.02 * np.arange(100) if t >= max(changes.values()))
    check(second, begins + 0.1 * np.arange(len(second)), late=0.04)
    assert (len(first), len(second)) == tuple(lengths) == (10, 10)
    assert said.endswith("2 episodes: a clock became another one in between")
    recording = open_recording(bag, 1, (24, 32), 10.0, rgb_from_any, TOPICS)
    np.testing.assert_allclose(recording.states, second.states, atol=1e-6)
    assert said in "\n".join(recording.remarks)
    with pytest.raises(ReplayError, match="has 2 episodes; --episode 2 is none of them"):
        open_recording(bag, 2, (24, 32), 10.0, rgb_from_any, TOPICS)


def test_a_damaged_picture_is_counted_and_the_one_before_it_shown(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", damaged=[0, 1, 30, 43, 44, 45])
    (episode,), (length,), said = converted(bag, tmp_path / "dataset")
    assert length == len(episode) == 19, "nothing is shown before the first whole picture"
    check(episode, 0.1 * np.arange(1, 20), late=0.11)
    assert re.search(r"camera_f/color/image_raw/compressed: \d messages left out, damaged", said)


@pytest.mark.parametrize(
    ("arms", "joints"),
    [
        ({"/joint_states": [SHUFFLED]}, {"/joint_states": THEIRS}),
        ({"/joint_states": [["wheel"], SHUFFLED[:9], ["lift"], SHUFFLED[9:]]}, {"/joint_states": THEIRS}),
        ({"/joint_states": [RIGHT, ["wheel"], LEFT]}, {"/joint_states": ()}),
        ({"/l": [["wheel", *LEFT]], "/r": [RIGHT]}, {"/l": {name: name for name in LEFT}, "/r": tuple(RIGHT)}),
        ({"/joint_states": [JOINT_NAMES, LEFT]}, {"/joint_states": ()}),
    ],
)
def test_joints_are_found_by_their_names_in_one_message_or_several(
    arms: Any, joints: dict[str, Any], tmp_path: Path
) -> None:
    bag = write_bag(tmp_path / "bag", arms=arms)
    topics = from_dict(BagTopics, {"images": dict(TOPICS.images), "joints": joints, "instruction": ""}, "map.yaml")
    (episode,), _, said = converted(bag, tmp_path / "dataset", topics)
    expected = [[position(name, t) for name in JOINT_NAMES] for t in 0.1 * np.arange(20)]
    np.testing.assert_allclose(episode.states, expected, atol=2e-3)
    assert not said


def test_measured_and_commanded_joints_may_share_a_topic(tmp_path: Path) -> None:
    names = [f"{which}/{name}" for name in JOINT_NAMES for which in ("puppet", "master")]
    bag = write_bag(tmp_path / "bag", arms={"/all": [names]})
    actions = {f"master/{name}": name for name in JOINT_NAMES}
    topics = replace(TOPICS, joints={"/all": THEIRS}, actions={"/all": actions})
    (episode,), _, _ = converted(bag, tmp_path / "dataset", topics)
    check(episode, 0.1 * np.arange(20))


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        (
            {"without": "/puppet/joint_left"},
            ["--instruction", "x"],
            r"nothing recorded of /puppet/joint_left\. There is: /camera_f/",
        ),
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
        (
            {"clock": lambda topic, t: 100.0 + t + 50.0 * (topic == "/puppet/joint_left")},
            ["--instruction", "x"],
            "never recorded at the same time",
        ),
        ({"damaged": range(20, 32)}, ["--instruction", "x"], "camera_f.*no whole picture for 0.3[0-9] s.*cut the reco"),
        ({"damaged": range(60)}, ["--instruction", "x"], "/camera_f/color/image_raw/compressed has no whole picture"),
        ({"broken": np.nan}, ["--instruction", "x"], "/puppet/joint_left has left_joint2 at nan"),
        ({"broken": 1e39}, ["--instruction", "x"], r"/puppet/joint_left has left_joint2 at 1e\+39"),
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
    assert not any((root / "data").rglob("*.parquet"))


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
        ({"joints": {"/x": {**THEIRS, "wheel": "left_joint1"}}}, "unlike left_joint1"),
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
    frames: list[int] = []
    said = ""
    try:
        frames, _ = convert(bag, tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any)
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
    assert converted(bag, tmp_path / "dataset")[1] == [20]
    assert len(open_recording(bag, 0, (24, 32), 10.0, rgb_from_any, TOPICS)) == 20
    (tmp_path / "empty").mkdir()
    with pytest.raises(BagError, match="neither metadata.yaml nor any .mcap or .db3 file"):
        convert(tmp_path / "empty", tmp_path / "dataset", TOPICS, 10, "stack the plates", rgb_from_any)


def test_of_joints_that_nobody_maps_it_is_said_what_there_was(tmp_path: Path) -> None:
    topics = replace(TOPICS, joints={"/puppet/joint_left": ()}, actions={})
    with pytest.raises(BagError, match="nothing recorded of /puppet/joint_left .only of other joints: puppet/left_joi"):
        convert(write_bag(tmp_path / "bag"), tmp_path / "dataset", topics, 10, "stack the plates", rgb_from_any)
    bag = write_bag(tmp_path / "half", arms={"/puppet/joint_left": [LEFT]})
    with pytest.raises(BagError, match="/puppet/joint_left without right_joint1.*a topic map can name its joints"):
        convert(bag, tmp_path / "dataset", topics, 10, "stack the plates", rgb_from_any)


@pytest.mark.parametrize("storage", ["MCAP", "SQLITE3"])
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
def test_recordings_compressed_with_zstd(storage: str, mode: str, tmp_path: Path) -> None:
    rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the extra `bags` is not installed")

    class Compressing(rosbag2.Writer):  # type: ignore[name-defined]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.set_compression(rosbag2.CompressionMode[mode], rosbag2.CompressionFormat.ZSTD)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rosbag2, "Writer", Compressing)
        bag = write_bag(tmp_path / "bag", storage)
    assert "zstd" in (bag / "metadata.yaml").read_text()
    assert converted(bag, tmp_path / "dataset")[1] == [20]
