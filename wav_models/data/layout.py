"""Names and paths of a dataset on disk: LeRobot v3.0 with the keys the official WAV configurations use."""

from __future__ import annotations

from typing import Any, Final

from wav_models.embodiment import Channel, Embodiment

CODEBASE_VERSION: Final = "v3.0"
CHUNKS_SIZE: Final = 1000
"""Files per chunk directory."""

STATE_KEY: Final = "observation.state"
EFFORT_KEY: Final = "observation.effort"
"""Recordings of a robot that tells them only: measured efforts, N m; a dataset has them in every frame or in none."""
ACTION_KEY: Final = "action"
CAPTURE_TIME_KEY: Final = "capture_time"
"""True time of every frame [s]; `timestamp` is the nominal frame_index / fps that LeRobot expects."""
SOURCE_TIME_KEY: Final = "source_times"
"""Recordings of the robot only: when each source of a frame was captured [s], in the order of `Embodiment.sources`."""
SUCCESS_KEY: Final = "episode_success"
SEED_KEY: Final = "episode_seed"
EPISODE_FACTS: Final = {"success": SUCCESS_KEY, "seed": SEED_KEY}
"""What is known of a whole episode, as columns of its frames, which every tool keeps; columns of our own in the episode
table are dropped by LeRobot's. 0 or 1, and the seed; `UNKNOWN` where it is not known."""
UNKNOWN: Final = -1
NEXT_SUCCESS_KEY: Final = "next.success"
"""Other people's mark of success: true in a frame of an episode that succeeded."""
VALUE_KEY: Final = "state_value"
"""The value channels that `wav label` adds (the column name of the official WAV datasets)."""

RATE_TOLERANCE: Final = 0.95
"""An episode recorded below this share of the dataset's rate is flagged."""

STAGING: Final = ".staging"
"""Directory of unfinished episodes and of the lock; hidden, so that no loader's pattern matches it."""
INFO_PATH: Final = "meta/info.json"
STATS_PATH: Final = "meta/stats.json"
TASKS_PATH: Final = "meta/tasks.parquet"
EPISODES_PATH: Final = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH: Final = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH: Final = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

DEFAULT_FEATURES: Final = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns every LeRobot dataset has, with their dtypes."""


def channel_feature(channels: tuple[Channel, ...]) -> dict[str, Any]:
    """What `meta/info.json` says of a column with a number per channel."""
    return {"dtype": "float32", "shape": [len(channels)], "names": [channel.name for channel in channels]}


def file_location(number: int) -> dict[str, int]:
    """Chunk and file number `number`, counted through all chunks."""
    return {"chunk_index": number // CHUNKS_SIZE, "file_index": number % CHUNKS_SIZE}


def make_info(
    robot: Embodiment, fps: int, image_sizes: dict[str, tuple[int, int]], *, source_times: bool = False
) -> dict[str, Any]:
    """`meta/info.json` of an empty dataset; `image_sizes` is (height, width) [px] per view."""
    features: dict[str, Any] = {}
    for view, (height, width) in image_sizes.items():
        features[robot.view_keys[view]] = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
    features[STATE_KEY] = channel_feature(robot.state)
    features[ACTION_KEY] = channel_feature(robot.actions)
    if source_times:
        features[SOURCE_TIME_KEY] = {"dtype": "float64", "shape": [len(robot.sources)], "names": list(robot.sources)}
    facts = dict.fromkeys(EPISODE_FACTS.values(), "int64")
    for key, dtype in {CAPTURE_TIME_KEY: "float64", **facts, **DEFAULT_FEATURES}.items():
        features[key] = {"dtype": dtype, "shape": [1], "names": None}
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": robot.robot_type,
        "fps": fps,
        "features": features,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": CHUNKS_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "splits": {},
    }


def set_totals(info: dict[str, Any], num_episodes: int, num_frames: int) -> None:
    """Put `meta/info.json` right about what the episode table holds; splits of that many episodes stay."""
    if info.get("total_episodes") != num_episodes:
        info["splits"] = {"train": f"0:{num_episodes}"}
    info["total_episodes"] = num_episodes
    info["total_frames"] = num_frames
