from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_models.piper import VIDEO_KEYS
from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, SIZES, make_images, make_rows
from wav_models.data import check, tables
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError, read_tasks
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.suggestion import suggest
from wav_models.data.video_reader import VideoError
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.video_encoder import VideoEncoder

LENGTH = 40
DATA = "data/chunk-000/file-001.parquet"
VIDEO = f"videos/{VIDEO_KEYS['left_wrist']}/chunk-000/file-001.mp4"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two episodes of 40 frames."""
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES) as writer:
        for seed in range(2):
            states, actions = make_rows(LENGTH, seed)
            writer.start_episode(INSTRUCTION)
            for frame in range(LENGTH):
                writer.add_frame(make_images(frame), states[frame], actions[frame], frame / FPS)
            writer.end_episode()
    return tmp_path


def change_column(path: Path, name: str, values: np.ndarray | None, is_new: bool = False) -> None:
    table = pq.read_table(path, partitioning=None)
    table = table if is_new else table.drop_columns([name])
    if values is not None:
        flat = pa.array(np.asarray(values, np.float32).reshape(-1))
        column = pa.FixedSizeListArray.from_arrays(flat, values.shape[1]) if values.ndim == 2 else pa.array(values)
        table = table.append_column(name, column)
    pq.write_table(table, path)


def change_info(root: Path, change: Callable[[dict[str, Any]], object], name: str = "info") -> None:
    path = root / f"meta/{name}.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def change_stats(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    change_info(root, change, "stats")


def test_frames_can_be_read_in_any_order(root: Path) -> None:
    episode = Dataset(root).read_episode(1)
    everything = episode.images("head")
    indices = [39, 0, 17, 17, 16, 3, 38]
    np.testing.assert_array_equal(episode.images("head", indices), everything[indices])
    assert episode.images("left_wrist", [5], size=(16, 16)).shape == (1, 16, 16, 3)
    with pytest.raises(VideoError, match="frame 40, due at 4.000 s, is missing"):
        episode.images("head", [40])
    with pytest.raises(ValueError, match="unknown view 'top'; valid: head"):
        episode.images("top")


def test_sound_dataset_has_no_problems(root: Path) -> None:
    assert list(check_dataset(root, fps=FPS)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info.update(fps=0), "fps is 0; it must be a positive whole number"),
        (lambda info: info["features"]["observation.images.top_head"].update(shape=[48, 64]), r"\[3, height, width\]"),
        (
            lambda info: info["features"]["action"].update(names=[f"j{i}" for i in range(14)]),
            "action has the joints j0",
        ),
        (lambda info: info.update(codebase_version="v2.1"), "codebase_version 'v2.1'"),
        (lambda info: info["features"].pop("action"), "feature 'action' of bimanual_piper is missing"),
        (lambda info: info["features"]["action"].update(shape=[7]), r"action has shape \[7\]; bimanual_piper has"),
        (
            lambda info: info["features"]["action"].update(names={"motors": [f"aloha_{i}" for i in range(14)]}),
            "action has the joints aloha_0",
        ),
        (lambda info: info["features"].update(action=None), "feature 'action' is None"),
        (lambda info: info["features"]["action"].update(shape=None), r"action has shape \[\]"),
        (lambda info: info["features"]["action"].update(shape=14), r"action has shape \[\]"),
        (lambda info: info["features"]["observation.images.top_head"].update(shape=3), r"top_head has shape \[\]"),
        (lambda info: info["features"]["action"].update(names=[["a"]] * 14), "action has the joints"),
        (lambda info: info.update(fps=float("nan")), "fps is nan; it must be"),
        (lambda info: info.pop("fps"), "info.json: damaged"),
    ],
)
def test_wrong_kind_of_dataset(root: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    change_info(root, change)
    with pytest.raises(DatasetError, match=message):
        Dataset(root)
    (problem,) = check_dataset(root)
    assert (problem.severity, problem.where) == ("error", "meta/info.json")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tasks", []),
        ("length", None),
        ("length", 10**12),
        ("data/file_index", None),
        ("extra", "null"),
        ("extra", "[" * 100_000),
        (f"videos/{VIDEO_KEYS['head']}/from_timestamp", math.nan),
        (f"videos/{VIDEO_KEYS['head']}/to_timestamp", math.nan),
        (f"videos/{VIDEO_KEYS['head']}/to_timestamp", -1.0),
    ],
)
def test_a_damaged_line_of_the_episode_table_is_named(root: Path, column: str, value: object) -> None:
    path = root / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    place, kind = table.column_names.index(column), table.schema.field(column).type
    pq.write_table(table.set_column(place, column, pa.array([value], kind)), path)
    with pytest.raises(DatasetError, match=r"file-001\.parquet: episode 1 is damaged"):
        Dataset(root)


@pytest.mark.parametrize("place", ["../elsewhere", "/elsewhere", "data/../.."])
def test_files_that_lie_elsewhere_are_none_of_the_dataset(root: Path, place: str) -> None:
    """`wav label` would write them anew."""
    (root.parent / "elsewhere").mkdir(exist_ok=True)
    change_info(root, lambda info: info.update(data_path=place + "/file-{file_index:03d}.parquet"))
    for read in (lambda: Dataset(root), lambda: MappedDataset(root, DataMapping(), BIMANUAL_PIPER)):
        with pytest.raises(DatasetError, match=r"file-000\.parquet is not in the dataset"):
            read()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([0.5] * LENGTH), "holds double, not 14"),
        (pa.array([["a"] * 14] * LENGTH), "holds string, not numbers"),
        (pa.array([[0.0] * 13 + [1e39]] * LENGTH), r"is not finite at frame 0, in single precision: 1e\+39"),
    ],
)
def test_columns_of_another_kind_are_named(root: Path, values: pa.Array, message: str) -> None:
    table = pq.read_table(root / DATA, partitioning=None).drop_columns(["action"]).append_column("action", values)
    pq.write_table(table, root / DATA)
    with pytest.raises(DatasetError, match=f"episode 1: column 'action' {message}"):
        Dataset(root).read_episode(1)


@pytest.mark.parametrize("values", [[0.5] * LENGTH, [float("nan")] * LENGTH, [None] * LENGTH])
def test_rows_that_are_of_no_episode_are_named(root: Path, values: list[float | None]) -> None:
    table = pq.read_table(root / DATA, partitioning=None).drop_columns(["episode_index"])
    pq.write_table(table.append_column("episode_index", pa.array(values, pa.float64())), root / DATA)
    with pytest.raises(DatasetError, match="column 'episode_index' holds double"):
        Dataset(root).read_episode(1)


@pytest.mark.parametrize("numbers", [[0, 0], [1, 2], [None, 0]])
def test_instructions_that_are_not_numbered_are_named(tmp_path: Path, numbers: list[int | None]) -> None:
    path = tmp_path / "tasks.parquet"
    pq.write_table(pa.table({"task_index": pa.array(numbers), "task": ["a", "b"]}), path)
    with pytest.raises(DatasetError, match="tasks are numbered"):
        read_tasks(path)


@pytest.mark.parametrize("fps", ["10", None, [10], True, 0, float("inf")])
def test_what_is_no_rate_is_named_however_a_dataset_is_read(root: Path, fps: object) -> None:
    change_info(root, lambda info: info.update(fps=fps))
    for read in (
        lambda: Dataset(root),
        lambda: MappedDataset(root, DataMapping(), BIMANUAL_PIPER),
        lambda: suggest(root, {}, BIMANUAL_PIPER),
    ):
        with pytest.raises(DatasetError, match="fps is .*; it must be a positive"):
            read()


def test_a_camera_that_is_not_described_is_a_camera(root: Path) -> None:
    change_info(root, lambda info: info["features"]["observation.images.top_head"].update(info=[1]))
    assert suggest(root, {}, BIMANUAL_PIPER).mapping.cameras["head"] == "observation.images.top_head"


def test_a_text_is_no_list_of_instructions(root: Path) -> None:
    """Its first letter would be one."""
    path = root / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.set_column(table.column_names.index("tasks"), "tasks", pa.array(["fold"])), path)
    with pytest.raises(DatasetError, match=r"episode 1 is damaged: TypeError.*tasks fold"):
        Dataset(root)


def test_all_faults_of_the_header_are_reported(root: Path) -> None:
    change_info(root, lambda info: (info["features"].pop("action"), info.update(fps=-1)))
    assert len(list(check_dataset(root))) == 2


def test_missing_directory(root: Path) -> None:
    with pytest.raises(DatasetError, match="is .* a LeRobot dataset"):
        Dataset(root / "nowhere")


NAN_ROWS = make_rows(LENGTH)[0]
NAN_ROWS[11, 2] = np.nan


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("action", None, "column 'action' is missing; there are"),
        ("action", NAN_ROWS, "column 'action' is not finite at frame 11"),
        ("observation.state", np.zeros((LENGTH, 7)), "'observation.state' is 7 wide, expected 14"),
    ],
)
def test_unusable_columns_are_named(root: Path, name: str, values: np.ndarray | None, message: str) -> None:
    change_column(root / DATA, name, values)
    dataset = Dataset(root)
    dataset.read_episode(0)
    with pytest.raises(DatasetError, match=f"file-001.parquet, episode 1: .*{message}"):
        dataset.read_episode(1)
    assert any(
        problem.where.startswith("episode 1 ") and problem.severity == "error" for problem in check_dataset(root)
    )


def damage(root: Path, what: str) -> None:
    match what:
        case "video missing":
            (root / VIDEO).unlink()
        case "video cut":
            (root / VIDEO).write_bytes((root / VIDEO).read_bytes()[:500])
        case "other resolution":
            head = root / f"videos/{VIDEO_KEYS['head']}/chunk-000/file-000.mp4"
            (root / VIDEO).write_bytes(head.read_bytes())
        case "degrees":
            change_column(root / DATA, "observation.state", 2000.0 * make_rows(LENGTH)[0])
        case "stale totals":
            change_info(root, lambda info: info.update(total_episodes=1))
        case "orphan":
            (root / "data/chunk-000/file-002.parquet").write_bytes((root / DATA).read_bytes())
        case "rows lost":
            path = root / DATA
            pq.write_table(pq.read_table(path, partitioning=None).slice(0, 30), path)
        case "slow":
            change_column(root / DATA, "capture_time", np.arange(LENGTH) / 8.0)
        case "index":
            change_column(root / DATA, "index", np.arange(LENGTH))
        case "video rate":
            encoder = VideoEncoder(root / VIDEO, SIZES["left_wrist"], 20)
            for frame in range(LENGTH):
                encoder.add(make_images(frame)["left_wrist"])
            encoder.close()
        case "statistics lost":
            change_stats(root, lambda stats: stats.pop("action"))
        case "statistics NaN":
            change_stats(root, lambda stats: stats["action"].update(mean=[float("nan")] * 14))
        case "undescribed column":
            change_column(root / DATA, "extra", np.zeros(LENGTH, np.float32), is_new=True)
        case "described column":
            change_info(root, lambda info: info["features"].update(state_value={"dtype": "float32", "shape": [17]}))
        case "frame numbers as text":
            change_column(root / DATA, "frame_index", np.arange(LENGTH).astype(str))
        case "frame numbers lost":
            change_column(root / DATA, "frame_index", np.full(LENGTH, np.nan))
        case "tasks in lists":
            change_column(root / DATA, "task_index", np.zeros((LENGTH, 1), np.int64))
        case "feature without description":
            change_info(root, lambda info: info["features"].update(note="by hand"))
        case "statistics null":
            (root / "meta/stats.json").write_text("null")
        case "statistics deep":
            (root / "meta/stats.json").write_text("[" * 100_000)
        case "unfinished":
            (root / ".staging/current").mkdir()
        case "another episode's frames":
            path = root / "meta/episodes/chunk-000/file-001.parquet"
            change_column(path, "dataset_from_index", np.array([39]))
        case "rows in another order":
            table = pq.read_table(root / DATA, partitioning=None)
            pq.write_table(table.take(pa.array([1, 0, *range(2, LENGTH)])), root / DATA)
        case "rows of no episode":
            path = root / "data/chunk-000/file-000.parquet"
            table = pq.read_table(path, partitioning=None)
            strays = table.set_column(
                table.column_names.index("episode_index"), "episode_index", pa.array([7] * LENGTH, pa.int64())
            )
            pq.write_table(pa.concat_tables([table, strays]), path)
        case "episode twice":
            copy = root / "meta/episodes/chunk-000/file-002.parquet"
            copy.write_bytes((root / "meta/episodes/chunk-000/file-001.parquet").read_bytes())
        case "frames as fractions":
            change_column(root / "meta/episodes/chunk-000/file-001.parquet", "dataset_to_index", np.array([80.0]))
        case "episode missing":
            (root / "meta/episodes/chunk-000/file-000.parquet").unlink()


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("video missing", "error: episode 1 (videos/observation.images.hand_left/chunk-000/file-001.mp4): the video"),
        ("video cut", "cannot be decoded"),
        ("other resolution", "left_wrist video is 48x64, the dataset says (32, 48)"),
        ("degrees", "state left_joint1 reaches"),
        ("stale totals", "total_episodes is 1, the episode table has 2"),
        ("orphan", "error: data/chunk-000/file-002.parquet: belongs to no episode"),
        ("rows lost", "30 frames, the episode table says 40"),
        ("slow", "recorded at 8.00 Hz; the dataset says 10 Hz [motion looks faster"),
        ("index", "column 'index' does not count up from 40"),
        ("another episode's frames", "it has the frames 39 to before 80 of the dataset; it has 40 to before 80"),
        ("frames as fractions", "it has the frames 40 to before 80.0 of the dataset; it has 40 to before 80"),
        ("rows in another order", "file-001.parquet: its rows are not frames 40 to 79 of the dataset, in this order"),
        ("rows of no episode", "file-000.parquet: its rows are not frames 0 to 79 of the dataset, in this order"),
        ("episode twice", "episode 1 is in the episode table twice"),
        ("episode missing", "episode 0 is missing"),
        ("video rate", "left_wrist video runs at 20.00 Hz, the dataset at 10 Hz"),
        ("statistics lost", "error: meta/stats.json: nothing about 'action'"),
        ("statistics NaN", "error: meta/stats.json: 'action' has statistics that are not finite"),
        ("undescribed column", "column 'extra' is not in meta/info.json"),
        ("described column", "labels are missing in 2 of 2 episodes"),
        ("unfinished", "warning: .staging/current: an episode that was never finished"),
        ("frame numbers as text", "column 'frame_index' holds string, not numbers"),
        ("frame numbers lost", "column 'frame_index' is not finite at frame 0"),
        ("tasks in lists", "column 'task_index' holds"),
        ("feature without description", "column 'note' is missing"),
        ("statistics null", "error: meta/stats.json: missing or unreadable"),
        ("statistics deep", "error: meta/stats.json: missing or unreadable"),
    ],
)
def test_check_reports(root: Path, what: str, expected: str) -> None:
    damage(root, what)
    problems = [str(problem) for problem in check_dataset(root)]
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_go_through_the_videos(root: Path, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A damaged video and a lost one are found by several as by one; the videos are not decoded here then."""
    damage(root, "video cut")
    lost = root / f"videos/{VIDEO_KEYS['head']}/chunk-000/file-000.mp4"
    lost.unlink()
    if workers > 1:
        monkeypatch.setattr(check, "inspect_video", None)
    problems = [str(problem) for problem in check_dataset(root, workers=workers)]
    assert any("cannot be decoded" in problem for problem in problems), problems
    assert any(f"{lost.relative_to(root)}" in problem and "missing" in problem for problem in problems), problems


def test_what_lerobots_tools_leave_can_be_trained_on(tmp_path: Path) -> None:
    """A column they added has no statistics, nor have labels after a split; the time of frames is one they remove."""
    states, actions = make_rows(LENGTH)
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES, source_times=True) as writer:
        writer.start_episode(INSTRUCTION)
        for frame in range(LENGTH):
            time = 100.0 + frame / FPS
            writer.add_frame(make_images(frame), states[frame], actions[frame], time, [time - 0.01] * 5)
        writer.end_episode()
    data = tmp_path / "data/chunk-000/file-000.parquet"
    change_column(data, "capture_time", None)
    change_column(data, "note", np.ones(LENGTH, np.float32), is_new=True)
    note = {"dtype": "float32", "shape": [1], "names": None}
    change_info(tmp_path, lambda info: (info["features"].pop("capture_time"), info["features"].update(note=note)))
    problems = list(check_dataset(tmp_path))
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    assert any(problem.message == "nothing about 'note'" for problem in problems)
    np.testing.assert_allclose(Dataset(tmp_path).read_episode(0).capture_times, np.arange(LENGTH) / FPS, atol=1e-6)


def test_an_episode_without_frames_is_named(root: Path) -> None:
    path = root / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index("length")
    pq.write_table(table.set_column(place, "length", pa.array([0], pa.int64())), path)
    assert any(problem.message == "the episode has no frames" for problem in check_dataset(root))
    with pytest.raises(DatasetError, match="episode 1 has no frames"):
        label_dataset(root, LabelConfig())


def test_a_file_of_many_episodes_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As LeRobot packs them."""
    packed = pa.concat_tables(
        [pq.read_table(path, partitioning=None) for path in sorted(root.glob("data/*/*.parquet"))]
    )
    pq.write_table(packed, root / "data/chunk-000/file-000.parquet")
    path = root / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    place = table.column_names.index("data/file_index")
    pq.write_table(table.set_column(place, "data/file_index", pa.array([0], pa.int64())), path)
    read, dataset = [], Dataset(root)
    whole = tables.read_table
    monkeypatch.setattr(tables, "read_table", lambda path, without: read.append(path) or whole(path, without))
    states = [episode.states for episode in dataset]
    assert len(read) == 1
    np.testing.assert_array_equal(states[1], make_rows(LENGTH, 1)[0])
