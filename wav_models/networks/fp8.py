"""Linear layers whose products are of 8-bit floats (e4m3), with a scale per row of the activations and of the weights.

On a GPU `torch._scaled_mm` multiplies; elsewhere the same 8-bit numbers are multiplied in float32, slowly, which shows
what the format costs in accuracy.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

FORMAT: Final = torch.float8_e4m3fn
LARGEST: Final = torch.finfo(FORMAT).max
SMALLEST: Final = 1e-12
"""Of a row's largest magnitude, so that a row of zeros has a scale."""
MULTIPLE: Final = 16
"""Sizes of a product that the GPU's kernels take."""
FIRST_CAPABILITY: Final = (8, 9)
"""Compute capability of the first GPUs that multiply 8-bit floats: Ada."""


class Quantized(NamedTuple):
    """Numbers [R, C] in 8 bits, and the scale of every row [R, 1] that gives them back."""

    numbers: Tensor
    scale: Tensor


def quantized_rows(x: Tensor) -> Quantized:
    """Rows of `x` [R, C], each by its largest magnitude."""
    scale = x.abs().amax(dim=-1, keepdim=True).float().clamp_min(SMALLEST) / LARGEST
    return Quantized((x / scale).to(FORMAT), scale)


def scaled_product(x: Quantized, weight: Quantized, bias: Tensor | None) -> Tensor:
    """x @ weight.T + bias in bfloat16, [R, C_out] of [R, C_in] and [C_out, C_in]."""
    if x.numbers.device.type != "cpu":
        return torch._scaled_mm(
            x.numbers,
            weight.numbers.t(),
            scale_a=x.scale,
            scale_b=weight.scale.t(),
            bias=bias,
            out_dtype=torch.bfloat16,
            use_fast_accum=True,
        )
    product = x.numbers.float() @ weight.numbers.float().t() * (x.scale * weight.scale.t())
    return (product if bias is None else product + bias.float()).to(torch.bfloat16)


class Fp8Linear(nn.Module):
    """A linear layer in 8-bit floats; activations come and go in bfloat16."""

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        quantized = quantized_rows(linear.weight.detach())
        self.register_buffer("weight", quantized.numbers)
        self.register_buffer("scale", quantized.scale)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        rows = quantized_rows(x.reshape(-1, x.shape[-1]))
        return scaled_product(rows, Quantized(self.weight, self.scale), self.bias).unflatten(0, x.shape[:-1])


def quantize_linears(network: nn.Module) -> None:
    """Put `Fp8Linear` in place of every linear layer of `network` whose sizes fit; changes it."""
    for module in network.modules():
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and not (child.in_features % MULTIPLE or child.out_features % MULTIPLE):
                setattr(module, name, Fp8Linear(child))
