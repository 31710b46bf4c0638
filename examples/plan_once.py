"""One plan from a checkpoint and three camera images: python examples/plan_once.py [HEAD LEFT_WRIST RIGHT_WRIST]

Without images, those of a simulated drawer.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from wav_models import project_files
from wav_models.data.images import resize_image
from wav_models.types import Observation
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.model import home_positions
from wav_policy.sim.env import WavEnv


def images(files: list[str]) -> dict[str, np.ndarray]:
    """RGB [H, W, 3] per view."""
    if files:
        if len(files) != len(VIEWS):
            sys.exit(__doc__)
        if absent := [file for file in files if not cv2.haveImageReader(file)]:
            sys.exit(f"{', '.join(absent)}: no image")
        return {view: cv2.imread(file)[..., ::-1] for view, file in zip(VIEWS, files, strict=True)}
    environment = WavEnv("drawer")
    observation, _ = environment.reset(seed=2000)
    environment.close()
    return {view: observation[view] for view in VIEWS}


seen = images(sys.argv[1:])
policy = WAVPolicy.load(project_files.resolve(DEFAULT_CHECKPOINT), engine="torch")
size, num_memory = policy.config.latent.image_size, len(policy.config.horizon.memory_offsets)
frames = np.stack([resize_image(seen[view], size) for view in VIEWS])
memory = np.repeat(frames[:, None], num_memory, axis=1)  # nothing has moved yet: the same picture at every offset
observation = Observation(memory, home_positions(), "open the drawer, put the block in, close it")

plan = policy.plan(observation, seed=0)

print(f"{len(plan.rounds)} rounds in {1000 * sum(plan.seconds.values()):.0f} ms ({plan.stop_reason})")
for number, round_ in enumerate(plan.rounds, start=1):
    print(f"round {number}: scores of its futures {np.round(round_.video_score, 3)}")
print(f"value over the horizon: {np.round(plan.values, 3)}")
print(f"{plan.chunk.positions.shape} joint targets, every {plan.chunk.step} s; the first, in rad and m:")
print(np.round(plan.chunk.positions[0], 3))
