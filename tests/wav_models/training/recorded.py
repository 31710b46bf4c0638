"""Small labelled datasets on disk, written as the recorder writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wav_models.embodiment import Embodiment
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.rewards.label import label_dataset
from wav_models.rewards.label_config import LabelConfig
from wav_policy.cli.main import main
from wav_policy.recording.episode_writer import DatasetWriter

NUM_FRAMES = 12
"""Of an episode, at 10 Hz."""


def wav_train(argv: list[str]) -> int:
    """Exit code of `wav train`."""
    return main(["train", *argv])


def record(
    root: Path,
    instruction: str,
    outcomes: list[bool],
    num_frames: int = NUM_FRAMES,
    robot: Embodiment = BIMANUAL_PIPER,
    fps: int = 10,
) -> Path:
    """An episode of noise per outcome, success or failure."""
    rng = np.random.default_rng(0)
    with DatasetWriter(root, fps=fps, robot=robot) as writer:
        for seed, success in enumerate(outcomes):
            writer.start_episode(instruction, {"seed": seed, "success": success, "noise": 0.0})
            for step in range(num_frames):
                images = {v: rng.integers(0, 255, (*s, 3), dtype=np.uint8) for v, s in robot.image_sizes.items()}
                state, action = (0.05 * rng.normal(size=size) for size in (robot.state_dim, robot.action_dim))
                writer.add_frame(images, state, action, step / fps)
            writer.end_episode()
    label_dataset(root, LabelConfig(), num_workers=1)
    return root
