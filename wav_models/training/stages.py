"""The three stages of Section 4.2: which parameters train, and on what loss.

All losses are flow matching: the network's velocity at a point between noise and data against x_1 - x_0. The experts
always read features of the *true* future noised at a random flow time, because planning reads features of futures
that are denoised more or less; one pass at the noisiest time alone would carry nothing of the future.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from wav_models.flow import interpolate, velocity_target
from wav_models.networks.wav_model import WAVModel
from wav_models.training.batches import Batch, Batches
from wav_models.training.config import ActionStageConfig, TrainConfig, ValueStageConfig, VideoStageConfig
from wav_models.training.randomness import Draws

Evaluate = Callable[[], dict[str, float]]


class _Stage:
    """What the stages share: the model, its data, and which of its parts train."""

    name: str
    parts: tuple[str, ...]

    def __init__(self, model: WAVModel, batches: Batches, config: Any, evaluate: Evaluate) -> None:
        self.model, self.batches, self.config = model, batches, config
        self.evaluate = evaluate
        for part, network in model.named_children():
            network.requires_grad_(part in self.parts)

    def named_parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def rate(self, name: str) -> float:
        return 1.0

    def losses(self, batch_size: int, draws: Draws) -> dict[str, Tensor]:
        return self.batch_losses(self.batches.draw(batch_size, draws), draws)

    def batch_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        raise NotImplementedError

    def _video(self, batch: Batch, draws: Draws) -> tuple[Any, Tensor]:
        """One pass of the video DiT over the noised true future: its output and its loss."""
        config = self.config
        x_1 = batch.future_latents
        flow_time = draw_flow_time((len(batch),), draws, config.noisiest_fraction)
        x_0 = torch.randn(x_1.shape, generator=draws.torch)
        memory_noise = torch.randn(batch.memory_latents.shape, generator=draws.torch)
        text = self.model.video.encode_text(*self._captions(batch, draws))
        memory = batch.memory_latents + config.memory_noise * memory_noise
        output = self.model.video(interpolate(x_0, x_1, flow_time), flow_time, text, memory)
        return output, mse_loss(output.velocity.float(), velocity_target(x_0, x_1))

    def _captions(self, batch: Batch, draws: Draws) -> tuple[Tensor, Tensor]:
        dropout = getattr(self.config, "caption_dropout", 0.0)
        dropped = torch.rand(len(batch), generator=draws.torch) < dropout
        rows = torch.where(dropped, 0, batch.text)
        return self.batches.episodes.text_embedding[rows], self.batches.episodes.text_mask[rows]


class VideoStage(_Stage):
    """Stage 1: the video DiT alone, on the future latents."""

    name = "video"
    parts = ("video",)
    config: VideoStageConfig

    def batch_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        _, loss = self._video(batch, draws)
        return {"loss": loss}


class ValueStage(_Stage):
    """Stage 2: the value expert on the features of the frozen video DiT."""

    name = "value"
    parts = ("value",)
    config: ValueStageConfig

    def batch_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        with torch.no_grad():
            output, _ = self._video(batch, draws)
        context = self.model.value.context(output.features)
        velocity, target, _ = expert_pass(self.model.value, batch.values, self.config.draws, draws, context)
        return {"loss": mse_loss(velocity, target), "return": mse_loss(velocity[..., -1], target[..., -1])}


class ActionStage(_Stage):
    """Stage 3: everything together on the action loss, with the video and value losses kept beside it."""

    name = "action"
    parts = ("video", "value", "action")
    config: ActionStageConfig

    def rate(self, name: str) -> float:
        return self.config.video_rate if name.startswith("video.") else 1.0

    def batch_losses(self, batch: Batch, draws: Draws) -> dict[str, Tensor]:
        config, model = self.config, self.model
        output, video_loss = self._video(batch, draws)
        context = model.value.context(output.features)
        velocity, target, features = expert_pass(model.value, batch.values, config.value_draws, draws, context)
        value_loss = mse_loss(velocity, target)
        value_features = tuple(f[:, 0] for f in features)  # Eq. 3: u_i, fresh noise at a random flow time
        context = model.action.context(output.features, value_features)
        velocity, target, _ = expert_pass(
            model.action, batch.actions, config.draws, draws, context, state=batch.state_token
        )
        action_loss = mse_loss(velocity, target)
        loss = action_loss + config.video_weight * video_loss + config.value_weight * value_loss
        return {"loss": loss, "action": action_loss, "video": video_loss, "value": value_loss}


STAGES: dict[str, type[_Stage]] = {stage.name: stage for stage in (VideoStage, ValueStage, ActionStage)}


def make_stage(name: str, model: WAVModel, batches: Batches, config: TrainConfig, evaluate: Evaluate) -> _Stage:
    """The stage of that name over `model`; freezes what it does not train."""
    return STAGES[name](model, batches, getattr(config, name), evaluate)


def expert_pass(
    expert: nn.Module, x_1: Tensor, count: int, draws: Draws, context: Any, **inputs: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """`count` noise and time draws per observation against one context.

    Args:
        x_1: data, shape [B, steps, channels].

    Returns:
        Velocity and its target, shape [B, count, steps, channels], and the expert's features.
    """
    data = x_1[:, None].expand(-1, count, -1, -1)
    flow_time = torch.rand(data.shape[:2], generator=draws.torch)
    x_0 = torch.randn(data.shape, generator=draws.torch)
    output = expert(interpolate(x_0, data, flow_time), flow_time, context=context, **inputs)
    return output.velocity.float(), velocity_target(x_0, data), output.features


def draw_flow_time(shape: tuple[int, ...], draws: Draws, noisiest_fraction: float) -> Tensor:
    """Flow times uniform in [0, 1), a share of them exactly 0."""
    uniform = torch.rand(shape, generator=draws.torch)
    noisiest = torch.rand(shape, generator=draws.torch) < noisiest_fraction
    return torch.where(noisiest, 0.0, uniform)
