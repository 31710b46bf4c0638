"""A small model with random weights, in both forms of memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ExpertConfig, HorizonConfig, LatentConfig, ModelConfig, VideoConfig

BASE = ModelConfig(
    name="test",
    video=VideoConfig(
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8,
        out_channels=8,
        caption_channels=12,
        cross_attention_dim=32,
    ),
    value=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=17, out_channels=17),
    action=ExpertConfig(num_attention_heads=2, attention_head_dim=8, in_channels=28, out_channels=28),
    latent=LatentConfig(tokens_per_frame=(2, 3)),
    horizon=HorizonConfig(memory_offsets=(-1, 0), future_offsets=(1, 2, 3), action_horizon=5, value_horizon=7),
)


@dataclass(frozen=True)
class Inputs:
    """M = 3 futures of one observation: text and memory of batch 1."""

    text_embedding: Tensor
    text_mask: Tensor
    memory: Tensor
    futures: Tensor
    flow_time: Tensor


def make_model(causal: bool) -> WAVModel:
    """Every tensor random: a fresh model's gates and last projections would hide mistakes."""
    torch.manual_seed(1)
    model = WAVModel(replace(BASE, video=replace(BASE.video, causal_memory=causal)))
    randomize(model)
    return model.eval()


@torch.no_grad()
def randomize(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.75, 1.25)
        elif parameter.ndim == 1 or "table" in name or "view_embed" in name:
            parameter.normal_(std=0.3)
        else:
            parameter.normal_(std=parameter.shape[-1] ** -0.5)
