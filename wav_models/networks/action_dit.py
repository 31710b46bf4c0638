"""The action DiT: from an imagined future and its value features to a chunk of actions."""

from __future__ import annotations

import torch
from torch import Tensor

from wav_models.networks.attention import KeysValues
from wav_models.networks.expert_dit import ExpertContext, ExpertDiT, ExpertOutput
from wav_models.networks.modulation import TimeRows
from wav_models.networks.video_dit import MEMORY_FLOW_TIME, VideoFeatures
from wav_models.presets import ModelConfig

ACTION_ROPE_BASE = 54
"""Chunk position that maps to 1, as in the published checkpoint."""


class ActionDiT(ExpertDiT):
    """Denoises actions [B, R, H, A + S]; the measured state is a clean token in front of the chunk.

    The first actions may be clean as well: those that will have been executed when the chunk arrives ("Training-time
    action conditioning for efficient real-time chunking", Black et al. 2025, arXiv 2512.05964).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(
            config.action,
            num_layers=config.video.num_layers,
            video_dim=config.video.hidden_size,
            value_dim=config.value.hidden_size,
            num_positions=1 + config.horizon.action_horizon,
            rope_base=ACTION_ROPE_BASE,
        )

    def context(
        self,
        features: VideoFeatures,
        value_features: tuple[Tensor, ...] | None,
        memory: tuple[KeysValues, ...] | None = None,
    ) -> ExpertContext:
        """What all draws of a future share.

        Args:
            features: of B futures.
            value_features: per block of the value DiT, [B, T, Dv], or [B, R, T, Dv] when every draw has its own; None
                skips the value attention.
            memory: the cached `memory_context`, if there is one.
        """
        video = self.video_context(features, memory)
        if value_features is None:
            return ExpertContext(video)
        rows = (x.reshape(-1, *x.shape[-2:]) for x in value_features)
        value = tuple(block.value_context(x) for block, x in zip(self._blocks, rows, strict=True))
        return ExpertContext(video, value)

    def forward(
        self,
        x_t: Tensor,
        flow_time: Tensor,
        state: Tensor | None,
        context: ExpertContext,
        given: Tensor | None = None,
    ) -> ExpertOutput:
        """One denoising step.

        Args:
            x_t: noisy actions, [B, R, H, A + S].
            flow_time: [1 or B, 1 or R].
            state: the state token, [B, 1, A + S]; None leaves it out.
            context: of B futures.
            given: actions that are data, at flow time 1, and stay as they are, bool [1 or B, 1 or R, H].

        Returns:
            Velocity and features of the H action tokens; the state token's are dropped.
        """
        rows, num_steps = self.time_embed(flow_time[..., None]), x_t.shape[2]
        if given is not None:
            rows = self._with_given_rows(rows, given)
        tokens, token_rows = x_t, rows
        if state is not None:
            token = state[:, None].expand(x_t.shape[0], x_t.shape[1], -1, -1)
            tokens, token_rows = torch.cat([token, x_t], dim=2), self._with_state_row(rows, num_steps)
        hidden = self.proj_in(tokens)
        features = self._run(hidden, token_rows, self._rope(hidden.shape[2]), context)
        features = tuple(x[:, :, hidden.shape[2] - num_steps :] for x in features)
        velocity = self.head(features[-1], rows)
        if given is not None:
            velocity = torch.where(given[..., None], 0.0, velocity)
        return ExpertOutput(velocity, features)

    def _with_state_row(self, rows: TimeRows, num_steps: int) -> TimeRows:
        """Rows per token [B, R, 1 + H, ...]: the state token carries the time of clean data."""
        return TimeRows(
            *(
                torch.cat([c.expand(*r.shape[:2], *c.shape[2:]), r.expand(-1, -1, num_steps, *r.shape[3:])], dim=2)
                for c, r in zip(self._clean_row(rows), rows, strict=True)
            )
        )

    def _with_given_rows(self, rows: TimeRows, given: Tensor) -> TimeRows:
        """Rows per token [B, R, H, ...]: given actions carry the time of clean data too."""
        clean = self._clean_row(rows)
        modulation = torch.where(given[..., None, None], clean.modulation, rows.modulation)
        return TimeRows(modulation, torch.where(given[..., None], clean.embedded, rows.embedded))

    def _clean_row(self, rows: TimeRows) -> TimeRows:
        """Of clean data, [1, 1, 1, ...]."""
        return self.time_embed(torch.full((1, 1, 1), MEMORY_FLOW_TIME, device=rows.embedded.device))
