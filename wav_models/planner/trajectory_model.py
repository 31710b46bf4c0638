"""What the planner asks of a world-value-action model that has seen one observation.

The three networks of the paper stand behind it in `engines.observed_trajectories`; a landscape with a known
optimum stands behind it in the planner's tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

Futures = Any
"""A batch of imagined futures; opaque to the planner, made by `imagine` and handed to `evaluate`, `pick` and `act`."""


@dataclass(frozen=True)
class Decision:
    """What the action expert made of one future.

    Attributes:
        actions: action tokens in the model's normalised units, shape [H, A].
        values: predicted value over the horizon of that future, shape [T].
    """

    actions: Tensor
    values: Tensor


class TrajectoryModel(Protocol):
    """All random numbers come from the planner; the same noise gives the same answer.

    Tensors are float32; noise is given and values are returned on `device`, decisions on the CPU.
    """

    @property
    def device(self) -> torch.device:
        """Where the model computes."""

    @property
    def video_noise_shape(self) -> tuple[int, ...]:
        """Shape of one future's noise: [V, F, L, C], per view, future tokens only."""

    @property
    def value_noise_shape(self) -> tuple[int, ...]:
        """Shape of one value sample's noise: [T, C]."""

    @property
    def action_noise_shape(self) -> tuple[int, ...]:
        """Shape of the action noise: [H, A]."""

    def imagine(self, video_noise: Tensor) -> Futures:
        """The futures of `video_noise` [M, *video_noise_shape]."""

    def evaluate(self, futures: Futures, value_noise: Tensor) -> Tensor:
        """Values [M, N, T] from `value_noise` [M, N, *value_noise_shape]; entry [m, n] judges future m."""

    def pick(self, futures: Futures, index: int) -> Futures:
        """One of several futures, for `act`; cheap, and keeps none of the others."""

    def act(self, future: Futures, value_noise: Tensor, action_noise: Tensor) -> Decision:
        """Decode one future, picked or imagined with M = 1; noises [*value_noise_shape], [*action_noise_shape]."""
