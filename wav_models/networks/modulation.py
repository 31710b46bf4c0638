"""Adaptive layer norm from flow time ("adaLN-single" of LTX-Video): one embedding, one table per block."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from wav_models.flow import timestep_from_flow_time
from wav_models.networks.norm import rms_norm

EMBEDDING_DIM = 256
NORM_EPS = 1e-6


class TimeRows(NamedTuple):
    """What blocks and head need to know about time, one row per distinct flow time.

    Attributes:
        modulation: [*, 6, hidden]: shift, scale, gate of self-attention, then of the feed-forward layer.
        embedded: [*, hidden], for the head.
    """

    modulation: Tensor
    embedded: Tensor


class TimeEmbedding(nn.Module):
    """Sinusoids of the LTX timestep, a two-layer perceptron, and a projection to six modulation rows."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(EMBEDDING_DIM, hidden_size)
        self.linear_2 = nn.Linear(hidden_size, hidden_size)
        self.linear = nn.Linear(hidden_size, 6 * hidden_size)

    def forward(self, flow_time: Tensor) -> TimeRows:
        """Rows for `flow_time` of any shape [*]."""
        features = sinusoids(timestep_from_flow_time(flow_time)).to(self.linear_1.weight.dtype)
        embedded = self.linear_2(functional.silu(self.linear_1(features)))
        modulation = self.linear(functional.silu(embedded))
        return TimeRows(modulation.unflatten(-1, (6, -1)), embedded)


def sinusoids(timestep: Tensor) -> Tensor:
    """Cosines, then sines of the timestep at log-spaced frequencies from 1 to 1e-4, [*] -> [*, EMBEDDING_DIM]."""
    half = EMBEDDING_DIM // 2
    exponents = torch.arange(half, dtype=torch.float32, device=timestep.device) * (-math.log(10000.0) / half)
    angles = timestep.float()[..., None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def modulation_rows(rows: Tensor, table: Tensor, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The rows [*, n, hidden] of a block or head, its table [n, hidden] added, one by one [*, hidden]."""
    return (rows + table).to(dtype).unbind(-2)


def modulated_rms_norm(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, rms_norm(x, NORM_EPS), 1.0 + scale)


def velocity_head(hidden: Tensor, embedded_time: Tensor, table: Tensor, projection: nn.Linear) -> Tensor:
    """Modulated layer norm and last projection, shared by all three networks."""
    shift, scale = modulation_rows(embedded_time[..., None, :], table, hidden.dtype)
    normalized = functional.layer_norm(hidden, hidden.shape[-1:], eps=NORM_EPS).to(hidden.dtype)
    # Checkpoints of the LTX family predict noise minus data; our velocity is x_1 - x_0.
    return -projection(torch.addcmul(shift, normalized, 1.0 + scale))
