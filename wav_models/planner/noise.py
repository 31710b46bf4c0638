"""The Gaussian noise the planner searches in: sample, refit, smooth, shift; and its random streams."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wav_models.planner.trajectory_model import TrajectoryModel


@dataclass(frozen=True)
class NoiseStreams:
    """Three independent random streams of one plan; every draw names the one it comes from.

    They are the children (video, value, action) of `numpy.random.SeedSequence(seed)`, whose hashing decorrelates
    children and neighbouring seeds; seed 0 is a seed like any other. Draws are made on the CPU in float32, so a plan
    does not depend on the device. Round k of a plan is the same whether or not later rounds follow.
    """

    video: torch.Generator
    value: torch.Generator
    action: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> NoiseStreams:
        """The streams of a plan; ValueError for a seed below 0."""
        if seed < 0:
            raise ValueError(f"seed is {seed}; any integer >= 0 fits")
        children = np.random.SeedSequence(seed).spawn(3)
        return cls(*(torch.Generator().manual_seed(int(c.generate_state(1, np.uint64)[0])) for c in children))


@dataclass(frozen=True)
class NoiseDistribution:
    """Diagonal Gaussian over one latent (Section 4.3).

    Attributes:
        mean, std: shape of one latent, e.g. [V, F, L, C] for the video noise: every view and token has its own.
    """

    mean: Tensor
    std: Tensor

    @classmethod
    def standard(cls, shape: tuple[int, ...]) -> NoiseDistribution:
        """f^(0): zero mean, unit standard deviation, as the flows were trained."""
        return cls(torch.zeros(shape), torch.ones(shape))

    @classmethod
    def refit(cls, elites: Tensor) -> NoiseDistribution:
        """Empirical mean and population standard deviation of `elites` [E, *shape] (Eq. 4, Eq. 5); finite for E = 1."""
        mean = elites.mean(dim=0)
        return cls(mean, (elites - mean).square().mean(dim=0).sqrt())

    def around(self, normals: Tensor) -> Tensor:
        """Draws from standard normal numbers [*, *shape]."""
        return self.mean + self.std * normals

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Independent draws, shape [count, *shape]; the numbers are drawn on the CPU."""
        return self.around(torch.randn(count, *self.mean.shape, generator=generator).to(self.mean.device))

    def to(self, device: torch.device) -> NoiseDistribution:
        """The same, there."""
        return NoiseDistribution(self.mean.to(device), self.std.to(device))

    def smooth(
        self, previous: NoiseDistribution, mean_rate: float, std_rate: float, min_std: float
    ) -> NoiseDistribution:
        """Exponential smoothing; the rates (alpha, beta of Section 4.3) weigh this, the **new** estimate.

        The floor `min_std` keeps the search alive ("to prevent distribution collapse").
        """
        mean = mean_rate * self.mean + (1.0 - mean_rate) * previous.mean
        std = std_rate * self.std + (1.0 - std_rate) * previous.std
        return NoiseDistribution(mean, std.clamp(min=min_std))

    def shifted(self, by: float, axis: int, min_std: float) -> NoiseDistribution:
        """This noise as seen `by` entries of the time `axis` later, to warm-start the next plan.

        Entries between two are interpolated linearly; what comes in at the end of the horizon is standard normal.
        The standard deviation is raised to `min_std`, so that the next search can leave the old optimum. ValueError for
        `by` below 0.
        """
        if by < 0:
            raise ValueError(f"by is {by}; noise is shifted forward in time, by >= 0")
        return NoiseDistribution(_shift(self.mean, by, axis, 0.0), _shift(self.std, by, axis, 1.0).clamp(min=min_std))


@dataclass(frozen=True)
class SearchState:
    """The two noise distributions the search maintains: f_vid and f_val."""

    video: NoiseDistribution
    value: NoiseDistribution

    @classmethod
    def initial(cls, model: TrajectoryModel) -> SearchState:
        """f^(0): standard normal."""
        shapes = model.video_noise_shape, model.value_noise_shape
        return cls(*map(NoiseDistribution.standard, shapes)).to(model.device)

    def to(self, device: torch.device) -> SearchState:
        """The same, there."""
        return SearchState(self.video.to(device), self.value.to(device))

    def refit(self, video_elites: Tensor, value_elites: Tensor, rates: tuple[float, float, float]) -> SearchState:
        """Both refitted to their elites [E, *shape] (Eq. 4, Eq. 5), then smoothed; `rates` are those of `smooth`."""
        return SearchState(
            NoiseDistribution.refit(video_elites).smooth(self.video, *rates),
            NoiseDistribution.refit(value_elites).smooth(self.value, *rates),
        )


def _shift(x: Tensor, by: float, axis: int, fill: float) -> Tensor:
    """x at axis positions 0 + by, 1 + by, ..., by linear interpolation; `fill` beyond the end."""
    length = x.shape[axis]
    whole = min(int(by), length)
    fraction = by - int(by)
    padding = torch.full_like(x, fill)
    padded = torch.cat([x, padding, padding.narrow(axis, 0, 1)], dim=axis)
    return (1.0 - fraction) * padded.narrow(axis, whole, length) + fraction * padded.narrow(axis, whole + 1, length)
