"""Predicted against true return along recorded episodes (Fig. 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from wav_models.data.dataset import DatasetError, Episode
from wav_models.data.samples import frames_per_step, window
from wav_models.experiments.reader import FutureReader
from wav_models.types import Observation

EVERY = 2
"""Steps of the model between two predictions."""
NUM_FUTURES = 4
NUM_VALUE_SAMPLES = 2


def value_curve(reader: FutureReader, episode: Episode, seed: int) -> dict[str, Any]:
    """Time [s], true return, and mean and standard deviation over imagined futures of the predicted return.

    Both are means over the value horizon of every observation.

    Raises:
        DatasetError: the episode has no reward labels.
    """
    if episode.values is None:
        raise DatasetError(f"episode {episode.info.index} has no rewards; run `wav label` first")
    horizon = reader.engine.config.horizon
    stride = frames_per_step(episode.fps, horizon.step_hz)
    size, views = reader.engine.config.latent.image_size, reader.engine.config.embodiment.view_names
    images = np.stack([episode.images(view, size=size) for view in views])
    generator = torch.Generator().manual_seed(seed)
    curve: dict[str, Any] = {"time": [], "true": [], "mean": [], "std": []}
    for t in range(0, len(episode), EVERY * stride):
        frames = window(len(episode), t, horizon, stride)
        seen = Observation(images[:, frames.memory], episode.states[t], episode.instruction)
        reading = reader.imagined(reader.observe(seen), reader.video_noise(NUM_FUTURES, generator))
        values = reader.values(reading, reader.value_noise(NUM_VALUE_SAMPLES, generator)).mean(axis=(1, 2))
        curve["time"].append(t / episode.fps)
        curve["true"].append(float(episode.values[frames.values, -1].mean()))
        curve["mean"].append(float(values.mean()))
        curve["std"].append(float(values.std()))
    return {**curve, "success": episode.info.success, "instruction": episode.instruction, "seed": episode.info.seed}
