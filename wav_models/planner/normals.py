"""The standard normal numbers that the rounds of a plan start from.

They are drawn on the CPU, so that a plan does not depend on the device, and go to where the model computes in one copy
a round. While a GPU computes, those of the next round are drawn; if there is none, the streams are put back, so that
what follows is the same as without.
"""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from wav_models.planner.config import PlannerConfig
from wav_models.planner.noise import NoiseStreams
from wav_models.planner.trajectory_model import TrajectoryModel


class RoundNormals:
    """Of one plan.

    Args:
        streams: what video and value numbers are drawn from.
        config: M, N, and whether all futures have the same value noise.
        model: its noise shapes, and where it computes.
    """

    def __init__(self, streams: NoiseStreams, config: PlannerConfig, model: TrajectoryModel) -> None:
        self._streams, self._device = (streams.video, streams.value), model.device
        futures, draws = config.num_video_samples, config.num_value_samples
        judged = 1 if config.shared_value_noise else futures
        self._shapes = (futures, *model.video_noise_shape), (judged, draws, *model.value_noise_shape)
        self._value_shape = (futures, *self._shapes[1][1:])
        self._ahead: tuple[Tensor, Tensor] | None = None
        self._before: list[Tensor] = []

    def take(self) -> tuple[Tensor, Tensor]:
        """Those of a round: video [M, V, F, L, C] and value [M, N, T, C], where the model computes."""
        drawn, self._ahead = self._ahead or self._draw(), None
        return drawn

    def draw_ahead(self) -> None:
        """Those of the next round, while the model computes; nothing where that is this CPU."""
        if self._device.type != "cpu":
            self._before = [stream.get_state() for stream in self._streams]
            self._ahead = self._draw()

    def put_back(self) -> None:
        """There is no further round."""
        if self._ahead is not None:
            for stream, state in zip(self._streams, self._before, strict=True):
                stream.set_state(state)
            self._ahead = None

    def _draw(self) -> tuple[Tensor, Tensor]:
        sizes = [prod(shape) for shape in self._shapes]
        drawn = torch.empty(sum(sizes), pin_memory=self._device.type == "cuda")
        for part, stream in zip(drawn.split(sizes), self._streams, strict=True):
            torch.randn(len(part), generator=stream, out=part)
        video, value = drawn.to(self._device, non_blocking=True).split(sizes)
        return video.view(self._shapes[0]), value.view(self._shapes[1]).expand(self._value_shape)
