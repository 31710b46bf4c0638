"""The three stages of Section 4.2: which parameters train, and on what loss.

All losses are flow matching: the network's velocity at a point between noise and data against x_1 - x_0. The experts
read features of the recorded future noised to a random flow time, or of the model's own version of it, because planning
reads features of futures that the model has denoised more or less (`FuturesConfig`); one pass at the noisiest time
alone would carry nothing of the future.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wav_models.configuration import did_you_mean
from wav_models.flow import interpolate, velocity_target
from wav_models.networks.video_dit import VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import ActionStageConfig, ExpertStageConfig, FuturesConfig, VideoStageConfig
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.low_rank import is_adapted
from wav_models.training.metrics import NEARLY_CLEAN, HeldOut
from wav_models.training.randomness import RngStreams, normal
from wav_models.training.transfer import to_device

Evaluate = Callable[[], dict[str, float]]


class Prefix(NamedTuple):
    """Steps of a chunk that an expert is given.

    Attributes:
        tokens: what is known of them, [B, steps, C].
        given: which they are, bool [B, draws, steps].
    """

    tokens: Tensor
    given: Tensor


class BaseStage:
    """What the stages share: the model, its data, and which of its parts train."""

    name: str
    parts: tuple[str, ...]
    judged_by: str
    """The held-out metric that says which weights are best, with a minus where more is better."""

    def __init__(self, model: WAVModel, batches: Batches, config: Any, evaluate: Evaluate) -> None:
        self.model, self.batches, self.config = model, batches, config
        self.seconds_waited = 0.0
        self._texts: tuple[Tensor, Tensor] | None = None
        self._prepared: list[tuple[RngStreams, Future[Batch]]] = []
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self.evaluate = evaluate
        for part, network in model.named_children():
            network.requires_grad_(part in self.parts)

    def freeze(self, beginnings: Sequence[str]) -> None:
        """Take parameters whose names begin so out of training.

        Raises:
            ValueError: no parameter's name begins so, or nothing is left to train.
        """
        for beginning in beginnings:
            named = [p for name, p in self.model.named_parameters() if name.startswith(beginning)]
            if not named:
                names = [name.split(".") for name, _ in self.model.named_parameters()]
                parts = {".".join(name[:depth]) for name in names for depth in (1, 2)}
                raise ValueError(f"frozen: no parameter begins with {beginning!r}{did_you_mean(beginning, parts)}")
            for parameter in named:
                parameter.requires_grad_(False)
        if beginnings and not self.named_parameters():
            raise ValueError(f"frozen: {', '.join(beginnings)} leave nothing to train in stage {self.name}")

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad or is_adapted(name)}

    def lr_scale(self, name: str) -> float:
        return 1.0

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def losses(self, batch_size: int, streams: RngStreams) -> dict[str, Tensor]:
        began = time.monotonic()
        batch = self._take(streams) or self.batches.draw(batch_size, streams)
        self.seconds_waited += time.monotonic() - began
        return self.batch_losses(batch.to(self.device), streams)

    def prepare(self, batch_size: int, streams: RngStreams) -> None:
        """Draw a batch in another thread, ahead of the `losses` that are given the same streams."""

        def draw() -> Batch:
            batch = self.batches.draw(batch_size, streams)
            return batch.pinned() if self.device.type == "cuda" else batch

        self._prepared.append((streams, self._preparing.submit(draw)))

    def _take(self, streams: RngStreams) -> Batch | None:
        """The batch that was prepared for these streams, if one was."""
        found = [future for of, future in self._prepared if of is streams]
        if not found:
            return None
        self._prepared = [each for each in self._prepared if each[1] is not found[0]]
        return found[0].result()

    def batch_losses(self, batch: Batch, streams: RngStreams) -> dict[str, Tensor]:
        raise NotImplementedError

    def measure(self, held_out: HeldOut) -> dict[str, float]:
        """What `evaluate` is to say of held-out episodes."""
        metrics: dict[str, float] = getattr(held_out, self.name)()
        return metrics

    def video_loss(self, batch: Batch, streams: RngStreams, noisiest_fraction: float) -> tuple[VideoOutput, Tensor]:
        """One pass of the video DiT over the noised recorded future: its output and its loss."""
        x_1, text, memory = batch.future_latents, self.text(batch, streams), self.memory(batch, streams)
        flow_time = to_device(draw_flow_time((len(batch),), streams, noisiest_fraction), self.device)
        x_0 = normal(x_1.shape, streams, self.device)
        output = self.model.video(
            interpolate(x_0, x_1, flow_time), flow_time, self.model.video.encode_text(*text), memory
        )
        return output, mse_loss(output.velocity.float(), velocity_target(x_0, x_1))

    def _read_futures(self, batch: Batch, streams: RngStreams, futures: FuturesConfig) -> tuple[VideoOutput, Tensor]:
        """As `video_loss`, but the first samples' futures are the model's own; they have no part in the loss."""
        num_own = round(futures.own_fraction * len(batch))
        if num_own == 0:
            return self.video_loss(batch, streams, futures.noisiest_fraction)
        x_1, text, memory = batch.future_latents, self.text(batch, streams), self.memory(batch, streams)
        flow_time = to_device(draw_flow_time((len(batch),), streams, futures.noisiest_fraction), self.device)
        x_0 = normal(x_1.shape, streams, self.device)
        low, high = futures.own_start
        start = low + (high - low) * uniform((num_own,), streams, self.device)
        flow_time[:num_own] = start + (1.0 - start) * uniform((num_own,), streams, self.device)
        x_t = interpolate(x_0, x_1, flow_time)
        own = interpolate(x_0[:num_own], x_1[:num_own], start)
        x_t[:num_own] = self._denoise(own, start, flow_time[:num_own], futures.own_steps, text, memory)
        output = self.model.video(x_t, flow_time, self.model.video.encode_text(*text), memory)
        rest = slice(num_own, None)
        recorded, target = output.velocity[rest].float(), velocity_target(x_0, x_1)[rest]
        return output, mse_loss(recorded, target, reduction="sum") / max(recorded.numel(), 1)  # there may be none

    @torch.no_grad()
    def _denoise(
        self, x: Tensor, start: Tensor, end: Tensor, num_steps: int, text: tuple[Tensor, Tensor], memory: Tensor
    ) -> Tensor:
        """Move the first samples x [n, ...] by Euler steps from flow time `start` [n] to `end` [n].

        Autocast keeps its casts of weights for a step, and those made here, without gradients, must not be used later.
        """
        video, count = self.model.video, len(x)
        context = video.encode_text(*(rows[:count] for rows in text))
        dt = (end - start) / num_steps
        for i in range(num_steps):
            velocity = video(x, start + i * dt, context, memory[:count]).velocity.float()
            x = x + dt.reshape(-1, *([1] * (x.ndim - 1))) * velocity
        torch.clear_autocast_cache()
        return x

    def memory(self, batch: Batch, streams: RngStreams) -> Tensor:
        latents = batch.memory_latents
        if self.config.camera_dropout > 0.0:
            lost = uniform((len(batch),), streams, self.device) < self.config.camera_dropout
            view = (uniform((len(batch),), streams, self.device) * latents.shape[1]).long()
            hidden = lost[:, None] & (view[:, None] == torch.arange(latents.shape[1], device=self.device))
            latents = latents * ~hidden[:, :, None, None, None]  # standardised latents: zero is the mean picture
        return latents + self.config.memory_noise * normal(latents.shape, streams, self.device)

    def text(self, batch: Batch, streams: RngStreams) -> tuple[Tensor, Tensor]:
        """Embeddings and masks of the instructions, some dropped."""
        dropout = getattr(self.config, "caption_dropout", 0.0)
        dropped = uniform((len(batch),), streams, self.device) < dropout
        rows = torch.where(dropped, 0, batch.text)
        if self._texts is None or self._texts[0].device != self.device:  # once: there may be many
            episodes = self.batches.episodes
            self._texts = episodes.text_embedding.to(self.device), episodes.text_mask.to(self.device)
        embeddings, masks = self._texts
        return embeddings[rows], masks[rows]

    def prefix(self, batch: Batch, draws: int, bounds: tuple[int, int], streams: RngStreams) -> Prefix:
        """What is executed while planning lasts; what the joints will have reached by then nobody knows.

        Args:
            bounds: least and most of its steps.
        """
        low, high = bounds
        delays = torch.randint(low, high + 1, (len(batch), draws, 1), generator=streams.torch)
        given = torch.arange(batch.actions.shape[1]) < delays
        tokens = batch.actions.clone()
        tokens[..., self.model.config.embodiment.action_dim :] = 0.0
        return Prefix(tokens, to_device(given, self.device))

    def _known(self, known: Tensor) -> Tensor | None:
        """Steps that count, [B, 1, steps], given those within the episode [B, steps]; None for all."""
        return known[:, None] if self.config.mask_padding else None

    def _hide_memory(self, features: VideoFeatures, fraction: float, streams: RngStreams) -> VideoFeatures:
        """The features with a share of the samples' memory part zeroed."""
        if fraction == 0.0:
            return features
        kept = uniform((features.future[0].shape[0], 1, 1), streams, self.device) >= fraction
        return VideoFeatures(tuple(x * kept.to(x.dtype) for x in features.memory), features.future)


class VideoStage(BaseStage):
    """Stage 1: the video DiT alone, on the future latents."""

    name = "video"
    parts = ("video",)
    judged_by = "video_loss@0"
    config: VideoStageConfig

    def batch_losses(self, batch: Batch, streams: RngStreams) -> dict[str, Tensor]:
        _, loss = self.video_loss(batch, streams, self.config.noisiest_fraction)
        return {"loss": loss}


class ValueStage(BaseStage):
    """Stage 2: the value expert on the features of the frozen video DiT."""

    name = "value"
    parts = ("value",)
    judged_by = f"-return_r2@{NEARLY_CLEAN:g}"
    config: ExpertStageConfig

    def batch_losses(self, batch: Batch, streams: RngStreams) -> dict[str, Tensor]:
        with torch.no_grad():
            output, _ = self._read_futures(batch, streams, self.config.futures)
        features = self._hide_memory(output.features, self.config.memory_dropout, streams)
        context = self.model.value.context(features)
        velocity, target, _ = expert_pass(self.model.value, batch.values, self.config.draws, streams, context)
        known = self._known(batch.value_known)
        loss = _squared_error(velocity, target, known)
        return {"loss": loss, "return": _squared_error(velocity[..., -1:], target[..., -1:], known)}


class ActionStage(BaseStage):
    """Stage 3: everything together on the action loss, with the video and value losses kept beside it."""

    name = "action"
    parts = ("video", "value", "action")
    judged_by = "all_steps_rad@imagined"
    config: ActionStageConfig

    def lr_scale(self, name: str) -> float:
        return self.config.video_rate if name.startswith("video.") else 1.0

    def batch_losses(self, batch: Batch, streams: RngStreams) -> dict[str, Tensor]:
        config, model = self.config, self.model
        output, video_loss = self._read_futures(batch, streams, config.futures)
        context = model.value.context(output.features)
        velocity, target, features = expert_pass(model.value, batch.values, config.value_draws, streams, context)
        value_loss = _squared_error(velocity, target, self._known(batch.value_known))
        value_features = tuple(f[:, 0] for f in features)  # Eq. 3: u_i, fresh noise at a random flow time
        seen = self._hide_memory(output.features, config.memory_dropout, streams)
        context = model.action.context(seen, value_features)
        state = batch.state_token
        if config.state_dropout > 0.0:
            state = state * (uniform((len(batch), 1, 1), streams, self.device) >= config.state_dropout)
        known, learnt, prefix = self._known(batch.action_known), batch.imitated[:, None, None], None
        if known is not None:
            learnt = learnt * known
        if config.prefix_steps[1] > 0:
            prefix = self.prefix(batch, config.draws, config.prefix_steps, streams)
            learnt = learnt * ~prefix.given
        velocity, target, _ = expert_pass(
            model.action, batch.actions, config.draws, streams, context, prefix, state=state
        )
        action_loss = _squared_error(velocity, target, learnt)
        loss = action_loss + config.video_weight * video_loss + config.value_weight * value_loss
        return {"loss": loss, "action": action_loss, "video": video_loss, "value": value_loss}


def _squared_error(velocity: Tensor, target: Tensor, known: Tensor | None) -> Tensor:
    """Mean squared error of [B, R, steps, channels]; of the steps [B, 1 or R, 1 or steps] known, where given."""
    if known is None:
        return mse_loss(velocity, target)
    weight = known[..., None].expand_as(target)
    return (weight * (velocity - target) ** 2).sum() / weight.sum().clamp(min=1.0)


def expert_pass(
    expert: nn.Module,
    x_1: Tensor,
    count: int,
    streams: RngStreams,
    context: Any,
    prefix: Prefix | None = None,
    **inputs: Tensor,
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """`count` noise and time draws per observation against one context.

    Args:
        x_1: data, shape [B, steps, channels].
        prefix: steps that are data instead of noisy.

    Returns:
        Velocity and its target, shape [B, count, steps, channels], and the expert's features.
    """
    data = x_1[:, None].expand(-1, count, -1, -1)
    flow_time = uniform(data.shape[:2], streams, x_1.device)
    x_0 = normal(data.shape, streams, x_1.device)
    x_t = interpolate(x_0, data, flow_time)
    if prefix is not None:
        x_t = torch.where(prefix.given[..., None], prefix.tokens[:, None], x_t)
        inputs["given"] = prefix.given
    output = expert(x_t, flow_time, context=context, **inputs)
    return output.velocity.float(), velocity_target(x_0, data), output.features


def uniform(shape: torch.Size | tuple[int, ...], streams: RngStreams, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), drawn on the CPU."""
    return to_device(torch.rand(shape, generator=streams.torch), device)


def draw_flow_time(shape: tuple[int, ...], streams: RngStreams, noisiest_fraction: float) -> Tensor:
    """Flow times uniform in [0, 1), a share of them exactly 0."""
    flow_time = torch.rand(shape, generator=streams.torch)
    noisiest = torch.rand(shape, generator=streams.torch) < noisiest_fraction
    return torch.where(noisiest, 0.0, flow_time)
