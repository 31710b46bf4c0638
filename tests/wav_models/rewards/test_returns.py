from __future__ import annotations

import numpy as np
import pytest

from wav_models.rewards.returns import discounted_return


def test_constant_reward_is_its_own_return() -> None:
    np.testing.assert_allclose(discounted_return(np.full(30, 0.4), 0.98), 0.4)


def test_no_discount_looks_at_the_present_only() -> None:
    rewards = np.array([1.0, -2.0, 3.0])
    np.testing.assert_array_equal(discounted_return(rewards, 0.0), rewards)


def test_return_equals_the_infinite_sum() -> None:
    rewards, discount = np.random.default_rng(0).normal(size=12), 0.9
    endless = np.concatenate([rewards, np.full(600, rewards[-1])])
    powers = discount ** np.arange(600)
    expected = [(1 - discount) * powers @ endless[t : t + 600] for t in range(12)]
    np.testing.assert_allclose(discounted_return(rewards, discount), expected, rtol=1e-12)


def test_reward_after_the_episode_can_differ() -> None:
    np.testing.assert_allclose(discounted_return(np.ones(2), 0.5, final_reward=0.0), [0.75, 0.5])


@pytest.mark.parametrize("discount", [1.0, -0.1, float("nan")])
def test_discount_must_converge(discount: float) -> None:
    with pytest.raises(ValueError, match="discount"):
        discounted_return(np.ones(3), discount)
