"""One call of a network as a module with flat, named tensors: what the ONNX exporter sees.

A tuple of keys and values per block is flattened to `NAME_0_key, NAME_0_value, NAME_1_key, ...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wav_models.networks.attention import KeysValues
from wav_models.networks.autoencoder import TinyAutoencoder
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.video_dit import MemoryPrefix, TextContext
from wav_models.networks.wav_model import WAVModel


@dataclass(frozen=True)
class NetworkCall:
    """A module, example inputs that fix its shapes, and names of inputs and outputs."""

    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]


class EncodeFrame(nn.Module):
    """uint8 views of one moment [V, H, W, 3] -> latents [V, L, C]."""

    def __init__(self, autoencoder: TinyAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, frame: Tensor) -> Tensor:
        return self.autoencoder.encode_memory(frame[None, :, None])[0, :, 0]


class DecodeFrames(nn.Module):
    """Future latents [1, V, F, L, C] -> uint8 frames [V, F, H, W, 3]."""

    def __init__(self, autoencoder: TinyAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode_future(latents)[0]


class EncodeText(nn.Module):
    """Token embeddings and mask -> text keys and values, bias."""

    def __init__(self, model: WAVModel) -> None:
        super().__init__()
        self.video = model.video

    def forward(self, embedding: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        text = self.video.encode_text(embedding, mask)
        return (*flat(text.keys_values), text.bias)


class EncodeMemory(nn.Module):
    """Memory latents -> keys and values for the video, value and action networks."""

    def __init__(self, model: WAVModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, memory_latents: Tensor, *text: Tensor) -> tuple[Tensor, ...]:
        prefix = self.model.video.encode_memory(memory_latents, _text(text))
        value = self.model.value.memory_context(prefix.features)
        action = self.model.action.memory_context(prefix.features)
        return (*flat(prefix.keys_values), *flat(value), *flat(action))


class VideoVelocity(nn.Module):
    """One pass of the video DiT -> velocity."""

    def __init__(self, model: WAVModel) -> None:
        super().__init__()
        self.video = model.video
        self.num_text = 2 * len(model.video.transformer_blocks) + 1

    def forward(self, x_t: Tensor, flow_time: Tensor, *context: Tensor) -> Tensor:
        text, memory = context[: self.num_text], context[self.num_text :]
        return self.video(x_t, flow_time, _text(text), MemoryPrefix(_pairs(memory), ())).velocity


class ImagineFutures(nn.Module):
    """One pass of the video DiT -> keys and values of the futures, for the value and, if asked, the action expert."""

    def __init__(self, model: WAVModel, with_action: bool) -> None:
        super().__init__()
        self.model = model
        self.with_action = with_action
        self.num_keys_values = 2 * len(model.video.transformer_blocks)

    def forward(self, x_t: Tensor, flow_time: Tensor, *context: Tensor) -> tuple[Tensor, ...]:
        """`context`: text, memory, value memory, action memory."""
        size = self.num_keys_values
        text, rest = context[: size + 1], context[size + 1 :]
        memory, value_memory, action_memory = rest[:size], rest[size : 2 * size], rest[2 * size :]
        features = self.model.video(x_t, flow_time, _text(text), MemoryPrefix(_pairs(memory), ())).features
        value = flat(self.model.value.video_context(features, _pairs(value_memory)))
        if not self.with_action:
            return value
        return (*value, *flat(self.model.action.video_context(features, _pairs(action_memory))))


class ValueVelocity(nn.Module):
    """One denoising step of the value expert -> velocity and, if asked, features per block [M, N, T, Dv]."""

    def __init__(self, model: WAVModel, with_features: bool) -> None:
        super().__init__()
        self.value = model.value
        self.with_features = with_features

    def forward(self, x_t: Tensor, flow_time: Tensor, *context: Tensor) -> Tensor | tuple[Tensor, ...]:
        output = self.value(x_t, flow_time[None], ExpertContext(_pairs(context)))
        return (output.velocity, *output.features) if self.with_features else output.velocity


class ValueFeatureContext(nn.Module):
    """Value features of one sample per block [1, 1, T, Dv] -> the action expert's keys and values of them."""

    def __init__(self, model: WAVModel) -> None:
        super().__init__()
        self.blocks = model.action.blocks

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        blocks = zip(self.blocks, features, strict=True)
        return flat(block.value_context(x[:, 0]) for block, x in blocks)  # type: ignore[operator]


class ActionVelocity(nn.Module):
    """One denoising step of the action expert -> velocity."""

    def __init__(self, model: WAVModel) -> None:
        super().__init__()
        self.action = model.action
        self.num_keys_values = 2 * len(model.action.blocks)

    def forward(self, x_t: Tensor, flow_time: Tensor, state: Tensor, *context: Tensor) -> Tensor:
        video, value = context[: self.num_keys_values], context[self.num_keys_values :]
        return self.action(x_t, flow_time[None], state, ExpertContext(_pairs(video), _pairs(value))).velocity


def flat(keys_values: Iterable[KeysValues]) -> tuple[Tensor, ...]:
    """Keys and values of all blocks, one after the other."""
    return tuple(x for pair in keys_values for x in pair)


def keys_values_names(prefix: str, num_blocks: int) -> tuple[str, ...]:
    """Names of `flat(...)`."""
    return tuple(f"{prefix}_{block}_{part}" for block in range(num_blocks) for part in KeysValues._fields)


def _pairs(tensors: Sequence[Tensor]) -> tuple[KeysValues, ...]:
    return tuple(KeysValues(*tensors[i : i + 2]) for i in range(0, len(tensors), 2))


def _text(tensors: Sequence[Tensor]) -> TextContext:
    return TextContext(_pairs(tensors[:-1]), tensors[-1])


def example(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor that fixes a shape."""
    return torch.zeros(shape, dtype=dtype)
