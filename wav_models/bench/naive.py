"""The same plan without caches: the work of the published code, the numbers of ours.

Text is projected once per future, time is embedded once per token, memory runs with every future, the experts' video
features are tiled over value samples, and their keys and values are computed again for every sample and denoising step
(`wav bench cost` counts that). The published mistakes are not repeated: scores stay with their futures, noise streams
with their purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from wav_models.flow import euler, euler_through
from wav_models.networks.attention import KeysValues
from wav_models.networks.blocks import ExpertBlock, VideoBlock
from wav_models.networks.expert_dit import ExpertDiT
from wav_models.networks.modulation import TimeRows, velocity_head
from wav_models.networks.rope import Rope
from wav_models.networks.video_dit import MEMORY_FLOW_TIME, VideoDiT
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig

Features = tuple[Tensor, ...]
"""Hidden states leaving every block, one entry per block."""


@dataclass(frozen=True)
class NaiveEngine:
    """The calls of `engines.base.Engine` that a plan makes; a scene is what was observed, futures are features.

    Args:
        model: in evaluation mode, in the precision to compute in.
    """

    model: WAVModel

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def config(self) -> ModelConfig:
        return self.model.config

    @torch.inference_mode()
    def imagine(self, scene: Observed, video_noise: Tensor, times: tuple[float, ...]) -> Features:
        """Features [M, S, D] of the last of the passes at `times` over `video_noise` [M, V, F, L, C]."""
        x_t = euler_through(lambda x, t: self._video_pass(scene, x, t)[0], video_noise, times)
        return self._video_pass(scene, x_t, times[-1])[1]

    @torch.inference_mode()
    def evaluate(self, futures: Features, value_noise: Tensor, num_steps: int) -> Tensor:
        """Values [M, N, T, C] from `value_noise` of that shape."""
        samples = value_noise.shape[1]
        tiled = tuple(x.repeat_interleave(samples, dim=0) for x in futures)
        values, _ = self._denoise_values(tiled, value_noise.flatten(0, 1), num_steps)
        return values.unflatten(0, value_noise.shape[:2])

    def pick(self, futures: Features, index: int) -> Features:
        """One of several futures."""
        return tuple(x[index : index + 1] for x in futures)

    @torch.inference_mode()
    def act(
        self,
        future: Features,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: None = None,
    ) -> tuple[Tensor, Tensor]:
        """Values [T, C] and actions [H, A] of one future; nothing is ever known of them."""
        expert = self.model.action
        values, value_features = self._denoise_values(future, value_noise[None], num_value_steps)

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            token_time = torch.full((1, 1, 1 + x_t.shape[1]), flow_time)
            token_time[..., 0] = MEMORY_FLOW_TIME
            tokens = torch.cat([self._in(state_token), self._in(x_t)], dim=1)[:, None]
            return _expert_pass(expert, tokens, token_time, future, value_features, skip=1)[0][:, 0].float()

        return values[0], euler(velocity, action_noise[None], num_action_steps)[0]

    def _denoise_values(self, features: Features, value_noise: Tensor, num_steps: int) -> tuple[Tensor, Features]:
        """Values [B, T, C] and the hidden states [B, T, D] of the last pass."""
        hidden: Features = ()

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            nonlocal hidden
            token_time = torch.full((x_t.shape[0], 1, x_t.shape[1]), flow_time)
            result, states = _expert_pass(self.model.value, self._in(x_t)[:, None], token_time, features)
            hidden = tuple(x[:, 0] for x in states)
            return result[:, 0].float()

        return euler(velocity, value_noise, num_steps), hidden

    def _video_pass(self, scene: Observed, x_t: Tensor, flow_time: float) -> tuple[Tensor, Features]:
        """Velocity [M, V, F, L, C] and features [M, S, D]: every future with its own text, memory and time rows."""
        video, batch, split = self.model.video, x_t.shape[0], self.model.config.num_memory_frames
        text = video.encode_text(self._in(scene.text_embedding).repeat(batch, 1, 1), scene.text_mask.repeat(batch, 1))
        memory = self._in(scene.memory_latents).repeat(batch, 1, 1, 1, 1)
        latents = torch.cat([memory, self._in(x_t)], dim=2)
        token_time = torch.full(latents.shape[:4], flow_time)
        token_time[:, :, :split] = MEMORY_FLOW_TIME
        rows = video.with_views(video.time_embed(token_time))
        hidden, features = video.proj_in(latents), []
        for block, text_kv in zip(cast(Sequence[VideoBlock], video.transformer_blocks), text.keys_values, strict=True):
            hidden = _video_block(video, block, hidden, rows, text_kv, text.bias, split)
            features.append(hidden.flatten(1, 3))
        embedded = rows.embedded[:, :, split:]
        velocity = velocity_head(hidden[:, :, split:], embedded, video.scale_shift_table, video.proj_out)
        return velocity.float(), tuple(features)

    def _in(self, x: Tensor) -> Tensor:
        return x.to(next(self.model.parameters()).dtype)


@dataclass(frozen=True)
class Observed:
    """An observation and an instruction, nothing computed from them.

    Attributes:
        text_embedding: [1, Lt, Ct].
        text_mask: [1, Lt], True: a word.
        memory_latents: [1, V, F_mem, L, C].
    """

    text_embedding: Tensor
    text_mask: Tensor
    memory_latents: Tensor


def _video_block(
    video: VideoDiT,
    block: VideoBlock,
    hidden: Tensor,
    rows: TimeRows,
    text: KeysValues,
    bias: Tensor | None,
    split: int,
) -> Tensor:
    """One block over memory and future tokens [M, V, F, L, D]."""
    rope = Rope(video.rope_cos, video.rope_sin)
    if not video.causal_memory:
        return block(hidden, rows.modulation, rope, text, bias)[0]
    past, future = (Rope(*(x[part] for x in rope)) for part in (slice(split), slice(split, None)))
    memory, own = block(hidden[:, :, :split], rows.modulation[:, :, :split], past, text, bias)
    new, _ = block(hidden[:, :, split:], rows.modulation[:, :, split:], future, text, bias, own)
    return torch.cat([memory, new], dim=2)


def _expert_pass(
    expert: ExpertDiT,
    tokens: Tensor,
    token_time: Tensor,
    features: Features,
    value_features: Features | None = None,
    skip: int = 0,
) -> tuple[Tensor, Features]:
    """Velocity and hidden states of `tokens` [B, 1, S, C] but the first `skip`; all keys and values computed here."""
    rows = expert.time_embed(token_time)
    hidden = expert.proj_in(tokens)
    rope = Rope(expert.rope_cos[: tokens.shape[2]], expert.rope_sin[: tokens.shape[2]])
    states = []
    for i, block in enumerate(cast(Sequence[ExpertBlock], expert.blocks)):
        value = None if value_features is None else block.value_context(value_features[i])
        hidden = block(hidden, rows.modulation, rope, block.attn2.keys_values(features[i]), value)
        states.append(hidden[:, :, skip:])
    return expert.head(states[-1], TimeRows(rows.modulation, rows.embedded[:, :, skip:])), tuple(states)
