"""Writes a dataset as another lab does, with LeRobot's own writer in its environment: `lerobot_writer.py ROWS TARGET`.

ROWS is an .npz file with states and actions [T, 14] in degrees and millimetres, and pictures [T, H, W, 3].
"""

from __future__ import annotations

import sys
from inspect import signature
from pathlib import Path

import lerobot_environment  # noqa: F401  (before LeRobot)
import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")


def main(rows: Path, target: Path) -> None:
    data = np.load(rows)
    names = [f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS]
    shape = data["pictures"].shape[1:]
    features = {
        f"observation.images.{name}": {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"]}
        for name in CAMERAS
    }
    for key in ("observation.state", "action"):
        features[key] = {"dtype": "float32", "shape": (14,), "names": names}
    dataset = LeRobotDataset.create("local/theirs", int(data["fps"]), features, root=target, use_videos=True)
    for _ in range(2):
        for state, action, picture in zip(data["states"], data["actions"], data["pictures"], strict=True):
            frame = {"observation.state": state, "action": action}
            frame |= {f"observation.images.{name}": picture for name in CAMERAS}
            if "task" in signature(dataset.add_frame).parameters:  # before v3.0
                dataset.add_frame(frame, task="fold the towel")
            else:
                dataset.add_frame(frame | {"task": "fold the towel"})
        dataset.save_episode()
    if hasattr(dataset, "finalize"):
        dataset.finalize()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
