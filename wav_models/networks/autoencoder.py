"""Images to latent tokens and back. Tokens are standardised: zero mean and unit variance per channel over the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from wav_models.networks.tiny_convolutions import TinyConvolutions
from wav_models.presets import LatentConfig, ModelConfig
from wav_models.words import counted


class Autoencoder(Protocol):
    """What training, planning and imagination need; images are uint8 RGB [B, V, F, H, W, 3]."""

    def encode_memory(self, images: Tensor) -> Tensor:
        """Memory frames, each on its own -> [B, V, F, L, C]."""

    def encode_future(self, images: Tensor) -> Tensor:
        """Future frames, with all frames a temporal auto-encoder covers -> [B, V, F_latent, L, C]."""

    def decode_future(self, latents: Tensor) -> Tensor:
        """[B, V, F_latent, L, C] -> the frames `encode_future` takes."""


class TinyAutoencoder(nn.Module):
    """`TinyConvolutions` at a size for one CPU core, frame by frame.

    Pixels are folded 2 x 2 into channels before the network and latents 2 x 2 into tokens after it, so that a token
    covers `spatial_compression` pixels. Statistics of the latents are buffers, set once after training.
    """

    CHANNELS = 64
    ENCODER_BLOCKS = (0, 1, 2)
    DECODER_BLOCKS = (2, 2, 0)
    FOLD = 2

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: LatentConfig, token_channels: int) -> None:
        super().__init__()
        stride = self.FOLD * 2 ** (len(self.ENCODER_BLOCKS) - 1) * self.FOLD
        if config.spatial_compression != stride:
            raise ValueError(f"latent.spatial_compression is {config.spatial_compression}; 'tiny' needs {stride}")
        self.image_size = config.image_size
        self.grid = config.tokens_per_frame
        latent_channels = token_channels // self.FOLD**2
        parts = (self.CHANNELS, latent_channels, self.ENCODER_BLOCKS, self.DECODER_BLOCKS)
        self.network = TinyConvolutions(3 * self.FOLD**2, *parts)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1, 1))

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Differentiable: pixels [N, 3, H, W] in [-1, 1] to raw latents [N, C / 4, H / 8, W / 8]."""
        folded = functional.pixel_unshuffle(pixels, self.FOLD).contiguous(memory_format=torch.channels_last)
        return self.network.encoder(folded)

    def decode_pixels(self, latents: Tensor) -> Tensor:
        """Differentiable: raw latents to pixels [N, 3, H, W], about [-1, 1]."""
        channels_last = latents.contiguous(memory_format=torch.channels_last)
        return functional.pixel_shuffle(self.network.decoder(channels_last), self.FOLD)

    @torch.no_grad()
    def set_statistics(self, latents: Tensor) -> None:
        """Standardise by the mean and standard deviation of these raw latents [N, C / 4, H / 8, W / 8]."""
        self.latent_mean.copy_(latents.mean(dim=(0, 2, 3))[:, None, None])
        self.latent_std.copy_(latents.std(dim=(0, 2, 3))[:, None, None])

    @torch.no_grad()
    def encode_memory(self, images: Tensor) -> Tensor:
        _check_images(images, self.image_size)
        latents = (self.encode_pixels(to_pixels(images.flatten(0, 2))) - self.latent_mean) / self.latent_std
        tokens = functional.pixel_unshuffle(latents, self.FOLD).flatten(2).transpose(1, 2)
        return tokens.unflatten(0, images.shape[:3])

    def encode_future(self, images: Tensor) -> Tensor:
        return self.encode_memory(images)

    @torch.no_grad()
    def decode_future(self, latents: Tensor) -> Tensor:
        tokens = latents.flatten(0, 2).transpose(1, 2).unflatten(2, self.grid)
        raw = functional.pixel_shuffle(tokens, self.FOLD) * self.latent_std + self.latent_mean
        return to_images(self.decode_pixels(raw)).unflatten(0, latents.shape[:3])


class LTXAutoencoder(nn.Module):
    """diffusers' `AutoencoderKLLTXVideo`: 32 x 32 pixels and 8 frames a token.

    A future of F latent frames is 1 + 8 (F - 1) images; the posterior's mode is used, so encoding draws nothing.
    """

    network: Any

    def __init__(self, network: nn.Module, config: LatentConfig) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.image_size = config.image_size
        self.grid = config.tokens_per_frame
        for name in ("spatial_compression", "temporal_compression"):
            expected, actual = getattr(config, name), getattr(network, f"{name}_ratio")
            if actual != expected:
                raise ValueError(f"the auto-encoder has {name} {actual}; the configuration says {expected}")

    @classmethod
    def load(cls, directory: Path, config: LatentConfig) -> LTXAutoencoder:
        """From a local directory in diffusers' layout, with the sub-folder `vae`.

        Raises:
            FileNotFoundError: there is no such folder.
        """
        from diffusers import AutoencoderKLLTXVideo

        folder = local_folder(directory, "vae")
        return cls(AutoencoderKLLTXVideo.from_pretrained(folder, local_files_only=True, use_safetensors=True), config)

    def encode_memory(self, images: Tensor) -> Tensor:
        return self._encode(images.flatten(1, 2)[:, :, None]).unflatten(1, images.shape[1:3]).squeeze(3)

    def encode_future(self, images: Tensor) -> Tensor:
        """Future images [B, V, 1 + 8 (F - 1), H, W, 3] -> [B, V, F, L, C]."""
        if images.shape[2] % self.network.temporal_compression_ratio != 1:
            raise ValueError(
                f"future images have {counted(images.shape[2], 'frame')}; "
                f"expected 1 + {self.network.temporal_compression_ratio} k of them"
            )
        return self._encode(images)

    @torch.no_grad()
    def decode_future(self, latents: Tensor) -> Tensor:
        network = self.network
        video = latents.flatten(0, 1).unflatten(2, self.grid).movedim(-1, 1)
        raw = video * self._std() / network.config.scaling_factor + self._mean()
        # Versions of the auto-encoder that take a time are asked for their noise-free decoding.
        time = raw.new_zeros(raw.shape[0]) if network.config.timestep_conditioning else None
        pixels = network.decode(raw.to(network.dtype), time).sample.float().movedim(1, 2)
        return to_images(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2]).unflatten(0, latents.shape[:2])

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Tensor:
        """[B, V, F, H, W, 3] -> [B, V, F_latent, L, C]."""
        _check_images(images, self.image_size)
        pixels = to_pixels(images.flatten(0, 2)).unflatten(0, (-1, images.shape[2])).movedim(2, 1)
        raw = self.network.encode(pixels.to(self.network.dtype)).latent_dist.mode().float()
        latents = (raw - self._mean()) * self.network.config.scaling_factor / self._std()
        return latents.movedim(1, -1).flatten(2, 3).unflatten(0, images.shape[:2])

    def _mean(self) -> Tensor:
        return self.network.latents_mean[:, None, None, None].float()

    def _std(self) -> Tensor:
        return self.network.latents_std[:, None, None, None].float()


def make_autoencoder(config: ModelConfig, directory: Path | None = None) -> TinyAutoencoder | LTXAutoencoder:
    """The auto-encoder of a configuration: `tiny` with initial weights, `ltx` from its local directory.

    Raises:
        ValueError: unknown auto-encoder, or `ltx` without a directory.
    """
    kind = config.latent.autoencoder
    if kind == "tiny":
        return TinyAutoencoder(config.latent, config.video.in_channels)
    if kind == "ltx":
        if directory is None:
            raise ValueError("auto-encoder 'ltx' needs the local directory of an LTX-Video model (sub-folder vae)")
        return LTXAutoencoder.load(directory, config.latent)
    raise ValueError(f"latent.autoencoder is {kind!r}; valid: 'tiny', 'ltx'")


def local_folder(directory: Path, name: str) -> Path:
    """`directory / name`; FileNotFoundError says what was expected there."""
    folder = Path(directory) / name
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; expected a model directory in diffusers' layout")
    return folder


def to_pixels(images: Tensor) -> Tensor:
    """uint8 images [N, H, W, 3] to float pixels [N, 3, H, W] in [-1, 1]."""
    return images.movedim(-1, 1).float() / 127.5 - 1.0


def to_images(pixels: Tensor) -> Tensor:
    """Inverse of `to_pixels`, clipped."""
    return ((pixels.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def _check_images(images: Tensor, size: tuple[int, int]) -> None:
    if images.dtype != torch.uint8 or images.ndim != 6 or tuple(images.shape[3:]) != (*size, 3):
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; "
            f"expected torch.uint8 [B, V, F, {size[0]}, {size[1]}, 3]"
        )
