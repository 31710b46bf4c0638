"""The discounted return, the last channel of the value expert."""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray


def discounted_return(rewards: FloatArray, discount: float, final_reward: float | None = None) -> FloatArray:
    """V_t = (1 - gamma) sum_i gamma^i R_{t+i}, with R constant after the episode.

    The paper leaves open how the sum ends and how it is scaled. Here the robot stays where it is when the episode is
    over, so the last reward goes on for ever; the factor (1 - gamma) makes the return a weighted mean of rewards, in
    the unit of a reward for any discount and any length.

    Args:
        rewards: shape [T].
        discount: gamma per frame, 0 <= gamma < 1.
        final_reward: the reward after the episode; the last one when None.

    Returns:
        Shape [T].
    """
    if not 0.0 <= discount < 1.0:
        raise ValueError(f"discount is {discount}; it must be at least 0 and below 1")
    if len(rewards) == 0:
        raise ValueError("an episode without rewards has no return")
    returns = np.empty(len(rewards))
    following = float(rewards[-1] if final_reward is None else final_reward)
    for t in reversed(range(len(rewards))):
        following = (1.0 - discount) * float(rewards[t]) + discount * following
        returns[t] = following
    return returns
