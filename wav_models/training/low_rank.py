"""Low-rank adaptation (Hu et al. 2021, "LoRA", Section 4): W + up @ down is trained in the place of a layer's W.

By torch's parametrisations and not by peft, whose layers keep W alone as their `weight`, which the networks read
directly where they fuse a layer with what follows it: there the adapters would be left out.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wav_models.configuration import did_you_mean
from wav_models.training.config import LoraConfig

ADAPTED: Final = ".parametrizations.weight."
"""In names of adapted weights, between the layer's and "original", "0.up" or "0.down"."""


class LowRank(nn.Module):
    """A weight [out, in] with its change `up` [out, rank] @ `down` [rank, in], which is zero at first."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as a linear layer

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.up @ self.down


def adapt(model: nn.Module, config: LoraConfig) -> None:
    """Of what trains, leave only adapters of the layers whose names end with one of the targets.

    Raises:
        ValueError: no layer that trains is called so.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.weight.requires_grad}
    chosen: dict[str, nn.Linear] = {}
    for target in config.targets:
        found = {name: layer for name, layer in layers.items() if f".{name}".endswith(f".{target}")}
        if not found:
            kinds = {name.rpartition(".")[2] for name in layers}
            raise ValueError(f"lora.targets: no layer that trains is called {target!r}{did_you_mean(target, kinds)}")
        chosen |= found
    model.requires_grad_(False)
    for layer in chosen.values():
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, config.rank))


def is_adapted(name: str) -> bool:
    """Whether a parameter of that name is what an adapter's change is added to."""
    return name.endswith(f"{ADAPTED}original")


@torch.no_grad()
def merged(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Adapted weights as one tensor each, under the names of the model without adapters."""
    plain = {name: tensor for name, tensor in tensors.items() if ADAPTED not in name}
    for name in filter(is_adapted, tensors):
        layer = name.removesuffix("original")
        change = tensors[f"{layer}0.up"] @ tensors[f"{layer}0.down"]
        plain[f"{name.removesuffix(f'{ADAPTED}original')}.weight"] = tensors[name] + change
    return plain
