"""The transformer shared by the value and the action expert.

Block i cross-attends to the hidden states leaving block i of the video DiT. Those keys and values do not depend on the
chunk being denoised: they are computed once per future (their memory part once per observation) and shared by all draws
and denoising steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from wav_models.networks.attention import KeysValues, concatenate
from wav_models.networks.blocks import ExpertBlock
from wav_models.networks.modulation import TimeEmbedding, TimeRows, velocity_head
from wav_models.networks.rope import Rope, chunk_rope
from wav_models.networks.video_dit import VideoFeatures
from wav_models.presets import ExpertConfig


class ExpertContext(NamedTuple):
    """What an expert attends to, one entry per block.

    Attributes:
        video: attn2 keys and values, [B, V * (F_mem + F_fut) * L, D].
        value: attn3 keys and values, [B or B * R, T, D]; None without value features.
    """

    video: tuple[KeysValues, ...]
    value: tuple[KeysValues, ...] | None = None

    def select(self, index: int) -> ExpertContext:
        """Context of one future, batch 1, copied from the others; only before value features are attached."""
        if self.value is not None:
            raise ValueError("select the future before computing the context of its value features")
        return ExpertContext(tuple(KeysValues(*(x[index : index + 1].clone() for x in kv)) for kv in self.video))


class ExpertOutput(NamedTuple):
    """Velocity x_1 - x_0 [B, R, T, C], and the hidden states leaving every block [B, R, T, D]."""

    velocity: Tensor
    features: tuple[Tensor, ...]


class ExpertDiT(nn.Module):
    """Denoises a chunk [B, R, T, C]: R draws for each of B futures."""

    rope_cos: Tensor
    rope_sin: Tensor

    def __init__(
        self,
        config: ExpertConfig,
        *,
        num_layers: int,
        video_dim: int,
        value_dim: int | None,
        num_positions: int,
        rope_base: int,
    ) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.proj_in = nn.Linear(config.in_channels, hidden)
        self.time_embed = TimeEmbedding(hidden)
        self.blocks = nn.ModuleList(
            ExpertBlock(hidden, config.num_attention_heads, config.attention_head_dim, video_dim, value_dim)
            for _ in range(num_layers)
        )
        self.scale_shift_table = nn.Parameter(torch.empty(2, hidden))
        self.proj_out = nn.Linear(hidden, config.out_channels)
        rope = chunk_rope(num_positions, rope_base, hidden)
        self.register_buffer("rope_cos", rope.cos, persistent=False)
        self.register_buffer("rope_sin", rope.sin, persistent=False)

    def memory_context(self, memory_features: tuple[Tensor, ...]) -> tuple[KeysValues, ...]:
        """Keys and values of the memory part of the video features; once per observation with causal memory."""
        return tuple(block.video_context(x) for block, x in zip(self._blocks, memory_features, strict=True))

    def video_context(
        self, features: VideoFeatures, memory: tuple[KeysValues, ...] | None = None
    ) -> tuple[KeysValues, ...]:
        """Keys and values of all video features; `memory` is the cached `memory_context`, if there is one."""
        if memory is None:
            memory = self.memory_context(features.memory)
        future = self.memory_context(features.future)
        return tuple(concatenate(m, f, dim=1) for m, f in zip(memory, future, strict=True))

    def _run(self, hidden: Tensor, rows: TimeRows, rope: Rope, context: ExpertContext) -> tuple[Tensor, ...]:
        """Hidden states [B, R, S, D] leaving every block; `rows` broadcast to [B, R, S, ...]."""
        value: tuple[KeysValues | None, ...] = context.value or (None,) * len(self.blocks)
        features = []
        for block, video_kv, value_kv in zip(self._blocks, context.video, value, strict=True):
            hidden = block(hidden, rows.modulation, rope, video_kv, value_kv)
            features.append(hidden)
        return tuple(features)

    def head(self, hidden: Tensor, rows: TimeRows) -> Tensor:
        """Velocity [B, R, T, C] from the last block's hidden states [B, R, T, D]."""
        return velocity_head(hidden, rows.embedded, self.scale_shift_table, self.proj_out)

    @property
    def _blocks(self) -> Sequence[ExpertBlock]:
        return cast(Sequence[ExpertBlock], self.blocks)

    def _rope(self, num_positions: int) -> Rope:
        return Rope(self.rope_cos[:num_positions], self.rope_sin[:num_positions])
