"""What one checkpoint makes of a future, wherever it came from: imagined, recorded, or recorded and noised again.

The diagnosis compares these three. It runs on the torch engine, whose `read` takes any latents; the planner's numbers
of steps decide at which flow time the experts read, exactly as when acting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wav_models.data.normalization import Normalization
from wav_models.engines.observed_trajectories import ObservedTrajectories, make_state_token
from wav_models.engines.torch_engine import TorchEngine, TorchFutures, TorchScene
from wav_models.flow import euler_through, interpolate
from wav_models.planner.config import PlannerConfig
from wav_models.planner.search import search
from wav_models.types import FloatArray, ImageArray, Observation


@dataclass(frozen=True)
class Reading:
    """M futures of one observation as the experts see them.

    Attributes:
        futures: the engine's handle.
        latents: the model's estimate of their latents at flow time 1, [M, V, F_fut, L, C].
    """

    futures: TorchFutures
    latents: Tensor

    def select(self, index: int) -> TorchFutures:
        """One future, batch 1."""
        return self.futures.select(index)


class FutureReader:
    """Reads futures with one checkpoint and one planner configuration."""

    def __init__(self, engine: TorchEngine, normalization: Normalization, planner: PlannerConfig) -> None:
        self.engine, self.normalization, self.planner = engine, normalization, planner
        self.flow_time = planner.video_times[-1]

    def video_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, V, F_fut, L, C]."""
        return torch.randn((count, *self.engine.config.future_shape), generator=generator)

    def value_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, T, C]."""
        return torch.randn((count, *self.engine.config.value_shape), generator=generator)

    def action_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """[count, H, A + S], scaled as the planner scales it."""
        drawn = torch.randn((count, *self.engine.config.action_shape), generator=generator)
        return self.planner.action_noise_std * drawn

    def observe(self, observation: Observation) -> TorchScene:
        """What all futures of one observation share."""
        text = self.engine.encode_text(observation.instruction)
        latents = self.engine.encode_images(observation.images)
        return self.engine.observe(latents, text, self.planner.share_first_step)

    def encode_frames(self, images: ImageArray) -> Tensor:
        """Latents [V, F, L, C] of frames uint8 [V, F, H, W, 3], as memory, and as futures where both are the same.

        Raises:
            ValueError: the model's auto-encoder covers several images of a future with a latent.
        """
        span = self.engine.config.latent.temporal_compression
        if span != 1:
            raise ValueError(f"true futures cannot be read: the auto-encoder covers {span} images with a latent")
        return self.engine.encode_images(images)[0]

    @torch.inference_mode()
    def imagined(self, scene: TorchScene, noise: Tensor, start: float = 0.0) -> Reading:
        """Futures denoised by the model from `noise` [M, ...], which lies at flow time `start`."""
        if start == 0.0:
            x_t = self.engine.before_last_pass(scene, noise, self.planner.video_times)
        else:
            later = (time for time in self.planner.video_times if time > start)
            x_t = euler_through(self.engine.video_velocity(scene), noise, (start, *later))
        return Reading(*self.engine.read(scene, x_t, max(start, self.flow_time)))

    def noised(self, scene: TorchScene, latents: Tensor, noise: Tensor) -> Reading:
        """True futures [M, ...] noised to the flow time that the experts read at when acting."""
        time = torch.full((len(noise),), self.flow_time)
        return Reading(*self.engine.read(scene, interpolate(noise, latents, time), self.flow_time))

    def values(self, reading: Reading, value_noise: Tensor) -> FloatArray:
        """Predicted returns [M, N, T]; all futures are judged with the same noise [N, T, C]."""
        noise = value_noise[None].expand(len(reading.latents), *value_noise.shape)
        values = self.engine.evaluate(reading.futures, noise, self.planner.num_value_steps)
        return self.normalization.decode_returns(values[..., -1]).double().cpu().numpy()

    def actions(
        self, reading: Reading, joint_state: FloatArray, value_noise: Tensor, action_noise: Tensor
    ) -> FloatArray:
        """Joint targets [M, H, A] of every future, from one value noise [T, C] and one action noise [H, A + S]."""
        rows = [
            self.act(reading.select(m), joint_state, value_noise, action_noise) for m in range(len(reading.latents))
        ]
        return np.stack(rows)

    def act(
        self, future: TorchFutures, joint_state: FloatArray, value_noise: Tensor, action_noise: Tensor
    ) -> FloatArray:
        """Commands [H, A] of one future."""
        token = make_state_token(self.normalization, joint_state)
        steps = self.planner.num_value_steps, self.planner.num_action_steps
        _, actions = self.engine.act(future, token, value_noise, action_noise, *steps)
        return self.normalization.decode_actions(actions.double().numpy(), joint_state)

    def choose(
        self, scene: TorchScene, joint_state: FloatArray, planner: PlannerConfig, seed: int
    ) -> tuple[Tensor, FloatArray]:
        """What a planner with this one's passes acts on: noise of a future [V, F_fut, L, C], commands [H, A]."""
        token = make_state_token(self.normalization, joint_state)
        model = ObservedTrajectories(self.engine, scene, token, self.normalization, planner)
        plan = search(model, planner, seed)
        return plan.video_noise, self.normalization.decode_actions(plan.actions.double().numpy(), joint_state)


def action_spread(chunks: FloatArray, columns: Sequence[int]) -> float:
    """Standard deviation over the first axis of chunks [M, H, A], mean over steps and `columns`: joints in rad."""
    return float(chunks[..., columns].std(axis=0).mean())
