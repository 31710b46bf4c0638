"""The value DiT: from an imagined future to the reward terms of Table 2 and the discounted return over the horizon."""

from __future__ import annotations

from torch import Tensor

from wav_models.networks.attention import KeysValues
from wav_models.networks.expert_dit import ExpertContext, ExpertDiT, ExpertOutput
from wav_models.networks.video_dit import VideoFeatures
from wav_models.presets import ModelConfig

VALUE_ROPE_BASE = 57
"""Chunk position that maps to 1, as in the published checkpoint."""


class ValueDiT(ExpertDiT):
    """Denoises values [B, R, T, C]: R value samples for each of B futures."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.value,
            num_layers=config.video.num_layers,
            video_dim=config.video.hidden_size,
            value_dim=None,
            num_positions=config.horizon.value_horizon,
            rope_base=VALUE_ROPE_BASE,
        )

    def context(self, features: VideoFeatures, memory: tuple[KeysValues, ...] | None = None) -> ExpertContext:
        """What all samples of a future share; `memory` is the cached `memory_context`, if there is one."""
        return ExpertContext(self.video_context(features, memory))

    def forward(self, x_t: Tensor, flow_time: Tensor, context: ExpertContext) -> ExpertOutput:
        """One denoising step.

        Args:
            x_t: noisy values, [B, R, T, C].
            flow_time: [1 or B, 1 or R].
            context: of B futures.
        """
        rows = self.time_embed(flow_time[..., None])
        features = self._run(self.proj_in(x_t), rows, self._rope(x_t.shape[2]), context)
        return ExpertOutput(self.head(features[-1], rows), features)
