"""Statistics of binary trials: interval of one rate, comparison of two on the same seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wav_models.words import counted


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson score interval of a success rate, 95 %; (low, high) in [0, 1].

    Raises:
        ValueError: no trials, or a count outside 0..trials.
    """
    from scipy.stats import binomtest  # takes a second to import

    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(
            f"{successes} successes of {counted(trials, 'trial')}: need 0 <= successes <= trials and trials >= 1"
        )
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


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
    from scipy.stats import binomtest

    if len(first) != len(second):
        raise ValueError(f"paired trials differ in number: {len(first)} and {len(second)}")
    gained = sum(b and not a for a, b in zip(first, second, strict=True))
    lost = sum(a and not b for a, b in zip(first, second, strict=True))
    p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
    return PairedComparison(gained, lost, p_value)
