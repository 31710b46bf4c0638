"""Training of the tiny auto-encoder on single frames of all views."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wav_models.networks.autoencoder import TinyAutoencoder, to_images, to_pixels
from wav_models.training.config import AutoencoderConfig
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.transfer import to_device

MEAN_FRAMES = 512
"""Frames that the mean image of a view is taken over."""
STATISTICS_FRAMES = 1024
FOREGROUND_DIFFERENCE = 0.3
"""A pixel that differs this much from its view's mean image, of a range of 2, is all foreground."""
NUM_SHOWN = 6


class AutoencoderStage:
    """Pixel loss, absolute and squared, in which pixels that differ from their view's mean image weigh more."""

    name = "autoencoder"

    def __init__(
        self,
        autoencoder: TinyAutoencoder,
        frames: NDArray[np.uint8],
        steps: NDArray[np.int64],
        held_out: NDArray[np.int64],
        config: AutoencoderConfig,
        view_names: Sequence[str],
        picture: Path | None = None,
    ) -> None:
        """Args:
        frames: shape [N, V, H, W, 3].
        steps: rows of `frames` to train on.
        held_out: rows to report on.
        view_names: of the V views.
        picture: where reconstructions are shown.
        """
        self.model, self.frames, self.steps, self.config, self.picture = (
            autoencoder,
            frames,
            steps,
            config,
            picture,
        )
        self.view_names = tuple(view_names)
        self.seconds_waited = 0.0
        chosen = np.sort(
            streams_at(0, "mean image", 0).numpy.choice(steps, min(MEAN_FRAMES, len(steps)), replace=False)
        )
        self.mean_images = to_pixels(torch.from_numpy(frames[chosen].mean(axis=0)))
        every = max(1, len(held_out) // 64)
        self.held_out = torch.from_numpy(frames[held_out[::every]])

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return dict(self.model.named_parameters())

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def prepare(self, batch_size: int, streams: RngStreams) -> None:
        """Nothing: a batch is cut from images in memory."""

    def lr_scale(self, name: str) -> float:
        return 1.0

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        rows = self.steps[streams.numpy.integers(len(self.steps), size=batch_size)]
        views = streams.numpy.integers(len(self.view_names), size=batch_size)
        began = time.monotonic()
        frames = torch.from_numpy(self.frames[rows, views])
        self.seconds_waited += time.monotonic() - began
        pixels = to_pixels(to_device(frames, self.device))
        latents = self.model.encode_pixels(pixels)
        difference = self.model.decode_pixels(latents).float() - pixels
        weight = self.foreground(pixels, torch.from_numpy(views)) * self.config.foreground_weight + 1.0
        per_pixel = difference.square() + self.config.l1_weight * difference.abs()
        loss = (weight * per_pixel).sum() / (weight.sum() * pixels.shape[1])
        regularisation = latents.float().square().mean()
        mse = difference.detach().square().mean()
        return {"loss": loss + self.config.latent_weight * regularisation, "psnr": psnr(mse)}

    def foreground(self, pixels: Tensor, views: Tensor) -> Tensor:
        """How much every pixel differs from its view's mean image, [N, 1, H, W] in [0, 1]."""
        difference = (pixels - to_device(self.mean_images[views], pixels.device)).abs().mean(dim=1, keepdim=True)
        return (difference / FOREGROUND_DIFFERENCE).clamp(max=1.0)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """PSNR of held-out frames per view, and of their foreground; draws the picture."""
        metrics = {}
        rebuilt_views = []
        for view, name in enumerate(self.view_names):
            pixels = to_pixels(self.held_out[:, view].to(self.device))
            rebuilt = self.model.decode_pixels(self.model.encode_pixels(pixels)).float().clamp(-1, 1)
            rebuilt_views.append(to_images(rebuilt).cpu().numpy())
            square = (rebuilt - pixels).square()
            weight = self.foreground(pixels, torch.full((len(pixels),), view)).expand_as(square)
            metrics[f"psnr_{name}"] = float(psnr(square.mean()))
            metrics[f"foreground_{name}"] = float(psnr((square * weight).sum() / weight.sum().clamp_min(1.0)))
        if self.picture is not None:
            self._draw(np.stack(rebuilt_views, axis=1), self.picture)
        return metrics

    @torch.no_grad()
    def finish(self) -> None:
        """Store the statistics of the latents, over training frames, in the auto-encoder."""
        count = min(STATISTICS_FRAMES, len(self.steps))
        chosen = np.sort(streams_at(0, "latent statistics", 0).numpy.choice(self.steps, count, replace=False))
        latents = [
            self.model.encode_pixels(to_pixels(torch.from_numpy(np.array(self.frames[i])).to(self.device)))
            for i in chosen
        ]
        self.model.set_statistics(torch.cat(latents))

    def _draw(self, rebuilt: NDArray[np.uint8], path: Path) -> None:
        """True frames above their reconstructions, all views; one column per frame."""
        chosen = np.linspace(0, len(rebuilt) - 1, min(NUM_SHOWN, len(rebuilt))).astype(int)
        rows = [images[chosen, v] for v in range(len(self.view_names)) for images in (self.held_out.numpy(), rebuilt)]
        sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
        sheet = np.repeat(np.repeat(sheet, 3, axis=0), 3, axis=1)
        cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def psnr(mean_square: Tensor) -> Tensor:
    """Peak signal-to-noise ratio [dB] of pixels in [-1, 1]."""
    return 10.0 * torch.log10(4.0 / mean_square.clamp_min(1e-9))
