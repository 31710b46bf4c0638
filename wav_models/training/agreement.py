"""How far two models choose alike among the same noises: a student and its teacher, or one model and its own second
opinion, which is the ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from wav_models.types import FloatArray


@dataclass(frozen=True)
class Judged:
    """M futures at each of O moments.

    Attributes:
        futures: their latents, flat, [O, M, D].
        scores: [O, M].
        actions: what is done about them, flat, [O, M, E].
    """

    futures: FloatArray
    scores: FloatArray
    actions: FloatArray

    @classmethod
    def of(cls, futures: Tensor, scores: Tensor, actions: Tensor) -> Judged:
        """From tensors [O, M, ...]."""
        flat = (futures.flatten(2), scores, actions.flatten(2))
        return cls(*(x.double().cpu().numpy() for x in flat))

    @classmethod
    def joined(cls, parts: Sequence[Judged]) -> Judged:
        """All moments of several."""
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in ("futures", "scores", "actions"))
        )


def agreement(one: Judged, reference: Judged) -> dict[str, float]:
    """What a choice by `one` keeps of one by `reference`, given the same noises.

    Returns:
        futures_r2, actions_r2: explained variance of what distinguishes the futures, and the actions, of a moment.
        score_rank: Spearman's correlation of the scores, mean over moments.
        same_best: share of the moments at which both like the same future best.
        captured: how much better the chosen future is by the reference's score, of what the reference's best is better
            than the average: 1 = as good a choice, 0 = no better than chance.
    """
    chosen = one.scores.argmax(axis=1)
    moments = np.arange(len(chosen))
    above = reference.scores - reference.scores.mean(axis=1, keepdims=True)
    return {
        "futures_r2": _explained(one.futures, reference.futures),
        "actions_r2": _explained(one.actions, reference.actions),
        "score_rank": float(np.mean([_rank_correlation(*pair) for pair in zip(one.scores, above, strict=True)])),
        "same_best": float(np.mean(chosen == above.argmax(axis=1))),
        "captured": float(above[moments, chosen].sum() / max(above.max(axis=1).sum(), 1e-12)),
    }


def _explained(one: FloatArray, reference: FloatArray) -> float:
    """Of differences from the mean over the second axis."""
    difference, wanted = (x - x.mean(axis=1, keepdims=True) for x in (one, reference))
    return float(1.0 - np.square(difference - wanted).sum() / max(np.square(wanted).sum(), 1e-12))


def _rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """0 where one of them has all alike."""
    from scipy.stats import rankdata  # not there where only times are measured

    first, second = (rankdata(x) - (len(x) + 1) / 2 for x in (one, other))
    norm = np.sqrt(np.square(first).sum() * np.square(second).sum())
    return float((first * second).sum() / norm) if norm > 0.0 else 0.0
