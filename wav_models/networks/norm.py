"""RMS norm: torch's own, one kernel on a GPU; on a CPU with its gradient written out, which takes half as many passes
over memory as torch's own does there."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

EPS = 1e-5
"""Of queries and keys, as in LTX-Video."""


class RMSNorm(nn.Module):
    """RMS norm over the channels with a weight."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, EPS, self.weight)


def rms_norm(x: Tensor, eps: float, weight: Tensor | None = None) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last axis, in the dtype of x."""
    weight = None if weight is None else weight.to(x.dtype)
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return functional.rms_norm(x, x.shape[-1:], weight, eps)
    return _RMSNorm.apply(x, weight, eps)


class _RMSNorm(torch.autograd.Function):
    """y = n w with n = x r and r = 1 / sqrt(mean(x^2) + eps); dx = r (g w - n mean(g w n)), dw = sum(g n)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
        precision = torch.promote_types(x.dtype, torch.float32)
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=precision)
        reciprocal = torch.rsqrt(norm * norm / x.shape[-1] + eps).to(x.dtype)
        normalized = x * reciprocal
        ctx.save_for_backward(normalized, reciprocal, weight)
        return normalized if weight is None else normalized * weight

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        normalized, reciprocal, weight = ctx.saved_tensors
        product = gradient * normalized
        if weight is None:
            weight_gradient = None
            mean = product.mean(-1, keepdim=True)
        else:
            weight_gradient = product.flatten(0, -2).sum(0)
            mean = (product @ weight)[..., None] / product.shape[-1]
            gradient = gradient * weight
        return torch.addcmul(gradient, normalized, mean, value=-1.0).mul_(reciprocal), weight_gradient, None
