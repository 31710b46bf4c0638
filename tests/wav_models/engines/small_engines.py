"""Small models for the tests of engines, and a text encoder that needs no weights."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from wav_models.presets import WAV_TINY

SMALL = replace(
    WAV_TINY,
    video=replace(WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=32, cross_attention_dim=64),
    value=replace(WAV_TINY.value, num_attention_heads=2, attention_head_dim=16),
    action=replace(WAV_TINY.action, num_attention_heads=2, attention_head_dim=16),
)
"""The form of `wav-tiny`."""


class WordEncoder:
    """Text embeddings drawn from the instruction's own seed; the second half is padding."""

    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        (instruction,) = instructions
        generator = torch.Generator().manual_seed(sum(map(ord, instruction)))
        return torch.randn(1, 16, 384, generator=generator), torch.arange(16)[None] < 8
