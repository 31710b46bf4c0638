"""What is measured: a model with random weights, an observation, and plans of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from wav_models.bench.planner import NoImages, identity_normalization, random_observation
from wav_models.engines.base import Engine
from wav_models.engines.observed_trajectories import ObservedTrajectories
from wav_models.engines.torch_engine import TorchEngine
from wav_models.guidance import Guidance
from wav_models.networks.random_weights import random_model
from wav_models.networks.text_encoder import TextEncoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.latent_planner import plan
from wav_models.presets import get_preset
from wav_models.types import FloatArray

SEED = 0
NUM_ITERATIONS = 3
NUM_STEPS = 5
"""Euler steps of the value and the action expert."""


def model_of(preset: str, *, causal: bool, device: torch.device) -> WAVModel:
    """Random weights in float32, drawn where they are used."""
    base = get_preset(preset)
    config = replace(base, video=replace(base.video, causal_memory=causal))
    return random_model(config, torch.Generator(device).manual_seed(SEED))


class Subject:
    """A model and an engine over it, which has seen an observation; a quarter of the text tokens are words."""

    def __init__(self, model: WAVModel, num_futures: int, num_draws: int, **options: Any) -> None:
        """`options`: of `TorchEngine`."""
        config, generator = model.config, torch.Generator().manual_seed(SEED + 1)
        self.config, self.num_futures, self.num_draws = config, num_futures, num_draws
        observation = random_observation(config, generator)
        words = observation.text_embedding, observation.text_mask
        self.encode_words: TextEncoder = lambda instructions: words
        self.engine: Engine = TorchEngine(model, NoImages(), self.encode_words, **options)
        self.memory = observation.memory_latents
        frames = config.num_views, config.num_future_frames, config.num_tokens_per_frame
        steps, rows = config.horizon.value_horizon, config.horizon.action_horizon
        shapes: dict[str, Sequence[int]] = {
            "video_noise": (num_futures, *frames, config.video.in_channels),
            "value_noise": (num_futures, num_draws, steps, config.value.in_channels),
            "state": (1, 1, config.action.in_channels),
            "action_noise": (rows, config.action.in_channels),
            "target": (rows, config.action.in_channels),
        }
        drawn = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
        self.video_noise, self.value_noise = drawn["video_noise"], drawn["value_noise"]
        self.state, self.action_noise, self._target = drawn["state"], drawn["action_noise"], drawn["target"]

    def observe(self) -> Any:
        return self.engine.observe(self.memory, self.engine.encode_text("instruction"))

    def imagine(self, scene: Any) -> Any:
        return self.engine.imagine(scene, self.video_noise, (0.0,))

    def evaluate(self, futures: Any) -> Tensor:
        return self.engine.evaluate(futures, self.value_noise, NUM_STEPS)

    def act(self, future: Any, jacobian: str | None = None) -> tuple[Tensor, Tensor]:
        """Values and actions of one future; with a `jacobian`, guided towards a quarter of a chunk."""
        guidance = None
        if jacobian is not None:
            weight = torch.zeros_like(self._target)
            weight[: len(weight) // 4] = 1.0
            guidance = Guidance(self._target, weight, jacobian)
        noises = self.value_noise[0, 0], self.action_noise
        return self.engine.act(future, self.state, *noises, NUM_STEPS, NUM_STEPS, guidance)

    def answers(self, jacobian: str | None = None) -> Answers:
        """Of one round, and of acting on one of its futures."""
        futures = self.imagine(self.observe())
        return Answers(self.evaluate(futures).cpu(), *self.act(self.engine.pick(futures, 1), jacobian))

    @property
    def planner(self) -> PlannerConfig:
        """As published: nine tenths of the futures and a tenth of the pairs are elites."""
        pairs = self.num_futures * self.num_draws
        return PlannerConfig(
            num_iterations=NUM_ITERATIONS,
            num_video_samples=self.num_futures,
            num_value_samples=self.num_draws,
            num_video_elites=max(1, round(0.9 * self.num_futures)),
            num_value_elites=max(1, pairs // 10),
            num_value_steps=NUM_STEPS,
            num_action_steps=NUM_STEPS,
        )

    def plan(self) -> LatentPlan:
        """A whole one, from the memory latents."""
        normalization = identity_normalization(self.config)
        model = ObservedTrajectories(self.engine, self.observe(), self.state, normalization, self.planner)
        return plan(model, self.planner, SEED)


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
