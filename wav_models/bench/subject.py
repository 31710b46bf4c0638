"""What is measured: a model with random weights, an observation, and plans of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wav_models.bench.naive import Observed
from wav_models.data.normalization import Normalization, statistic_shapes
from wav_models.engines.base import Engine
from wav_models.engines.observed_trajectories import ObservedTrajectories
from wav_models.engines.torch_engine import TorchEngine
from wav_models.flow import equal_times
from wav_models.guidance import Guidance
from wav_models.networks.random_weights import random_model
from wav_models.networks.text_encoder import TextEncoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.latent_planner import plan
from wav_models.planner.timing import Stopwatch, TimedTrajectoryModel
from wav_models.presets import ModelConfig, get_preset
from wav_models.types import FloatArray

SEED: Final = 0
ELITE_FRACTIONS: Final = (0.9, 0.1)
"""Of the futures and of the pairs, as published."""


def published_planner(
    num_iterations: int, num_video_samples: int, num_value_samples: int, num_steps: int, num_video_steps: int = 1
) -> PlannerConfig:
    """K, M, N; Euler steps of both experts, and passes of the video DiT."""
    pairs = num_video_samples * num_value_samples
    return PlannerConfig(
        num_iterations=num_iterations,
        num_video_samples=num_video_samples,
        num_value_samples=num_value_samples,
        num_video_elites=max(1, round(ELITE_FRACTIONS[0] * num_video_samples)),
        num_value_elites=max(1, round(ELITE_FRACTIONS[1] * pairs)),
        video_times=equal_times(num_video_steps)[:-1],
        num_value_steps=num_steps,
        num_action_steps=num_steps,
    )


def model_of(preset: str, *, causal: bool, device: torch.device) -> WAVModel:
    """Random weights in float32, drawn where they are used."""
    base = get_preset(preset)
    config = replace(base, video=replace(base.video, causal_memory=causal))
    return random_model(config, torch.Generator(device).manual_seed(SEED))


class Subject:
    """A model and an engine over it, which has seen an observation.

    Args:
        model: what is measured.
        planner: of its plans.
        options: of `TorchEngine`.
    """

    def __init__(self, model: WAVModel, planner: PlannerConfig, **options: Any) -> None:
        config, generator = model.config, torch.Generator().manual_seed(SEED + 1)
        self.config, self.planner = config, planner
        self.observed = random_observation(config, generator)
        words = self.observed.text_embedding, self.observed.text_mask
        self.encode_words: TextEncoder = lambda instructions: words
        self.engine: Engine = TorchEngine(model, NoImages(), self.encode_words, **options)
        futures, draws = planner.num_video_samples, planner.num_value_samples
        self.video_noise = torch.randn(futures, *config.future_shape, generator=generator)
        self.value_noise = torch.randn(futures, draws, *config.value_shape, generator=generator)
        self.action_noise = torch.randn(config.action_shape, generator=generator)
        self.state_token = torch.randn(1, 1, config.action.in_channels, generator=generator)
        self._target = torch.randn(config.action_shape, generator=generator)

    def observe(self) -> Any:
        return self.engine.observe(self.observed.memory_latents, self.engine.encode_text("instruction"))

    def imagine(self, scene: Any) -> Any:
        return self.engine.imagine(scene, self.video_noise, self.planner.video_times)

    def evaluate(self, futures: Any) -> Tensor:
        return self.engine.evaluate(futures, self.value_noise, self.planner.num_value_steps)

    def act(self, future: Any, jacobian: str | None = None) -> tuple[Tensor, Tensor]:
        """Values and actions of one future; with a `jacobian`, guided towards a quarter of a chunk."""
        guidance = None
        if jacobian is not None:
            weight = torch.zeros_like(self._target)
            weight[: len(weight) // 4] = 1.0
            guidance = Guidance(self._target, weight, jacobian)
        noises = self.value_noise[0, 0], self.action_noise
        steps = self.planner.num_value_steps, self.planner.num_action_steps
        return self.engine.act(future, self.state_token, *noises, *steps, guidance)

    def answers(self, jacobian: str | None = None) -> Answers:
        """Of one round, and of acting on one of its futures."""
        futures = self.imagine(self.observe())
        return Answers(self.evaluate(futures).cpu(), *self.act(self.engine.pick(futures, 1), jacobian))

    def plan(self, stopwatch: Stopwatch | None = None) -> LatentPlan:
        """A whole one, as the policy plans: the observation is encoded, the instruction was."""
        stopwatch = stopwatch or Stopwatch()
        with stopwatch.stage("memory"):
            scene = self.observe()
        return self.plan_with(self.engine, scene, stopwatch)

    def plan_with(self, engine: Any, scene: Any, stopwatch: Stopwatch) -> LatentPlan:
        """By an engine that answers the calls that a plan makes, from what it has observed."""
        normalization = identity_normalization(self.config)
        model = ObservedTrajectories(engine, scene, self.state_token, normalization, self.planner)
        return plan(TimedTrajectoryModel(model, stopwatch), self.planner, SEED)


class NoImages:
    """Stands in for the auto-encoder: the benchmark starts from latents."""

    def encode_memory(self, images: Tensor) -> Tensor:
        raise NotImplementedError("the planner benchmark starts from latents")

    encode_future = decode_future = encode_memory


def random_observation(config: ModelConfig, generator: torch.Generator) -> Observed:
    """A quarter of the text tokens are words."""
    num_tokens = config.text.max_tokens
    mask = torch.zeros(1, num_tokens, dtype=torch.bool)
    mask[:, : max(1, num_tokens // 4)] = True
    return Observed(
        torch.randn(1, num_tokens, config.video.caption_channels, generator=generator),
        mask,
        torch.randn(1, *config.memory_shape, generator=generator),
    )


def identity_normalization(config: ModelConfig) -> Normalization:
    """Statistics that change nothing but the symlog of the values."""
    shapes = statistic_shapes(config.embodiment, config.horizon.action_horizon)
    return Normalization(
        **{f"{name}_mean": np.zeros(shape) for name, shape in shapes.items()},
        **{f"{name}_std": np.ones(shape) for name, shape in shapes.items()},
        embodiment=config.embodiment,
    )


@dataclass(frozen=True)
class Answers:
    """What an engine gave."""

    values: Tensor
    chosen_values: Tensor
    actions: Tensor


def elites_in_common(found: FloatArray, expected: FloatArray, count: int) -> float:
    """Share of the `count` best by the scores of one plan's first round that are also the best by another's; later
    rounds start from other noise."""
    ours, theirs = (set((-scores.ravel()).argsort()[:count].tolist()) for scores in (found, expected))
    return len(ours & theirs) / count
