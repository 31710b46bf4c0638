"""A complete checkpoint of networks so small that many tests can load them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from wav_models.checkpoint import save_checkpoint
from wav_models.data.normalization import Normalization
from wav_models.networks.autoencoder import TinyAutoencoder, make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY, ExpertConfig

SMALL = replace(
    WAV_TINY,
    name="small",
    video=replace(WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32),
    value=ExpertConfig(num_attention_heads=1, attention_head_dim=16, in_channels=17, out_channels=17),
    action=ExpertConfig(num_attention_heads=1, attention_head_dim=16, in_channels=28, out_channels=28),
)


def save_small(directory: Path, seed: int = 0, planner: PlannerConfig | None = None) -> WAVModel:
    torch.manual_seed(seed)
    model = WAVModel(SMALL)
    horizon = (SMALL.horizon.action_horizon, 14)
    normalization = Normalization(
        state_mean=np.arange(14.0),
        state_std=np.full(14, 0.1),
        action_diff_mean=np.zeros(horizon),
        action_diff_std=np.ones(horizon),
        state_diff_mean=np.zeros(horizon),
        state_diff_std=np.ones(horizon),
        value_mean=np.zeros(17),
        value_std=np.ones(17),
        embodiment=SMALL.embodiment,
    )
    record = {"seed": seed, "command": "wav train"}
    autoencoder = make_autoencoder(SMALL)
    assert isinstance(autoencoder, TinyAutoencoder)
    autoencoder.latent_mean.fill_(0.5)
    save_checkpoint(
        directory,
        model=model,
        autoencoder=autoencoder,
        normalization=normalization,
        training_record=record,
        planner=planner,
    )
    return model
