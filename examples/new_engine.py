"""An engine of one's own under the planner: python examples/new_engine.py

An engine runs the networks (`wav_models/engines/base.py` has all methods). This one is the torch engine, and counts
what a plan asks of it. One that runs exported graphs is a module in `wav_models/engines/runtimes/`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from wav_models import project_files
from wav_models.checkpoint import load_checkpoint
from wav_models.engines.torch_engine import TorchEngine
from wav_models.networks.text_encoder import make_text_encoder
from wav_models.types import Observation
from wav_policy.bringup.arguments import DEFAULT_CHECKPOINT
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.model import home_positions


class CountingEngine(TorchEngine):
    """Counts futures imagined, values judged and chunks decoded."""

    def __init__(self, *networks: Any) -> None:
        super().__init__(*networks)
        self.counts: Counter[str] = Counter()

    def imagine(self, scene: Any, video_noise: Any, *options: Any) -> Any:
        """Futures from noise [M, V, F, L, C]."""
        self.counts["futures"] += len(video_noise)
        return super().imagine(scene, video_noise, *options)

    def evaluate(self, futures: Any, value_noise: Any, num_steps: int) -> Any:
        """Values from noise [M, N, T, 17]."""
        self.counts["values"] += value_noise.shape[0] * value_noise.shape[1]
        return super().evaluate(futures, value_noise, num_steps)

    def act(self, *inputs: Any) -> Any:
        """One chunk."""
        self.counts["chunks"] += 1
        return super().act(*inputs)


checkpoint = load_checkpoint(project_files.resolve(DEFAULT_CHECKPOINT))
engine = CountingEngine(checkpoint.model, checkpoint.autoencoder, make_text_encoder(checkpoint.config))
policy = WAVPolicy(engine, checkpoint.normalization, checkpoint.planner)
height, width = policy.config.latent.image_size
black = np.zeros((len(VIEWS), len(policy.config.horizon.memory_offsets), height, width, 3), np.uint8)
policy.plan(Observation(black, home_positions(), "open the drawer, put the block in, close it"))
print(f"a plan with K = {policy.planner.num_iterations}: {dict(engine.counts)}")
