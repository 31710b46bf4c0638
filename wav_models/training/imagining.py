"""Futures of a batch of observations, imagined, judged and acted on as the engines do it (`TorchEngine`), by networks
that gradients may flow through."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from wav_models.flow import euler, euler_through
from wav_models.networks.attention import KeysValues
from wav_models.networks.video_dit import MemoryPrefix, VideoFeatures
from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import Schedule
from wav_models.training.stages import Prefix


class Noises(NamedTuple):
    """What the futures of B observations come from.

    Attributes:
        video: [B, M, V, F_fut, L, C].
        value: [B, N, T, C]; all futures of an observation are judged with the same.
        action: [B, 1, H, A + S]; all futures of an observation are acted on from the same.
    """

    video: Tensor
    value: Tensor
    action: Tensor


class Imagined(NamedTuple):
    """M futures of B observations.

    Attributes:
        latents: where they lead: the estimate of their latents at flow time 1, [B, M, V, F_fut, L, C].
        values: [B, M, N, T, C].
        actions: [B, M, H, A + S], with the value features of the first value sample.
    """

    latents: Tensor
    values: Tensor
    actions: Tensor


class Imaginer:
    """One model, one schedule, and what the futures of each of B observations share."""

    def __init__(
        self,
        model: WAVModel,
        schedule: Schedule,
        text: tuple[Tensor, Tensor],
        memory: Tensor,
        state: Tensor,
        prefix: Prefix | None = None,
    ) -> None:
        """Args:
        text: embeddings and masks of the instructions, [B, Lt, Ct] and [B, Lt].
        memory: latents [B, V, F_mem, L, C].
        state: state tokens [B, 1, A + S].
        prefix: actions that are given, of one draw; see `ActionDiT`.
        """
        self._model, self._schedule, self._state, self._prefix = model, schedule, state, prefix
        video = model.video
        self._text = video.encode_text(*text)
        self._memory: MemoryPrefix | Tensor = memory
        self._of_value: tuple[KeysValues, ...] | None = None
        self._of_action: tuple[KeysValues, ...] | None = None
        if video.causal_memory:
            self._memory = video.encode_memory(memory, self._text)
            self._of_value = model.value.memory_context(self._memory.features)
            self._of_action = model.action.memory_context(self._memory.features)
        views, _, *tokens = memory.shape[1:]
        zero_noise = memory.new_zeros((len(memory), views, model.config.num_future_frames, *tokens))
        self.mean = self._velocity(zero_noise, 0.0)
        """mu of `PlannerConfig.share_first_step`, [B, V, F_fut, L, C]."""

    def imagine(self, noises: Noises) -> Imagined:
        """One future of every observation after the other; no gradient flows through any pass but the last."""
        parts = [self._one(noise, noises.value, noises.action) for noise in noises.video.unbind(1)]
        return Imagined(*(torch.stack(each, dim=1) for each in zip(*parts, strict=True)))

    def _one(self, noise: Tensor, value_noise: Tensor, action_noise: Tensor) -> Imagined:
        times, model = self._schedule.video_times, self._model
        with torch.no_grad():
            x_t = (1.0 - times[0]) * noise + times[0] * self.mean  # noise itself where no first step is shared
            x_t = euler_through(self._velocity, x_t, times)
        torch.clear_autocast_cache()  # casts of weights that were made without gradients
        output = model.video(x_t, self._time(times[-1]), self._text, self._memory)
        latents = x_t + (1.0 - times[-1]) * output.velocity.float()
        values, value_features = self._judge(output.features, value_noise)
        return Imagined(latents, values, self._act(output.features, value_features, action_noise))

    def _velocity(self, x_t: Tensor, flow_time: float) -> Tensor:
        velocity: Tensor = self._model.video(x_t, self._time(flow_time), self._text, self._memory).velocity
        return velocity.float()

    def _judge(self, features: VideoFeatures, noise: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Values [B, N, T, C], and the last step's features of the first sample."""
        expert = self._model.value
        last: tuple[Tensor, ...] = ()
        context = expert.context(features, self._of_value)

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            nonlocal last
            output = expert(x_t, self._time(flow_time)[None], context)
            last = output.features
            predicted: Tensor = output.velocity.float()
            return predicted

        values = euler(velocity, noise, self._schedule.num_value_steps)
        return values, tuple(x[:, 0] for x in last)

    def _act(self, features: VideoFeatures, value_features: tuple[Tensor, ...], noise: Tensor) -> Tensor:
        """Actions [B, H, A + S]."""
        expert, given = self._model.action, None
        context = expert.context(features, value_features, self._of_action)
        if self._prefix is not None:
            given = self._prefix.given
            noise = torch.where(given[..., None], self._prefix.tokens[:, None], noise)

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            predicted: Tensor = expert(x_t, self._time(flow_time)[None], self._state, context, given).velocity
            return predicted.float()

        return euler(velocity, noise, self._schedule.num_action_steps)[:, 0]

    def _time(self, flow_time: float) -> Tensor:
        return torch.full((1,), flow_time, device=self._state.device)
