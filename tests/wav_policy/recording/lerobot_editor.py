"""Edits a dataset with LeRobot's own tools, in LeRobot's environment: `lerobot_editor.py SOURCE TARGET`.

Leaves TARGET/delete (without episode 0), TARGET/split/train (0 and 2), TARGET/split/val (1) and TARGET/merge (twice).
"""

from __future__ import annotations

import sys
from pathlib import Path

import lerobot_environment  # noqa: F401  (before LeRobot)
from lerobot.datasets import dataset_tools
from lerobot.datasets.lerobot_dataset import LeRobotDataset


def main(source: Path, target: Path) -> None:
    dataset = LeRobotDataset("local/source", root=source, video_backend="pyav")
    dataset_tools.delete_episodes(dataset, [0], output_dir=target / "delete", repo_id="local/delete")
    dataset_tools.split_dataset(dataset, {"train": [0, 2], "val": [1]}, output_dir=target / "split")
    dataset_tools.merge_datasets([dataset, dataset], output_repo_id="local/merge", output_dir=target / "merge")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
