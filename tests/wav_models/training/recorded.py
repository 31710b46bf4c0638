"""Small labelled datasets on disk, written as the recorder writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.cli.main import main
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.robot.cameras import IMAGE_SIZES

NUM_FRAMES = 12
"""Of an episode, at 10 Hz."""


def wav_train(argv: list[str]) -> int:
    """Exit code of `wav train`."""
    return main(["train", *argv])


def record(root: Path, instruction: str, outcomes: list[bool], num_frames: int = NUM_FRAMES) -> Path:
    """An episode of noise per outcome, success or failure."""
    rng = np.random.default_rng(0)
    with DatasetWriter(root, fps=10) as writer:
        for seed, success in enumerate(outcomes):
            writer.start_episode(instruction, {"seed": seed, "success": success, "noise": 0.0})
            for step in range(num_frames):
                images = {v: rng.integers(0, 255, (*s, 3), dtype=np.uint8) for v, s in IMAGE_SIZES.items()}
                writer.add_frame(images, 0.05 * rng.normal(size=14), 0.05 * rng.normal(size=14), 0.1 * step)
            writer.end_episode()
    label_dataset(root, LabelConfig(), num_workers=1)
    return root
