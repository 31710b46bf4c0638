"""Datasets with pictures as images in their rows, joints over several features and marks of all kinds, as LeRobot's own
writer leaves them; small enough to be written for every test."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.wav_policy.recording.foreign import FPS, KEYS, LENGTHS, motion
from wav_models.types import FloatArray, ImageArray

SIZE = (24, 32)
TABLE_PATHS = {"v2.1": "meta/episodes.jsonl", "v3.0": "meta/episodes/chunk-000/file-000.parquet"}
DATA_PATHS = {
    "v2.1": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "v3.0": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
Columns = Mapping[str, tuple[slice | Sequence[int], Sequence[str] | None]]
"""Of every feature, its columns of our 14 and their names."""
WHOLE: Columns = {"": (range(14), None)}
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(view: str, frame: int, episode: int) -> ImageArray:
    """Tells view, frame and episode by its colour."""
    colour = (list(KEYS).index(view) * 60 + 20, 3 * frame, 80 * episode + 40)
    return np.broadcast_to(np.array(colour, np.uint8), (*SIZE, 3))


def encoded(image: ImageArray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, kind)
    return file.getvalue()


def write_stored(
    root: Path,
    *,
    version: str = "v3.0",
    state: Columns = WHOLE,
    action: Columns = WHOLE,
    kind: str = "PNG",
    frames: Mapping[str, tuple[str, Sequence[Sequence[Any]]]] | None = None,
    table: Mapping[str, Sequence[Any]] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Path:
    """Two episodes.

    Args:
        state, action: how the joints are spread over features, by what follows "observation.state" and "action".
        frames: further columns: dtype, and of each episode its cells, or one cell for all of them.
        table: further columns of the episode table.
        info: what `meta/info.json` says otherwise; keys with None are null there, and "missing" is left out.
    """
    features: dict[str, Any] = {
        key: {"dtype": "image", "shape": [*SIZE, 3], "names": ["height", "width", "channels"]} for key in KEYS.values()
    }
    for prefix, parts in (("observation.state", state), ("action", action)):
        for suffix, (columns, names) in parts.items():
            features[prefix + suffix] = {"dtype": "float32", "shape": [len(_columns(columns))], "names": names}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    features |= {name: {"dtype": dtype, "shape": [1], "names": None} for name, (dtype, _) in (frames or {}).items()}
    episodes = [_rows(episode, state, action, kind, frames or {}) for episode in range(len(LENGTHS))]
    for episode, rows in enumerate(episodes):
        place = {"episode_chunk": 0, "episode_index": episode, "chunk_index": 0, "file_index": 0}
        path = root / DATA_PATHS[version].format(**place)
        path.parent.mkdir(parents=True, exist_ok=True)
        if version == "v2.1":
            pq.write_table(rows, path)
    if version == "v3.0":
        together = pa.concat_tables(episodes, promote_options="default")
        with pq.ParquetWriter(path, together.schema) as writer:  # a row group each
            for end, length in zip(np.cumsum(LENGTHS), LENGTHS, strict=True):
                writer.write_table(together.slice(end - length, length))
    header = {"codebase_version": version, "robot_type": "theirs", "fps": FPS, "features": features}
    header |= {"chunks_size": 1000, "data_path": DATA_PATHS[version], "video_path": None, **(info or {})}
    header = {key: value for key, value in header.items() if value != "missing"}
    lines = [{"episode_index": e, "tasks": [f"task {e}"], "length": n} for e, n in enumerate(LENGTHS)]
    lines = [line | {name: cells[e] for name, cells in (table or {}).items()} for e, line in enumerate(lines)]
    target = root / TABLE_PATHS[version]
    target.parent.mkdir(parents=True, exist_ok=True)
    (root / "meta/info.json").write_text(json.dumps(header))
    if version == "v2.1":
        target.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return root
    ends = np.cumsum(LENGTHS).tolist()
    places = [
        {"data/chunk_index": 0, "data/file_index": 0, "dataset_from_index": e - n, "dataset_to_index": e}
        for e, n in zip(ends, LENGTHS, strict=True)
    ]
    pq.write_table(pa.Table.from_pylist([a | b for a, b in zip(lines, places, strict=True)]), target)
    return root


def _columns(columns: slice | Sequence[int]) -> list[int]:
    return list(range(14))[columns] if isinstance(columns, slice) else list(columns)


def _rows(episode: int, state: Columns, action: Columns, kind: str, frames: Mapping[str, Any]) -> pa.Table:
    length = LENGTHS[episode]
    columns: dict[str, pa.Array] = {
        key: pa.array(
            [
                {"bytes": encoded(picture(view, frame, episode), kind), "path": f"frame_{frame:06d}.png"}
                for frame in range(length)
            ],
            IMAGE_TYPE,
        )
        for view, key in KEYS.items()
    }
    for prefix, parts, numbers in zip(
        ("observation.state", "action"), (state, action), motion(length, episode), strict=True
    ):
        for suffix, (chosen, _) in parts.items():
            columns[prefix + suffix] = _stored(numbers[:, _columns(chosen)])
    count = np.arange(length)
    columns |= {"frame_index": pa.array(count), "timestamp": pa.array((count / FPS).astype(np.float32))}
    columns |= {name: pa.array(np.full(length, episode)) for name in ("episode_index", "task_index")}
    columns["index"] = pa.array(count + sum(LENGTHS[:episode]))
    for name, (_, cells) in frames.items():
        columns[name] = pa.array(list(cells[episode]) * (length if len(cells[episode]) == 1 else 1))
    return pa.table(columns)


def _stored(numbers: FloatArray) -> pa.Array:
    """What is 1 wide is stored as single numbers."""
    flat = pa.array(numbers.astype(np.float32).reshape(-1))
    return flat if numbers.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1])
