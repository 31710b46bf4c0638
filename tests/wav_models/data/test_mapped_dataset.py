"""Datasets before v3.0, whose tables are JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wav_models.data.dataset import DatasetError
from wav_models.data.layout import make_info
from wav_models.data.mapped_dataset import MappedDataset
from wav_models.data.mapping import DataMapping
from wav_models.data.suggestion import _columns
from wav_models.embodiments import BIMANUAL_PIPER

LINE = {"episode_index": 0, "tasks": ["fold the towel"], "length": 30}


def opened(root: Path, *lines: dict[str, Any]) -> MappedDataset:
    """Over tables alone: nothing else is read before an episode is."""
    info = make_info(BIMANUAL_PIPER, 30, BIMANUAL_PIPER.image_sizes)
    paths = {"data": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"}
    paths["video"] = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    info |= {"codebase_version": "v2.1", "chunks_size": 2, "data_path": paths["data"], "video_path": paths["video"]}
    (root / "meta").mkdir()
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return MappedDataset(root, DataMapping(fps=10), BIMANUAL_PIPER)


def test_every_episode_has_files_of_its_own(tmp_path: Path) -> None:
    dataset = opened(tmp_path, *({**LINE, "episode_index": index} for index in range(3)))
    last = dataset.episodes[2]
    assert last.data_file == tmp_path / "data/chunk-001/episode_000002.parquet"
    path, start, _ = last.videos["head"]
    assert path == tmp_path / "videos/chunk-001/observation.images.top_head/episode_000002.mp4"
    assert (start, last.length, last.instruction) == (0.0, 10, "fold the towel")


@pytest.mark.parametrize(
    "line", [{"episode_index": "a"}, {"episode_index": None}, {"tasks": [3]}, {"tasks": 3}, {"length": float("inf")}]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match=r"episodes\.jsonl: episode .* is damaged"):
        opened(tmp_path, {**LINE, **line})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"length": ', r"episodes\.jsonl: line 2 is damaged: Expecting"),
        (b"[" * 100_000, r"episodes\.jsonl: line 2 is damaged: nested too deeply"),
        (b"[1]", r"/episodes\.jsonl: line 2 is no JSON object$"),
        (b'{"tasks": ["f\xfcr"]}', r"episodes\.jsonl: damaged: 'utf-8'"),
    ],
)
def test_what_is_no_line_is_named_by_its_number(tmp_path: Path, line: bytes, said: str) -> None:
    opened(tmp_path, LINE)
    path = tmp_path / "meta/episodes.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(DatasetError, match=said) as raised:
        MappedDataset(tmp_path, DataMapping(fps=10), BIMANUAL_PIPER)
    assert str(raised.value).count("episodes.jsonl") == 1


def test_of_a_joint_that_is_named_twice_nobody_takes_the_first() -> None:
    names = [*BIMANUAL_PIPER.state_names, "left_joint_1.pos"]
    for mapping in (DataMapping(), DataMapping(joints=BIMANUAL_PIPER.state_names)):
        told = names if mapping.joints is None else [*names[:-1], names[0]]
        with pytest.raises(ValueError, match=r"observation.state: .*[Ss]ay in `joints`"):
            mapping.columns("state", "observation.state", len(told), told, BIMANUAL_PIPER)
    assert _columns(names, len(names), BIMANUAL_PIPER) is None, "and it is asked which is meant"
