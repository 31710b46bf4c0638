"""Prints what LeRobot's loader reads of a dataset, as JSON, in LeRobot's environment: `lerobot_reader.py ROOT`."""

from __future__ import annotations

import json
import sys

import lerobot_environment  # noqa: F401  (before LeRobot)
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(root: str) -> None:
    dataset = LeRobotDataset("local/test", root=root, video_backend="pyav")
    rows = []
    for index in range(len(dataset)):
        item = dataset[index]
        rows.append(
            {
                "state": item["observation.state"].tolist(),
                "action": item["action"].tolist(),
                "task": item["task"],
                "episode": int(item["episode_index"]),
                "frame": int(item["frame_index"]),
                "timestamp": float(item["timestamp"]),
                "source_times": item["source_times"].tolist() if "source_times" in item else None,
                "effort": item["observation.effort"].tolist() if "observation.effort" in item else None,
                "images": {key: item[key].mean(dim=(1, 2)).tolist() for key in dataset.meta.video_keys},
                "shapes": {key: list(item[key].shape) for key in dataset.meta.video_keys},
            }
        )
    json.dump({"episodes": dataset.num_episodes, "fps": dataset.fps, "rows": rows}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
