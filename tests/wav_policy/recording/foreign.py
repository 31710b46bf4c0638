"""Datasets as other labs have them, made of a recording: other names, units, layouts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.wav_models.piper import VIDEO_KEYS
from tests.wav_policy.recording.fake_operator import SIZES, make_images
from wav_models.data.layout import ACTION_KEY, CAPTURE_TIME_KEY, EPISODE_FACTS, STATE_KEY
from wav_models.types import FloatArray
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, REVOLUTE, ROBOT

FPS, LENGTHS = 30, (61, 40)
CAMERAS = {"head": "cam_high", "left_wrist": "cam_left_wrist", "right_wrist": "cam_right_wrist"}
Change = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
ALOHA = [
    f"{side}_{joint}"
    for side in ("left", "right")
    for joint in ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
]
KEYS = {view: f"observation.images.{name}" for view, name in CAMERAS.items()}


def in_units(angles: float, grippers: float) -> Change:
    """States and actions in other units, by these factors."""

    def change(states: FloatArray, actions: FloatArray) -> tuple[FloatArray, FloatArray]:
        factor = np.ones(14)
        factor[REVOLUTE], factor[GRIPPERS] = angles, grippers
        return states * factor, actions * factor

    return change


def motion(length: int, episode: int = 0) -> tuple[FloatArray, FloatArray]:
    """States and joint targets due at the next frame, within the limits of a Piper with a gripper of 70 mm, [T, 14]."""
    t = np.arange(length + 1)[:, None] / FPS + episode
    lower, upper = np.array([(joint.lower, joint.upper) for joint in ROBOT.state]).T
    upper[[6, 13]] = 0.07
    middle, reach = lower + upper, upper - lower
    path = 0.5 * middle + 0.3 * reach * np.sin(1.5 * t + np.arange(JOINT_DIM))
    return path[:-1].astype(np.float32).astype(np.float64), path[1:].astype(np.float32).astype(np.float64)


def record(root: Path) -> Path:
    """Two episodes in this project's layout; the picture of every frame tells which it is."""
    with DatasetWriter(root, fps=FPS, image_sizes=SIZES) as writer:
        for episode, length in enumerate(LENGTHS):
            states, actions = motion(length, episode)
            writer.start_episode(f"task {episode}", {"success": episode == 0, "seed": episode})
            for frame in range(length):
                writer.add_frame(make_images(frame, episode), states[frame], actions[frame], frame / FPS)
            writer.end_episode()
    return root


def make_foreign(
    root: Path,
    *,
    names: Sequence[str] | None,
    change: Change = lambda states, actions: (states, actions),
    channels_first: bool = True,
    version: str = "v3.0",
) -> Path:
    """The recording in `root` with other cameras, joint names, numbers and layout; returns `root`."""
    keys = {VIDEO_KEYS[view]: f"observation.images.{name}" for view, name in CAMERAS.items()}
    for old, new in keys.items():
        (root / "videos" / old).rename(root / "videos" / new)
    info = json.loads((root / "meta/info.json").read_text())
    ours = (CAPTURE_TIME_KEY, *EPISODE_FACTS.values())
    info["features"] = {keys.get(k, k): feature for k, feature in info["features"].items() if k not in ours}
    for key in keys.values():
        if channels_first:
            height, width, channels = info["features"][key]["shape"]
            info["features"][key]["shape"] = [channels, height, width]
    for key in (STATE_KEY, ACTION_KEY):
        info["features"][key]["names"] = None if names is None else list(names)
    for path in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(path, partitioning=None).drop_columns(list(ours))
        columns = [np.stack(table[key].to_numpy()).astype(np.float64) for key in (STATE_KEY, ACTION_KEY)]
        for key, values in zip((STATE_KEY, ACTION_KEY), change(*columns), strict=True):
            column = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).reshape(-1)), values.shape[1])
            table = table.set_column(table.column_names.index(key), key, column)
        pq.write_table(table, path)
    (root / "meta/info.json").write_text(json.dumps(info))
    _rename_episode_columns(root, keys)
    if version == "v2.1":
        _to_v21(root, info, list(keys.values()))
    return root


def _rename_episode_columns(root: Path, keys: dict[str, str]) -> None:
    dropped = ("success", "seed", "noise", "extra", "achieved_fps")
    for path in root.glob("meta/episodes/*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        table = table.select([name for name in table.column_names if name not in dropped])
        renamed = []
        for name in table.column_names:
            old = next((old for old in keys if f"/{old}/" in name), None)
            renamed.append(name if old is None else name.replace(old, keys[old]))
        pq.write_table(table.rename_columns(renamed), path)


def _to_v21(root: Path, info: dict[str, Any], keys: list[str]) -> None:
    """As the versions of LeRobot before 3.0 wrote it: one file per episode, tables as JSON lines."""
    rows = [row for p in sorted(root.glob("meta/episodes/*/*.parquet")) for row in pq.read_table(p).to_pylist()]
    lines = [json.dumps({name: row[name] for name in ("episode_index", "tasks", "length")}) for row in rows]
    for episode in range(len(rows)):
        (root / f"data/chunk-000/file-{episode:03d}.parquet").rename(
            root / f"data/chunk-000/episode_{episode:06d}.parquet"
        )
        for key in keys:
            target = root / f"videos/chunk-000/{key}/episode_{episode:06d}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            (root / f"videos/{key}/chunk-000/file-{episode:03d}.mp4").rename(target)
    for key in keys:
        shutil.rmtree(root / "videos" / key)
    shutil.rmtree(root / "meta/episodes")
    (root / "meta/tasks.parquet").unlink()
    (root / "meta/episodes.jsonl").write_text("\n".join(lines) + "\n")
    info |= {
        "codebase_version": "v2.1",
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))
