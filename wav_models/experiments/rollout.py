"""Imagined against true video, further ahead than one future reaches: imagined frames become memory (Fig. 9)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from wav_models.data.dataset import Episode
from wav_models.data.samples import frames_per_step, window
from wav_models.experiments.reader import FutureReader
from wav_models.presets import HorizonConfig
from wav_models.rewards.terms import structural_similarity
from wav_models.types import ImageArray, Observation

NUM_STEPS = 8
"""Euler steps of every imagined future, to the end."""


@dataclass(frozen=True)
class Rollout:
    """One observation and what followed.

    Attributes:
        times: of the frames, from the observation [s], shape [F].
        true, imagined: uint8, shape [V, F, H, W, 3].
        psnr, ssim: per view and frame, shape [V, F]; dB and 1.
        copy_psnr: that of repeating the last seen frame, shape [V, F].
    """

    times: NDArray[np.float64]
    true: ImageArray
    imagined: ImageArray
    psnr: NDArray[np.float64]
    ssim: NDArray[np.float64]
    copy_psnr: NDArray[np.float64]


def roll_out(reader: FutureReader, episode: Episode, start: int, num_futures: int, seed: int) -> Rollout:
    """Imagine `num_futures` futures one after the other from frame `start` of an episode.

    Raises:
        ValueError: the model's imagined frames are not spaced as its memory is, so that they cannot become memory.
    """
    config = reader.engine.config
    horizon, size, views = config.horizon, config.latent.image_size, config.embodiment.view_names
    spacing = require_chainable(horizon)
    stride = frames_per_step(episode.fps, horizon.step_hz)
    steps = spacing * np.arange(1, num_futures * len(horizon.future_offsets) + 1)
    rows = np.clip(start + stride * steps, 0, len(episode) - 1)
    memory_rows = window(len(episode), start, horizon, stride).memory.tolist()
    seen = np.stack([episode.images(view, memory_rows, size) for view in views])
    true = np.stack([episode.images(view, rows.tolist(), size) for view in views])
    scene = reader.observe(Observation(seen, episode.states[start], episode.instruction))
    generator = torch.Generator().manual_seed(seed)
    text = reader.engine.encode_text(episode.instruction)
    frames = []
    for _ in range(num_futures):
        latents = reader.engine.denoise(scene, reader.video_noise(1, generator), NUM_STEPS)
        frames.append(reader.engine.decode_images(latents))
        scene = reader.engine.observe(latents[:, :, -len(horizon.memory_offsets) :], text)
    imagined = np.concatenate(frames, axis=1)
    last = np.repeat(seen[:, -1:], true.shape[1], axis=1)
    return Rollout(
        steps / horizon.step_hz,
        true,
        imagined,
        psnr=_per_frame(peak_signal_to_noise, true, imagined),
        ssim=_per_frame(_ssim, true, imagined),
        copy_psnr=_per_frame(peak_signal_to_noise, true, last),
    )


def require_chainable(horizon: HorizonConfig) -> int:
    """Steps between frames, the same in memory and future."""
    spacing = {int(d) for d in np.diff([*horizon.memory_offsets, *horizon.future_offsets])}
    if len(spacing) != 1 or len(horizon.future_offsets) < len(horizon.memory_offsets):
        raise ValueError(
            f"memory {horizon.memory_offsets} and future {horizon.future_offsets} are not evenly spaced, or the future "
            f"is shorter: imagined frames cannot become memory"
        )
    return spacing.pop()


def peak_signal_to_noise(first: ImageArray, second: ImageArray) -> float:
    """Of two uint8 images [dB]; 60 for equal ones."""
    mean_square = float(np.mean((first.astype(np.float64) - second) ** 2))
    return float(10 * np.log10(255.0**2 / max(mean_square, 255.0**2 * 1e-6)))


def _ssim(first: ImageArray, second: ImageArray) -> float:
    return structural_similarity(first.astype(np.float32), second.astype(np.float32))


def _per_frame(measure: object, first: ImageArray, second: ImageArray) -> NDArray[np.float64]:
    return np.array([[measure(a, b) for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)])  # type: ignore[operator]
