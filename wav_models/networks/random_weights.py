"""Models of random weights: what a preset costs to export, compile and run can be seen before it is trained."""

from __future__ import annotations

import torch

from wav_models.networks.autoencoder import Autoencoder, LTXAutoencoder, make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig


def random_model(config: ModelConfig, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> WAVModel:
    """Every tensor random: at their initial values the last projections are zero, and any two plans the same.

    Drawn on the generator's device, where the model is then: 2.3 billion numbers take half a minute on a CPU.
    """
    with torch.device("meta"):
        model = WAVModel(config)
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            drawn = torch.empty(parameter.shape, device=generator.device, dtype=dtype)
            module.register_parameter(name, torch.nn.Parameter(drawn))
    for name, parameter in model.named_parameters():
        if ".norm_" in name:
            parameter.data.uniform_(0.75, 1.25, generator=generator)
        elif parameter.ndim == 1 or "table" in name or "view_embed" in name:
            parameter.data.normal_(std=0.1, generator=generator)
        else:
            parameter.data.normal_(std=parameter.shape[-1] ** -0.5, generator=generator)
    return model.to(generator.device).eval()


def random_autoencoder(config: ModelConfig) -> Autoencoder:
    """The auto-encoder of a configuration, with initial weights."""
    if config.latent.autoencoder != "ltx":
        return make_autoencoder(config)
    from diffusers import AutoencoderKLLTXVideo

    return LTXAutoencoder(AutoencoderKLLTXVideo(), config.latent)
