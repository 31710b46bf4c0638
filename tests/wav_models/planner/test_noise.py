"""Noise of the search against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wav_models.planner.noise import NoiseDistribution, NoiseStreams

FINITE = st.floats(-100, 100, width=32)
RATE = st.floats(0, 1)
SHAPES = array_shapes(min_dims=2, max_dims=4, max_side=5)


@st.composite
def elites_and_previous(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    elites = draw(arrays(np.float32, SHAPES, elements=FINITE))
    mean = draw(arrays(np.float32, elites.shape[1:], elements=FINITE))
    std = draw(arrays(np.float32, elites.shape[1:], elements=st.floats(0, 10, width=32)))
    return elites, mean, std


@settings(deadline=None)
@given(elites_and_previous(), RATE, RATE, st.floats(0, 1))
def test_refit_and_smooth_equal_numpy(
    case: tuple[np.ndarray, np.ndarray, np.ndarray], alpha: float, beta: float, min_std: float
) -> None:
    elites, mean, std = case
    previous = NoiseDistribution(torch.from_numpy(mean), torch.from_numpy(std))
    update = NoiseDistribution.refit(torch.from_numpy(elites)).smooth(previous, alpha, beta, min_std)
    expected_mean = alpha * elites.mean(axis=0) + (1 - alpha) * mean
    expected_std = np.maximum(
        beta * np.sqrt(((elites - elites.mean(axis=0)) ** 2).mean(axis=0)) + (1 - beta) * std, min_std
    )
    np.testing.assert_allclose(update.mean.numpy(), expected_mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(update.std.numpy(), expected_std, rtol=1e-4, atol=1e-4)


def test_refit_to_one_elite_is_finite() -> None:
    fitted = NoiseDistribution.refit(torch.randn(1, 3, 4))
    assert fitted.std.eq(0).all()


def test_rates_weigh_the_new_estimate() -> None:
    old = NoiseDistribution(torch.zeros(2), torch.ones(2))
    new = NoiseDistribution(torch.ones(2), torch.full((2,), 0.5))
    update = new.smooth(old, mean_rate=0.9, std_rate=0.8, min_std=0.0)
    assert update.mean.tolist() == pytest.approx([0.9, 0.9])
    assert update.std.tolist() == pytest.approx([0.6, 0.6])


def test_samples_have_the_mean_and_deviation_of_every_entry() -> None:
    noise = NoiseDistribution(torch.tensor([[1.0, -2.0], [0.0, 5.0]]), torch.tensor([[0.1, 2.0], [0.0, 1.0]]))
    samples = noise.sample(20_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(samples.mean(dim=0), noise.mean, atol=0.06, rtol=0)
    torch.testing.assert_close(samples.std(dim=0), noise.std, atol=0.06, rtol=0)


@settings(deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_streams_of_one_seed_are_uncorrelated(seed: int) -> None:
    streams = NoiseStreams.from_seed(seed)
    draws = [torch.randn(4096, generator=g) for g in (streams.video, streams.value, streams.action)]
    correlation = np.corrcoef(torch.stack(draws).numpy())
    assert np.abs(correlation - np.eye(3)).max() < 0.1  # 6 standard errors


def test_neighbouring_seeds_are_uncorrelated_and_seed_zero_is_reproducible() -> None:
    draws = [torch.randn(4096, generator=NoiseStreams.from_seed(seed).video) for seed in (0, 1, 2)]
    assert np.abs(np.corrcoef(torch.stack(draws).numpy()) - np.eye(3)).max() < 0.1
    torch.testing.assert_close(draws[0], torch.randn(4096, generator=NoiseStreams.from_seed(0).video), atol=0, rtol=0)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed is -1"):
        NoiseStreams.from_seed(-1)


@settings(deadline=None)
@given(st.floats(0, 12, allow_nan=False), arrays(np.float32, (2, 5, 3), elements=FINITE))
def test_shift_equals_interpolation(by: float, mean: np.ndarray) -> None:
    noise = NoiseDistribution(torch.from_numpy(mean), torch.full((2, 5, 3), 0.3))
    shifted = noise.shifted(by, axis=1, min_std=0.2)
    times = np.arange(5) + by
    for view in range(2):
        for channel in range(3):
            padded = np.append(mean[view, :, channel], [0.0, 0.0])
            expected = np.interp(times, np.arange(7), padded)
            np.testing.assert_allclose(shifted.mean[view, :, channel], expected, atol=1e-3)
    expected_std = np.interp(times, np.arange(7), [0.3] * 5 + [1.0, 1.0])
    np.testing.assert_allclose(shifted.std[0, :, 0], expected_std, atol=1e-4)


def test_shift_keeps_the_search_wide_enough() -> None:
    noise = NoiseDistribution(torch.zeros(4), torch.full((4,), 0.05))
    assert noise.shifted(1.0, axis=0, min_std=0.5).std.tolist() == [0.5, 0.5, 0.5, 1.0]
    with pytest.raises(ValueError, match="by is -1"):
        noise.shifted(-1.0, axis=0, min_std=0.5)
