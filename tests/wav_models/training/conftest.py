"""A model and a dataset so small that a training step takes milliseconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from wav_models.networks.wav_model import WAVModel
from wav_models.presets import WAV_TINY, ExpertConfig, HorizonConfig, LatentConfig, ModelConfig, VideoConfig
from wav_models.training.config import LoopConfig, TrainConfig
from wav_models.training.data.batches import Batches, Episodes, fit_normalization
from wav_models.training.data.latent_store import LatentStore

LENGTHS = (30, 12, 25)


@pytest.fixture
def model_config() -> ModelConfig:
    return ModelConfig(
        name="test",
        video=VideoConfig(
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=12,
            in_channels=4,
            out_channels=4,
            caption_channels=6,
            cross_attention_dim=24,
            causal_memory=True,
        ),
        value=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=17, out_channels=17),
        action=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=28, out_channels=28),
        latent=LatentConfig("tiny", (64, 64), (2, 2), 32, 1, 10.0),
        horizon=HorizonConfig(10.0, (-3, 0), (2, 4), action_horizon=4, value_horizon=4, num_execute_steps=2),
        text=replace(WAV_TINY.text, max_tokens=3),
    )


@pytest.fixture
def episodes(model_config: ModelConfig) -> Episodes:
    """Joints on sine waves; latents, values and actions follow from them."""
    rng = np.random.default_rng(0)
    tokens, channels = model_config.num_tokens_per_frame, model_config.video.in_channels
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    episode = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    step = np.arange(starts[-1]) - starts[episode]
    phase = rng.uniform(0, 6, (len(LENGTHS), 14))[episode]
    states = np.sin(0.2 * step[:, None] + phase).astype(np.float32)
    actions = np.sin(0.2 * (step[:, None] + 1) + phase).astype(np.float32)
    latents = (states @ rng.normal(size=(14, 3 * tokens * channels)) / 3).reshape(-1, 3, tokens, channels)
    return Episodes(
        latents=LatentStore(
            (latents.astype(np.float16),), (np.zeros((len(states), 3, 0, tokens, channels), np.float16),)
        ),
        states=states,
        actions=actions,
        values=np.concatenate([states, actions[:, :3]], axis=1),
        first=starts[episode],
        last=starts[episode + 1] - 1,
        text=np.ones(len(states), dtype=np.int64),
        imitated=np.ones(len(states), dtype=np.bool_),
        text_embedding=torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)),
        text_mask=torch.tensor([[True, False, False], [True, True, False]]),
    )


@pytest.fixture
def batches(episodes: Episodes, model_config: ModelConfig) -> Batches:
    steps = np.arange(len(episodes))
    normalization = fit_normalization(episodes, model_config.horizon, steps, model_config.embodiment)
    return Batches(episodes, normalization, model_config.horizon, steps)


@pytest.fixture
def model(model_config: ModelConfig) -> WAVModel:
    torch.manual_seed(0)
    return WAVModel(model_config)


@pytest.fixture
def loop_config() -> LoopConfig:
    return LoopConfig(
        learning_rate=5e-3, warmup_steps=5, batch_size=8, bf16=False, log_seconds=1e9, evaluate_seconds=1e9
    )


@pytest.fixture
def train_config() -> TrainConfig:
    return TrainConfig()
