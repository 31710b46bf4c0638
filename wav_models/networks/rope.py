"""Rotary position embeddings over (frame, row, column) of video tokens and over the steps of a chunk.

A table holds one angle per channel pair (2i, 2i + 1), counted across all heads as LTX-Video does. Positions are
fractions of a base length; frequencies are log-spaced from 1 to `THETA`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0
BASE_SECONDS = 20.0
"""Duration that maps to position 1 on the time axis [s]."""
BASE_PIXELS = 2048.0
"""Image size that maps to position 1 on both spatial axes [px]."""


class Rope(NamedTuple):
    """Cosines and sines, shape [*positions, hidden / 2] each."""

    cos: Tensor
    sin: Tensor


def _rope(positions: Tensor, hidden_size: int) -> Rope:
    """Table for `positions` [*, axes], as fractions of the base lengths; left-over channels are not rotated."""
    axes = positions.shape[-1]
    pairs = hidden_size // (2 * axes)
    frequencies = THETA ** torch.linspace(0.0, 1.0, pairs, device="cpu") * (math.pi / 2)
    # Pairs are ordered (frequency, axis): the axis varies fastest.
    angles = (frequencies[:, None] * (2.0 * positions[..., None, :] - 1.0)).flatten(-2)
    padding = angles.new_zeros(*angles.shape[:-1], hidden_size // 2 - pairs * axes)
    angles = torch.cat([padding, angles], dim=-1)
    return Rope(angles.cos(), angles.sin())


def video_rope(num_frames: int, size: tuple[int, int], scale: tuple[float, float, float], hidden_size: int) -> Rope:
    """Table of one view, shape [F, L, hidden / 2]; `scale` is (seconds per latent frame, px per token, px per token).

    Always computed on the CPU in float32, also when the model is built on the meta device.
    """
    rows, columns = size
    grid = torch.stack(
        torch.meshgrid(
            torch.arange(num_frames, dtype=torch.float32, device="cpu") * scale[0] / BASE_SECONDS,
            torch.arange(rows, dtype=torch.float32, device="cpu") * scale[1] / BASE_PIXELS,
            torch.arange(columns, dtype=torch.float32, device="cpu") * scale[2] / BASE_PIXELS,
            indexing="ij",
        ),
        dim=-1,
    )
    return _rope(grid.reshape(num_frames, rows * columns, 3), hidden_size)


def chunk_rope(num_steps: int, base_length: int, hidden_size: int) -> Rope:
    """Table of a chunk, shape [num_steps, hidden / 2]."""
    positions = torch.arange(num_steps, dtype=torch.float32, device="cpu") / base_length
    return _rope(positions[:, None], hidden_size)


@torch.library.custom_op("wav::rotate", mutates_args=())
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`apply_rope` as one operator, which exporters translate to the runtime's own."""
    return apply_rope(x, Rope(cos, sin)).clone()


@rotate.register_fake
def _(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.empty_like(x)


def apply_rope(x: Tensor, rope: Rope) -> Tensor:
    """Rotate channel pairs of `x` [*, hidden] by a table that broadcasts to [*, hidden / 2]."""
    if torch.compiler.is_exporting():
        as_one: Tensor = rotate(x, rope.cos, rope.sin)
        return as_one
    pairs = x.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # graphs have no complex numbers
        real, imaginary = pairs.unbind(-1)
        rotated = (real * rope.cos - imaginary * rope.sin, imaginary * rope.cos + real * rope.sin)
        return torch.stack(rotated, dim=-1).flatten(-2).to(x.dtype)
    turn = torch.complex(rope.cos.float(), rope.sin.float())
    return torch.view_as_real(torch.view_as_complex(pairs.float()) * turn).flatten(-2).to(x.dtype)
