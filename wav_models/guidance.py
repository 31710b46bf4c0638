"""Guiding a flow towards values that are known already, while it is integrated.

Real-time chunking (Black, Galliker and Levine 2025, "Real-time execution of action chunking flow policies", Eq. 1-4)
generates an action chunk whose first rows are fixed, as an image is completed from a part of it: the velocity is
corrected by the pseudo-inverse guidance of Song et al. (2023, PiGDM). In our time convention, with t the flow time and
x_1' = x_t + (1 - t) v(x_t, t) the end point that the flow is heading for,

    v + min(beta, (1 - t) / (t r^2)) J^T diag(W) (Y - x_1'),    J = d x_1' / d x_t.

r^2 = (1 - t)^2 / (t^2 + (1 - t)^2) is the variance of x_1 given x_t where data are standard normal. For such data the
guided flow ends in Y exactly where W is 1 (tested). Two choices of J:

- "network": the network's own, by one backward pass per step, as in the paper;
- "unit": that of standard normal data, t / (t^2 + (1 - t)^2) times the identity. Actions are standardised, so this is
  the network's without what it knows of correlations; it costs nothing and can be compiled into a graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from wav_models.configuration import check_choice

MAX_GUIDANCE: Final = 5.0
"""beta of the paper: keeps the first steps of a coarse integration stable."""
JACOBIANS: Final = ("unit", "network")

Velocity = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Guidance:
    """What the end of a flow should be.

    Attributes:
        target: Y, finite, shape of one sample, e.g. [H, A + S].
        weight: W, the same shape, from 0 (free) to 1 (known).
        jacobian: one of `JACOBIANS`.

    Raises:
        ValueError: naming what does not fit.
    """

    target: Tensor
    weight: Tensor
    jacobian: str = "unit"

    def __post_init__(self) -> None:
        if self.target.shape != self.weight.shape:
            raise ValueError(
                f"weight has shape {list(self.weight.shape)}; that of target, {list(self.target.shape)}, fits"
            )
        if not self.target.isfinite().all():
            raise ValueError("target is not finite; where nothing is known, a weight of 0 fits")
        if not bool(((self.weight >= 0.0) & (self.weight <= 1.0)).all()):
            raise ValueError(f"weight spans {self.weight.min():g} to {self.weight.max():g}; 0 to 1 fits")
        check_choice("jacobian", self.jacobian, JACOBIANS)


def _unchecked(tensors: Iterable[Any], jacobian: Any) -> Guidance:
    """From parts of a guidance that was checked: on a GPU another check would wait for it."""
    guidance = object.__new__(Guidance)
    for name, value in zip(("target", "weight", "jacobian"), (*tensors, jacobian), strict=True):
        object.__setattr__(guidance, name, value)
    return guidance


pytree.register_pytree_node(Guidance, lambda g: ([g.target, g.weight], g.jacobian), _unchecked)


def given_rows(guidance: Guidance, num_rows: int) -> tuple[Tensor, Tensor]:
    """What is known altogether, for networks that are given it as clean data instead of being guided to it.

    Args:
        num_rows: that the network was trained to be given, at the beginning.

    Returns:
        Samples, zero where nothing is given [H, C], and which rows are given, bool [H].
    """
    known = guidance.weight == 1.0
    known[num_rows:] = False
    return torch.where(known, guidance.target, 0.0), known.any(dim=-1)


def guided(velocity: Velocity, guidance: Guidance) -> Velocity:
    """`velocity` with the correction towards `guidance`; x_t may have leading axes of size 1."""
    correct = _by_network if guidance.jacobian == "network" else _by_unit_normal

    def corrected(x_t: Tensor, flow_time: float) -> Tensor:
        target, weight = guidance.target.to(x_t), guidance.weight.to(x_t)
        return correct(velocity, x_t, flow_time, target, weight)

    return corrected


def gain(flow_time: float) -> float:
    """min(beta, (1 - t) / (t r^2)) at a flow time in [0, 1)."""
    t = flow_time
    return MAX_GUIDANCE if t == 0.0 else min(MAX_GUIDANCE, (t**2 + (1.0 - t) ** 2) / (t * (1.0 - t)))


def unit_gain(flow_time: float) -> float:
    """`gain` times the Jacobian of standard normal data; 1 / (1 - t) where beta does not bind."""
    t = flow_time
    return gain(t) * t / (t**2 + (1.0 - t) ** 2)


def _by_unit_normal(velocity: Velocity, x_t: Tensor, flow_time: float, target: Tensor, weight: Tensor) -> Tensor:
    uncorrected = velocity(x_t, flow_time)
    end = x_t + (1.0 - flow_time) * uncorrected
    return uncorrected + unit_gain(flow_time) * weight * (target - end)


def _by_network(velocity: Velocity, x_t: Tensor, flow_time: float, target: Tensor, weight: Tensor) -> Tensor:
    """Whatever `velocity` closes over must not be an inference tensor: autograd cannot use those."""
    with torch.inference_mode(False), torch.enable_grad():
        start = x_t.clone().requires_grad_()
        uncorrected = velocity(start, flow_time)
        end = start + (1.0 - flow_time) * uncorrected
        residual = weight.clone() * (target.clone() - end.detach())
        (pull,) = torch.autograd.grad(end, start, residual)
    return uncorrected.detach() + gain(flow_time) * pull
