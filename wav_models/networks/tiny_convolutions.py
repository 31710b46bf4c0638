"""The convolutions of the auto-encoder "tiny": diffusers' `AutoencoderTiny` (TAESD), tensor for tensor.

Written here because importing that class takes diffusers, transformers and seconds, which a robot's start would pay.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LATENT_MAGNITUDE = 3.0
"""Latents beyond this are squashed by a tanh before they are decoded."""


class TinyConvolutions(nn.Module):
    """Encoder and decoder of the same width; both halve or double the resolution between their stages.

    Args:
        channels: of an image.
        width: of all hidden layers.
        latent_channels: of a latent.
        encoder_blocks, decoder_blocks: residual blocks per stage, outermost stage of the encoder and innermost of the
            decoder first.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        latent_channels: int,
        encoder_blocks: Sequence[int],
        decoder_blocks: Sequence[int],
    ) -> None:
        super().__init__()
        self.encoder = _Encoder(channels, width, latent_channels, encoder_blocks)
        self.decoder = _Decoder(channels, width, latent_channels, decoder_blocks)


class _Encoder(nn.Module):
    """Images [N, channels, H, W] in [-1, 1] to latents [N, latent_channels, H / 2^s, W / 2^s], s = stages - 1."""

    def __init__(self, channels: int, width: int, latent_channels: int, blocks: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for stage, count in enumerate(blocks):
            layers.append(_convolution(channels, width) if stage == 0 else _convolution(width, width, 2, bias=False))
            layers += [_Block(width) for _ in range(count)]
        self.layers = nn.Sequential(*layers, _convolution(width, latent_channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.add(1).div(2))


class _Decoder(nn.Module):
    """The way back."""

    def __init__(self, channels: int, width: int, latent_channels: int, blocks: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(latent_channels, width), nn.ReLU()]
        for stage, count in enumerate(blocks):
            layers += [_Block(width) for _ in range(count)]
            if stage < len(blocks) - 1:
                layers += [nn.Upsample(scale_factor=2.0), _convolution(width, width, bias=False)]
        self.layers = nn.Sequential(*layers, _convolution(width, channels))

    def forward(self, x: Tensor) -> Tensor:
        squashed = torch.tanh(x / LATENT_MAGNITUDE) * LATENT_MAGNITUDE
        return self.layers(squashed).mul(2).sub(1)


class _Block(nn.Module):
    """Three convolutions beside an identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            _convolution(width, width), nn.ReLU(), _convolution(width, width), nn.ReLU(), _convolution(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.conv(x) + x)


def _convolution(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)
