"""One call of a network as a function of flat, named tensors: what the ONNX exporter sees.

A tuple of keys and values per block is flattened to `NAME_0_key, NAME_0_value, NAME_1_key, ...`. Keys, values and
features have the precision of the model; noise, velocities, latents and states are float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wav_models.networks.attention import KeysValues, concatenate
from wav_models.networks.autoencoder import Autoencoder
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.video_dit import MemoryPrefix, TextContext
from wav_models.networks.wav_model import WAVModel


@dataclass(frozen=True)
class NetworkCall:
    """A function of a network and tensors, example inputs that fix its shapes, and names of inputs and outputs."""

    function: Callable[..., Any]
    network: Any
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    def module(self) -> nn.Module:
        """A module of the tensors alone."""
        return _Called(self.function, self.network)


class _Called(nn.Module):
    def __init__(self, function: Callable[..., Any], network: Any) -> None:
        super().__init__()
        self.function, self.network = function, network

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(self.network, *tensors)


def encode_frame(autoencoder: Autoencoder, frame: Tensor) -> Tensor:
    """uint8 views of one moment [V, H, W, 3] -> latents [V, L, C]."""
    return autoencoder.encode_memory(frame[None, :, None])[0, :, 0]


def decode_frames(autoencoder: Autoencoder, latents: Tensor) -> Tensor:
    """Future latents [1, V, F, L, C] -> uint8 frames [V, F, H, W, 3]."""
    return autoencoder.decode_future(latents)[0]


def encode_text(model: WAVModel, embedding: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """Token embeddings and mask -> text keys and values, bias."""
    text = model.video.encode_text(embedding.to(precision(model)), mask)
    assert text.bias is not None
    return (*flat(text.keys_values), text.bias)


def encode_memory(model: WAVModel, memory_latents: Tensor, *text: Tensor) -> tuple[Tensor, ...]:
    """Memory latents -> keys and values for the video, value and action networks."""
    prefix = model.video.encode_memory(memory_latents.to(precision(model)), _text(text))
    value = model.value.memory_context(prefix.features)
    action = model.action.memory_context(prefix.features)
    return (*flat(prefix.keys_values), *flat(value), *flat(action))


def imagine_futures(model: WAVModel, x_t: Tensor, flow_time: Tensor, *context: Tensor) -> tuple[Tensor, ...]:
    """One pass of the video DiT -> velocity; keys and values of the futures for the value and the action expert; and
    their features per block [M, S, D], of future tokens only with causal memory, for `pick_future`.

    `context`: text, then with causal memory that of video, value and action, else the memory latents.
    """
    causal, size, dtype = model.video.causal_memory, 2 * len(model.video.transformer_blocks), precision(model)
    text, rest = _text(context[: size + 1]), context[size + 1 :]
    memory: MemoryPrefix | Tensor = rest[0].to(dtype)
    value_memory = action_memory = None
    if causal:
        memory = MemoryPrefix(_pairs(rest[:size]), ())
        value_memory, action_memory = _pairs(rest[size : 2 * size]), _pairs(rest[2 * size :])
    velocity, features = model.video(x_t.to(dtype), flow_time, text, memory)
    value = flat(model.value.video_context(features, value_memory))
    action = flat(model.action.video_context(features, action_memory))
    if causal:
        return (velocity.float(), *value, *action, *features.future)
    tokens = (torch.cat(pair, dim=1) for pair in zip(features.memory, features.future, strict=True))
    return (velocity.float(), *value, *action, *tokens)


def pick_future(model: WAVModel, index: Tensor, *context: Tensor) -> tuple[Tensor, ...]:
    """One of M futures -> its keys and values for the value and the action expert, as if it was imagined alone.

    `index`: [1], int64; `context`: value keys and values, features; with causal memory the action memory.
    """
    blocks = len(model.video.transformer_blocks)
    value, rest = context[: 2 * blocks], context[2 * blocks :]
    features = tuple(x.index_select(0, index) for x in rest[:blocks])
    action = model.action.memory_context(features)
    if model.video.causal_memory:
        pairs = zip(_pairs(rest[blocks:]), action, strict=True)
        action = tuple(concatenate(memory, future, dim=1) for memory, future in pairs)
    return (*(x.index_select(0, index) for x in value), *flat(action))


def value_velocity(model: WAVModel, x_t: Tensor, flow_time: Tensor, *context: Tensor) -> tuple[Tensor, ...]:
    """One denoising step of the value expert -> velocity, and features per block [M, N, T, Dv]."""
    velocity, features = model.value(x_t.to(precision(model)), flow_time[None], ExpertContext(_pairs(context)))
    return (velocity.float(), *features)


def value_feature_context(model: WAVModel, *features: Tensor) -> tuple[Tensor, ...]:
    """Value features of one sample per block [1, 1, T, Dv] -> the action expert's keys and values of them."""
    blocks = zip(model.action.blocks, features, strict=True)
    return flat(block.value_context(x[:, 0]) for block, x in blocks)  # type: ignore[operator]


def action_velocity(model: WAVModel, x_t: Tensor, flow_time: Tensor, state: Tensor, *context: Tensor) -> Tensor:
    """One denoising step of the action expert -> velocity.

    `context`: keys and values; where the network can be given actions, which they are [1, 1, H, A + S] first.
    """
    given: Tensor | None = None
    if model.config.horizon.given_steps is not None:
        given, context = context[0][..., 0] > 0.5, context[1:]
    size = 2 * len(model.action.blocks)
    x_t, state = (x.to(precision(model)) for x in (x_t, state))
    expert_context = ExpertContext(_pairs(context[:size]), _pairs(context[size:]))
    return model.action(x_t, flow_time[None], state, expert_context, given).velocity.float()


def precision(model: WAVModel) -> torch.dtype:
    """Of weights and activations."""
    return model.video.proj_in.weight.dtype


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
