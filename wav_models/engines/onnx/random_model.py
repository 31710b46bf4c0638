"""Models of random weights: what exporting and compiling a preset takes can be seen before it is trained."""

from __future__ import annotations

from typing import Final

import torch

from wav_models.networks.autoencoder import Autoencoder, LTXAutoencoder, make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig

POOL_SIZE: Final = 1_048_573
"""Numbers that are drawn; a prime, so that no two tensors, and no two rows of one, are equal."""


def random_model(config: ModelConfig, precision: str, seed: int = 0) -> WAVModel:
    """A model whose every output depends on every input, allocated once, in the precision of its graphs."""
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    with torch.device("meta"):
        model = WAVModel(config)
    pool = torch.randn(POOL_SIZE, generator=torch.Generator().manual_seed(seed))
    used = 0
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            scale = 0.6 / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.1
            drawn = (pool.roll(used) * scale).to(dtype)
            values = drawn.repeat(-(-parameter.numel() // POOL_SIZE))[: parameter.numel()].reshape(parameter.shape)
            setattr(module, name, torch.nn.Parameter(values.clone(), requires_grad=False))
            used += parameter.numel()
    return model.eval()


def random_autoencoder(config: ModelConfig) -> Autoencoder:
    """The auto-encoder of a configuration, with initial weights."""
    if config.latent.autoencoder != "ltx":
        return make_autoencoder(config)
    from diffusers import AutoencoderKLLTXVideo

    return LTXAutoencoder(AutoencoderKLLTXVideo(), config.latent)
