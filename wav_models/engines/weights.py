"""Copies of networks with other weights, made without a second copy of the old ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from wav_models.networks.fp8 import quantize_linears
from wav_models.networks.wav_model import WAVModel, blocks_of

Network = TypeVar("Network")


def copied(
    network: Network, weight: Callable[[Tensor], Tensor], buffer: Callable[[Tensor], Tensor] = lambda x: x
) -> Network:
    """A copy whose parameters and buffers are what these functions make of the old ones; what they leave is shared."""
    module: Any = network  # auto-encoders are known by what they do
    memo: dict[int, Any] = {id(p): nn.Parameter(weight(p.data), requires_grad=False) for p in module.parameters()}
    memo |= {id(x): buffer(x) for x in module.buffers()}
    return copy.deepcopy(network, memo)


def on_cpu(network: Network) -> Network:
    """A copy on the CPU; weights that are on the CPU are shared."""
    return copied(network, Tensor.cpu, Tensor.cpu)


def in_fp8(model: WAVModel) -> WAVModel:
    """A copy in bf16, with the blocks' linear layers in 8-bit floats."""
    model = copied(model, lambda weight: weight.to(torch.bfloat16))
    for block in blocks_of(model):
        quantize_linears(block)
    return model


def with_weights_in(model: WAVModel, dtype: torch.dtype) -> WAVModel:
    """The model itself, or a copy with its parameters in `dtype`; rotary tables stay in float32."""
    if next(model.parameters()).dtype == dtype:
        return model
    return copied(model, lambda weight: weight.to(dtype))
