from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.wav_policy.recording.fake_operator import FPS, INSTRUCTION, SIZES, make_images, make_rows
from wav_models.data.check import check_dataset
from wav_models.data.dataset import Dataset, DatasetError
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.rewards.label import count_unmarked, label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_models.rewards.returns import discounted_return
from wav_models.rewards.terms import reward, reward_components
from wav_policy.recording.episode_writer import DatasetWriter

CONFIG = LabelConfig(discount=0.9, image_size=(32, 32))


def record(root: Path, seed: int, success: bool | None) -> None:
    states, actions = make_rows(6, seed)
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES) as writer:
        writer.start_episode(INSTRUCTION, {"success": success})
        for frame in range(6):
            writer.add_frame(make_images(frame), states[frame], actions[frame], frame / FPS)
        writer.end_episode()


def test_labels_are_the_terms_of_the_recorded_episode(tmp_path: Path) -> None:
    record(tmp_path, 0, True)
    before = Dataset(tmp_path).read_episode(0)
    assert before.values is None
    assert label_dataset(tmp_path, CONFIG) == 1
    episode = Dataset(tmp_path).read_episode(0)
    np.testing.assert_array_equal(episode.states, before.states)
    images = {view: episode.images(view, size=(32, 32)) for view in SIZES}
    components = reward_components(BIMANUAL_PIPER, images, episode.states, episode.actions)
    assert episode.values is not None
    np.testing.assert_allclose(episode.values[:, :16], components, rtol=1e-6)
    np.testing.assert_allclose(
        episode.values[:, 16], discounted_return(reward(BIMANUAL_PIPER, components), 0.9), rtol=1e-6
    )
    np.testing.assert_allclose(episode.values[-1, :8], 1.0, atol=1e-6)


def test_failure_is_worth_less_than_success(tmp_path: Path) -> None:
    for success in (True, False, None):
        record(tmp_path, 0, success)
    label_dataset(tmp_path, CONFIG)
    succeeded, failed, unknown = (episode.values for episode in Dataset(tmp_path))
    assert succeeded is not None
    assert failed is not None
    assert unknown is not None
    tolerance = 5e-3  # the same pictures, encoded three times: on a busy machine not always to the same bits
    np.testing.assert_allclose(succeeded, unknown, atol=tolerance)
    np.testing.assert_allclose(succeeded[:, :16], failed[:, :16], atol=tolerance)
    np.testing.assert_allclose(succeeded[:, 16] - failed[:, 16], 0.5 * 0.9 ** np.arange(6, 0, -1), atol=tolerance)


def test_labelling_is_incremental_and_survives_recording(tmp_path: Path) -> None:
    record(tmp_path, 0, True)
    assert label_dataset(tmp_path, CONFIG) == 1
    first = tmp_path / "data/chunk-000/file-000.parquet"
    untouched = first.stat().st_mtime_ns
    record(tmp_path, 1, True)
    (problem,) = check_dataset(tmp_path)
    assert "labels are missing in 1 of 2 episodes" in problem.message
    assert label_dataset(tmp_path, CONFIG) == 1
    assert first.stat().st_mtime_ns == untouched
    assert list(check_dataset(tmp_path)) == []
    assert label_dataset(tmp_path, LabelConfig(discount=0.5, image_size=(32, 32))) == 2
    assert json.loads((tmp_path / "meta/labels.json").read_text())["discount"] == 0.5
    info = json.loads((tmp_path / "meta/info.json").read_text())
    assert info["features"]["state_value"]["names"] == list(BIMANUAL_PIPER.value_names)
    assert pq.read_schema(first).field("state_value").type.list_size == 17
    stats = json.loads((tmp_path / "meta/stats.json").read_text())
    assert stats["state_value"]["count"] == [12]


def test_the_episode_table_has_statistics_of_the_labels_and_says_where_its_lines_are(tmp_path: Path) -> None:
    """LeRobot's delete and split make meta/stats.json of them; its merge leaves lines that say they are elsewhere."""
    for seed in range(2):
        record(tmp_path, seed, True)
    path = tmp_path / "meta/episodes/chunk-000/file-001.parquet"
    table = pq.read_table(path, partitioning=None)
    name = "meta/episodes/file_index"
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array([7])), path)
    (problem,) = check_dataset(tmp_path)
    assert "say they are in other files" in problem.message
    label_dataset(tmp_path, CONFIG)
    assert list(check_dataset(tmp_path)) == []
    for episode in Dataset(tmp_path):
        file = tmp_path / f"meta/episodes/chunk-000/file-{episode.info.index:03d}.parquet"
        (row,) = pq.read_table(file, partitioning=None).to_pylist()
        assert episode.values is not None
        assert (row[name], row["stats/state_value/count"]) == (episode.info.index, [len(episode)])
        np.testing.assert_allclose(row["stats/state_value/mean"], episode.values.mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(row["stats/state_value/q90"], np.quantile(episode.values, 0.9, axis=0), rtol=1e-6)


def test_labels_of_two_settings_are_told_apart(tmp_path: Path) -> None:
    for seed in range(2):
        record(tmp_path, seed, True)
    label_dataset(tmp_path, CONFIG)
    first = tmp_path / "data/chunk-000/file-000.parquet"
    before = first.read_bytes()
    other = LabelConfig(discount=0.5, image_size=(32, 32))
    label_dataset(tmp_path, other)
    first.write_bytes(before)  # as if ended after the second file
    (problem,) = check_dataset(tmp_path)
    assert "file-001.parquet is labelled with discount 0.5, " in problem.message
    assert "file-000.parquet with discount 0.9, " in problem.message
    assert "wav label" in problem.remedy
    assert label_dataset(tmp_path, other) == 1
    assert list(check_dataset(tmp_path)) == []


def test_values_of_others_are_of_unknown_settings(tmp_path: Path) -> None:
    for seed in range(2):
        record(tmp_path, seed, True)
    label_dataset(tmp_path, CONFIG)
    first = tmp_path / "data/chunk-000/file-000.parquet"
    pq.write_table(pq.read_table(first, partitioning=None).replace_schema_metadata(None), first)
    (problem,) = check_dataset(tmp_path)
    assert "unknown settings" in problem.message
    assert label_dataset(tmp_path, CONFIG) == 1


def test_an_open_recorder_is_named_and_left_alone(tmp_path: Path) -> None:
    record(tmp_path, 0, True)
    frames = tmp_path / "data/chunk-000/file-000.parquet"
    before = frames.read_bytes()
    with (
        DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES),
        pytest.raises(DatasetError, match=rf"recorder, process {os.getpid()}\); end it first"),
    ):
        label_dataset(tmp_path, CONFIG)
    assert frames.read_bytes() == before
    assert label_dataset(tmp_path, CONFIG) == 1


def test_nobody_records_while_it_is_labelled(tmp_path: Path) -> None:
    record(tmp_path, 0, True)

    def try_to_record(done: int, total: int) -> None:
        with pytest.raises(DatasetError, match="wav label, process"):
            DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES)

    label_dataset(tmp_path, CONFIG, on_progress=try_to_record)


def test_totals_that_a_killed_recorder_left_are_put_right(tmp_path: Path) -> None:
    record(tmp_path, 0, True)
    path = tmp_path / "meta/info.json"
    before = path.read_bytes()
    record(tmp_path, 1, True)
    path.write_bytes(before)
    label_dataset(tmp_path, CONFIG)
    info = json.loads(path.read_text())
    assert (info["total_episodes"], info["total_frames"], info["splits"]) == (2, 12, {"train": "0:2"})


def test_splits_of_others_stay(tmp_path: Path) -> None:
    for seed in range(2):
        record(tmp_path, seed, True)
    path = tmp_path / "meta/info.json"
    splits = {"train": "0:1", "val": "1:2"}
    path.write_text(json.dumps({**json.loads(path.read_text()), "splits": splits}))
    label_dataset(tmp_path, CONFIG)
    assert json.loads(path.read_text())["splits"] == splits


@pytest.mark.parametrize("values", [np.full((6, 17), np.nan), np.zeros((6, 3))])
@pytest.mark.parametrize("same_settings", [True, False])
def test_damaged_values_are_computed_anew(tmp_path: Path, values: np.ndarray, same_settings: bool) -> None:
    record(tmp_path, 0, True)
    label_dataset(tmp_path, CONFIG)
    path = tmp_path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(path, partitioning=None)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    damaged = table.drop_columns(["state_value"]).append_column("state_value", column)
    pq.write_table(damaged if same_settings else damaged.replace_schema_metadata(None), path)
    assert label_dataset(tmp_path, CONFIG) == 1
    np.testing.assert_array_equal(
        np.stack(pq.read_table(path, partitioning=None)["state_value"].to_numpy()),
        np.stack(table["state_value"].to_numpy()),
    )
    assert list(check_dataset(tmp_path)) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"discount": 1.0}, "discount"),
        ({"discount": float("nan")}, "discount"),
        ({"image_size": (8, 64)}, "16 px"),
        ({"failure_penalty": float("nan")}, "failure_penalty is nan"),
        ({"failure_penalty": float("inf")}, "failure_penalty is inf"),
        ({"failure_penalty": -0.1}, "failure_penalty is -0.1; it must be"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LabelConfig(**options)  # type: ignore[arg-type]


def test_a_dataset_without_episodes_is_named(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path, fps=FPS, image_sizes=SIZES):
        pass
    with pytest.raises(DatasetError, match="has no episodes to label"):
        label_dataset(tmp_path, CONFIG)


def test_a_damaged_video_leaves_the_dataset_unlabelled_as_a_whole(tmp_path: Path) -> None:
    for seed in range(2):
        record(tmp_path, seed, True)
    video = next(iter(sorted((tmp_path / "videos").glob("*hand_left/*/file-001.mp4"))))
    whole = video.read_bytes()
    start = whole.find(b"mdat")
    size = int.from_bytes(whole[start - 4 : start], "big")
    middle = start + size // 2
    video.write_bytes(whole[:middle] + bytes(size // 4) + whole[middle + size // 4 :])
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.parquet")}
    with pytest.raises(ValueError, match=r"file-001\.mp4: cannot be decoded"):
        label_dataset(tmp_path, CONFIG)
    assert {path: path.read_bytes() for path in (tmp_path / "data").rglob("*.parquet")} == before
    assert any("file-001.mp4: cannot be decoded" in problem.message for problem in check_dataset(tmp_path))
    video.write_bytes(whole)
    assert label_dataset(tmp_path, CONFIG) == 2
    assert list(check_dataset(tmp_path)) == []


@pytest.mark.parametrize("content", ["{", "null", "[]", "[" * 100_000, ""])
def test_damaged_statistics_leave_the_dataset_unlabelled_as_a_whole(tmp_path: Path, content: str) -> None:
    """They are looked at before hours of labelling, and before a column is there that info.json does not tell."""
    record(tmp_path, 0, True)
    (tmp_path / "meta/stats.json").write_text(content)
    with pytest.raises(DatasetError, match=r"stats\.json: (damaged|holds).*restore it from a copy"):
        label_dataset(tmp_path, CONFIG)
    assert Dataset(tmp_path).read_episode(0).values is None
    assert any("stats.json" in problem.where for problem in check_dataset(tmp_path))


def test_episodes_without_a_mark_are_counted_and_told(tmp_path: Path) -> None:
    for seed, success in enumerate((True, False)):
        record(tmp_path, seed, success)
    assert count_unmarked(tmp_path) == (0, 2)
    for path in (tmp_path / "data").rglob("*file-001.parquet"):
        table = pq.read_table(path, partitioning=None)
        place = table.column_names.index("episode_success")
        pq.write_table(table.set_column(place, "episode_success", pa.array([-1] * len(table), pa.int64())), path)
    for path in (tmp_path / "meta/episodes").rglob("*.parquet"):
        pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["success"]), path)
    assert count_unmarked(tmp_path) == (1, 2)
    (problem,) = check_dataset(tmp_path)
    assert "neither success nor failure is marked in 1 of 2 episodes" in problem.message
