"""Statistics of binary trials: interval of one rate, comparison of two on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a success rate; (low, high) in [0, 1].

    Raises:
        ValueError: no trials, or a count outside 0..trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials: need 0 <= successes <= trials and trials >= 1")
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class PairedComparison:
    """Two conditions on the same seeds.

    Attributes:
        gained: seeds where only the second succeeded.
        lost: seeds where only the first succeeded.
        p_value: McNemar's exact two-sided test.
    """

    gained: int
    lost: int
    p_value: float


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> PairedComparison:
    """Exact McNemar test: under equality every discordant pair is a fair coin.

    Raises:
        ValueError: the conditions have different numbers of trials.
    """
    if len(first) != len(second):
        raise ValueError(f"paired trials differ in number: {len(first)} and {len(second)}")
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    discordant, smaller = gained + lost, min(gained, lost)
    tail = sum(math.comb(discordant, k) for k in range(smaller + 1)) / 2**discordant
    return PairedComparison(gained, lost, min(1.0, 2.0 * tail))
