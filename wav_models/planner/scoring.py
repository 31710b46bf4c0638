"""Scores of imagined futures, and the elites they select.

A score answers twice: `pairs` judges every (future, value sample), `futures` sums up what the N samples of a future
say. Pair scores choose the value elites, future scores the video elites.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from wav_models.configuration import check_choice

if TYPE_CHECKING:
    from torch import Tensor

    from wav_models.planner.latent_plan import LatentPlan


SNR_EPS: Final = 1e-6
"""Of the paper's score (`SignalToNoise`) where nothing else is said."""


class Score(Protocol):
    """Higher is better; scores have no unit."""

    def pairs(self, values: Tensor) -> Tensor:
        """Scores [M, N] of values [M, N, T]; entry [m, n] belongs to future m."""

    def futures(self, pair_scores: Tensor) -> Tensor:
        """Scores [M] of the futures from their pair scores [M, N]."""


@dataclass(frozen=True)
class SignalToNoise:
    """The paper's score (Section 4.3): mean over standard deviation along time; a future is as good as its best sample.

    It grows without bound as a prediction gets flat (a constant 0.01 beats steady progress from 0 to 1) and prefers
    the noisier of two negative predictions. It is the default because it is the published definition.

    Attributes:
        eps: keeps the quotient finite where a prediction is constant; unit of the values.
    """

    eps: float

    def pairs(self, values: Tensor) -> Tensor:
        return values.mean(dim=-1) / (values.std(dim=-1, correction=0) + self.eps)

    def futures(self, pair_scores: Tensor) -> Tensor:
        return pair_scores.amax(dim=1)  # phi


@dataclass(frozen=True)
class MeanValue:
    """Mean predicted value over time, and over the value samples of a future."""

    def pairs(self, values: Tensor) -> Tensor:
        return values.mean(dim=-1)

    def futures(self, pair_scores: Tensor) -> Tensor:
        return pair_scores.mean(dim=1)


@dataclass(frozen=True)
class Gain:
    """How much a future is predicted to add: rise of the value over its time (least squares), mean over its samples.

    All futures begin at the same moment, so what is predicted for their beginning differs by errors only, and such an
    error runs through a whole prediction. The rise is free of it, and tells futures apart that the mean value confuses
    (docs/planning.md, "The gain of a future").
    """

    def pairs(self, values: Tensor) -> Tensor:
        num_steps = values.shape[-1]
        from_middle = values.new_ones(num_steps).cumsum(0) - (num_steps + 1) / 2  # a copy would wait for the values
        return (values * from_middle).sum(dim=-1) * (12.0 / (num_steps * (num_steps + 1)))

    def futures(self, pair_scores: Tensor) -> Tensor:
        return pair_scores.mean(dim=1)


SCORES: dict[str, Callable[[float], Score]] = {
    "snr": SignalToNoise,
    "mean": lambda snr_eps: MeanValue(),
    "gain": lambda snr_eps: Gain(),
}
"""By name, from epsilon; experiments add theirs."""
SEARCHES: dict[str, Callable[..., LatentPlan]] = {}
"""Searches of experiments that take the place of Algorithm 1, by what is given for the score."""


def make_score(name: str, snr_eps: float = SNR_EPS) -> Score:
    """The score of that name; ValueError with the nearest valid name otherwise."""
    check_choice("score", name, SCORES)
    return SCORES[name](snr_eps)


def select_elites(scores: Tensor, count: int) -> Tensor:
    """Indices [count] of the highest scores, best first; of equal scores the first.

    A score matrix [M, N] is read row by row: index m * N + n.
    """
    flat = scores.flatten()
    if not 1 <= count <= len(flat):
        raise ValueError(f"count is {count}; with {len(flat)} scores 1 to {len(flat)} elites fit")
    return flat.sort(descending=True, stable=True).indices[:count]
