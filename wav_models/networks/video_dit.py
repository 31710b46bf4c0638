"""The video DiT: imagines future latent frames of all views from memory frames and an instruction.

The transformer of LTX-Video with two additions of WAV: an embedding per view, and joint attention of all views of a
sample in every third block. The view is added to the time embedding only; all views share one RoPE.

Two forms share this class. Bidirectional (the published weights): memory and future tokens are one sequence. Causal
memory: memory tokens do not attend to future tokens, so `encode_memory` runs once per observation and every future
reuses its keys, values and features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from wav_models.networks.attention import KeysValues
from wav_models.networks.blocks import VideoBlock
from wav_models.networks.modulation import TimeEmbedding, TimeRows, velocity_head
from wav_models.networks.rope import Rope, video_rope
from wav_models.presets import ModelConfig

MEMORY_FLOW_TIME = 1.0
"""Memory frames are clean data."""
MASKED_LOGIT = -10000.0


class TextContext(NamedTuple):
    """An instruction as the blocks see it: computed once per instruction.

    Attributes:
        keys_values: per block, attn2 keys and values [B, Lt, D].
        bias: 0 for words, `MASKED_LOGIT` for padding, [B, 1, 1, Lt]; None: there are words only.
    """

    keys_values: tuple[KeysValues, ...]
    bias: Tensor | None


class MemoryPrefix(NamedTuple):
    """Memory frames as future tokens see them: computed once per observation.

    Attributes:
        keys_values: per block, self-attention keys and values [B, V, F_mem, L, D].
        features: per block, hidden states leaving it [B, V * F_mem * L, D].
    """

    keys_values: tuple[KeysValues, ...]
    features: tuple[Tensor, ...]


class VideoFeatures(NamedTuple):
    """Hidden states leaving every block, for the experts.

    Attributes:
        memory: per block [1 or B, V * F_mem * L, D]; batch 1 is shared by all futures.
        future: per block [B, V * F_fut * L, D].
    """

    memory: tuple[Tensor, ...]
    future: tuple[Tensor, ...]

    def select(self, index: int) -> VideoFeatures:
        """Features of one future, batch 1, copied from the others."""
        return VideoFeatures(
            tuple(x if x.shape[0] == 1 else x[index : index + 1].clone() for x in self.memory),
            tuple(x[index : index + 1].clone() for x in self.future),
        )


class VideoOutput(NamedTuple):
    """Velocity x_1 - x_0 of the future latents [B, V, F_fut, L, C], and the features."""

    velocity: Tensor
    features: VideoFeatures


class CaptionProjection(nn.Module):
    """Text embedding to hidden size: linear, tanh-approximated GELU, linear."""

    def __init__(self, caption_channels: int, hidden_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(caption_channels, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, text_embedding: Tensor) -> Tensor:
        return self.linear_2(functional.gelu(self.linear_1(text_embedding), approximate="tanh"))


class VideoDiT(nn.Module):
    """See the module's docstring. B batch, V views, F frames, L tokens per frame, C latent channels, D hidden size."""

    rope_cos: Tensor
    rope_sin: Tensor
    view_embed: nn.Parameter | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        video, latent = config.video, config.latent
        hidden = video.hidden_size
        self.causal_memory = video.causal_memory
        self.num_memory_frames = config.num_memory_frames
        self.num_views = config.num_views
        self.proj_in = nn.Linear(video.in_channels, hidden)
        self.time_embed = TimeEmbedding(hidden)
        self.caption_projection = CaptionProjection(video.caption_channels, hidden)
        if video.use_view_embed:
            self.view_embed = nn.Parameter(torch.empty(video.max_view, hidden))
            self.view_ada = nn.Linear(hidden, 6 * hidden)
        else:
            self.register_parameter("view_embed", None)
        self.transformer_blocks = nn.ModuleList(
            VideoBlock(
                hidden,
                video.num_attention_heads,
                video.attention_head_dim,
                video.cross_attention_dim,
                joint=index % video.cross_view_every == 0,
            )
            for index in range(video.num_layers)
        )
        self.scale_shift_table = nn.Parameter(torch.empty(2, hidden))
        self.proj_out = nn.Linear(hidden, video.out_channels)
        scale = (
            latent.temporal_compression / latent.frame_rate,
            float(latent.spatial_compression),
            float(latent.spatial_compression),
        )
        rope = video_rope(config.num_memory_frames + config.num_future_frames, latent.tokens_per_frame, scale, hidden)
        self.register_buffer("rope_cos", rope.cos, persistent=False)
        self.register_buffer("rope_sin", rope.sin, persistent=False)

    def encode_text(self, text_embedding: Tensor, text_mask: Tensor | None) -> TextContext:
        """Project an instruction [B, Lt, Ct] with its mask [B, Lt] (True: a word; None: all are) for every block."""
        projected = self.caption_projection(text_embedding)
        bias = None if text_mask is None else (~text_mask).to(projected.dtype)[:, None, None, :] * MASKED_LOGIT
        return TextContext(tuple(block.text_context(projected) for block in self._blocks), bias)

    def encode_memory(self, memory_latents: Tensor, text: TextContext) -> MemoryPrefix:
        """Run memory frames [B, V, F_mem, L, C] alone; only a model trained with causal memory can."""
        if not self.causal_memory:
            raise ValueError("encode_memory needs video.causal_memory = True; this model attends in both directions")
        rows = self._time_rows(self._memory_flow_time(memory_latents))
        rope = self._rope(0, self.num_memory_frames)
        hidden = self.proj_in(memory_latents)
        keys_values, features = [], []
        for block, text_kv in zip(self._blocks, text.keys_values, strict=True):
            hidden, own = block(hidden, rows.modulation, rope, text_kv, text.bias)
            keys_values.append(own)
            features.append(hidden.flatten(1, 3))
        return MemoryPrefix(tuple(keys_values), tuple(features))

    def forward(
        self, future_latents: Tensor, flow_time: Tensor, text: TextContext, memory: MemoryPrefix | Tensor
    ) -> VideoOutput:
        """Velocity and features of B futures.

        Args:
            future_latents: x_t, [B, V, F_fut, L, C].
            flow_time: [1 or B].
            text: of batch 1 (shared) or B.
            memory: latents [1 or B, V, F_mem, L, C], or with causal memory the prefix of them.

        Raises:
            ValueError: a memory prefix was given to a bidirectional model, or the frames do not fit the configuration.
        """
        self._check(future_latents, memory)
        if isinstance(memory, Tensor):
            if not self.causal_memory:
                return self._forward_bidirectional(future_latents, flow_time, text, memory)
            memory = self.encode_memory(memory, text)
        rows = self._time_rows(flow_time)
        rope = self._rope(self.num_memory_frames, None)
        hidden = self.proj_in(future_latents)
        features = []
        for block, text_kv, memory_kv in zip(
            self.transformer_blocks, text.keys_values, memory.keys_values, strict=True
        ):
            hidden, _ = block(hidden, rows.modulation, rope, text_kv, text.bias, memory_kv)
            features.append(hidden.flatten(1, 3))
        return VideoOutput(self._head(hidden, rows), VideoFeatures(memory.features, tuple(features)))

    def _forward_bidirectional(
        self, future_latents: Tensor, flow_time: Tensor, text: TextContext, memory_latents: Tensor
    ) -> VideoOutput:
        """Memory and future tokens as one sequence per view, as published."""
        batch, split = future_latents.shape[0], self.num_memory_frames
        memory_rows = self._time_rows(self._memory_flow_time(memory_latents)).modulation
        future_rows = self._time_rows(flow_time)
        modulation = torch.cat(
            [
                memory_rows.expand(flow_time.shape[0], -1, split, -1, -1, -1),
                future_rows.modulation.expand(-1, -1, future_latents.shape[2], -1, -1, -1),
            ],
            dim=2,
        )
        hidden = self.proj_in(
            torch.cat([memory_latents.expand(batch, *memory_latents.shape[1:]), future_latents], dim=2)
        )
        memory, future = [], []
        for block, text_kv in zip(self._blocks, text.keys_values, strict=True):
            hidden, _ = block(hidden, modulation, self._rope(0, None), text_kv, text.bias)
            memory.append(hidden[:, :, :split].flatten(1, 3))
            future.append(hidden[:, :, split:].flatten(1, 3))
        velocity = self._head(hidden[:, :, split:], future_rows)
        return VideoOutput(velocity, VideoFeatures(tuple(memory), tuple(future)))

    @property
    def _blocks(self) -> Sequence[VideoBlock]:
        return cast(Sequence[VideoBlock], self.transformer_blocks)

    def _time_rows(self, flow_time: Tensor) -> TimeRows:
        """Rows for [B] flow times with the views' share: modulation [B, V, 1, 1, 6, D], embedded [B, V, 1, 1, D]."""
        return self.with_views(self.time_embed(flow_time[:, None, None, None]))

    def with_views(self, rows: TimeRows) -> TimeRows:
        """Rows [B, 1 or V, F, 1 or L, ...] of flow times and the views' share of them, [B, V, F, 1 or L, ...]."""
        if self.view_embed is None:
            return rows
        embedded = self.view_embed[: self.num_views]
        view = self.view_ada(functional.silu(embedded)).unflatten(-1, (6, -1))
        return TimeRows(rows.modulation + view[:, None, None], rows.embedded + embedded[:, None, None])

    def _memory_flow_time(self, like: Tensor) -> Tensor:
        return torch.full((1,), MEMORY_FLOW_TIME, device=like.device)

    def _rope(self, start: int, stop: int | None) -> Rope:
        return Rope(self.rope_cos[start:stop], self.rope_sin[start:stop])

    def _head(self, hidden: Tensor, rows: TimeRows) -> Tensor:
        return velocity_head(hidden, rows.embedded, self.scale_shift_table, self.proj_out)

    def _check(self, future_latents: Tensor, memory: MemoryPrefix | Tensor) -> None:
        """ValueError unless views, frames and tokens fit; a video DiT without embedded views takes any number."""
        frames, tokens = self.rope_cos.shape[:2]
        views = future_latents.shape[1] if self.view_embed is None else self.num_views
        given = {"future_latents": (future_latents, frames - self.num_memory_frames)}
        if isinstance(memory, Tensor):
            given["memory_latents"] = (memory, self.num_memory_frames)
        elif not self.causal_memory:
            raise ValueError("a bidirectional video DiT takes memory latents, not a MemoryPrefix")
        for name, (latents, num_frames) in given.items():
            expected = (views, num_frames, tokens, self.proj_in.in_features)
            if latents.ndim != 5 or tuple(latents.shape[1:]) != expected:
                raise ValueError(
                    f"{name} has shape {tuple(latents.shape)}; expected [B, {', '.join(map(str, expected))}]"
                )
