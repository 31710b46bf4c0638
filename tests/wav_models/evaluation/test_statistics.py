"""Against published numbers."""

from __future__ import annotations

import pytest

from wav_models.evaluation.statistics import mcnemar, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_of_newcombe_1998(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_needs_trials() -> None:
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(0, 0)
    with pytest.raises(ValueError, match="5 successes of 4"):
        wilson_interval(5, 4)


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs() -> None:
    first = [False] * 10 + [True] * 4 + [True] * 5 + [False] * 24
    second = [True] * 10 + [False] * 4 + [True] * 5 + [False] * 24
    comparison = mcnemar(first, second)
    assert (comparison.gained, comparison.lost) == (10, 4)
    assert comparison.p_value == pytest.approx(2 * 1471 / 2**14)


def test_mcnemar_of_equal_conditions_is_one() -> None:
    assert mcnemar([True, False], [True, False]).p_value == 1.0
    with pytest.raises(ValueError, match="differ in number"):
        mcnemar([True], [True, False])
