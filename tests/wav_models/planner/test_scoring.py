"""Scores and elites against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from wav_models.planner.scoring import SCORES, make_score, select_elites

VALUES = arrays(np.float64, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.floats(-10, 10))


@settings(deadline=None)
@given(VALUES)
def test_scores_equal_numpy(values: np.ndarray) -> None:
    tensor, eps = torch.from_numpy(values), 1e-3
    snr = make_score("snr", eps)
    expected = values.mean(axis=2) / (values.std(axis=2) + eps)
    np.testing.assert_allclose(snr.pairs(tensor), expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(snr.futures(snr.pairs(tensor)), expected.max(axis=1), rtol=1e-5, atol=1e-8)
    mean = make_score("mean")
    np.testing.assert_allclose(mean.futures(mean.pairs(tensor)), values.mean(axis=(1, 2)), atol=1e-9)


@settings(deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=6), elements=st.floats(-10, 10)))
def test_gain_is_the_rise_of_the_fitted_line_whatever_its_height(values: np.ndarray) -> None:
    num_steps = values.shape[2]
    slopes = np.polyfit(np.arange(num_steps), values.reshape(-1, num_steps).T, 1)[0].reshape(values.shape[:2])
    gain = make_score("gain")
    for height in (0.0, 3.0):
        pairs = gain.pairs(torch.from_numpy(values + height))
        np.testing.assert_allclose(pairs, slopes * (num_steps - 1), atol=1e-9)
    np.testing.assert_allclose(gain.futures(pairs), (slopes * (num_steps - 1)).mean(axis=1), atol=1e-9)
    assert gain.pairs(torch.rand(2, 2, 1)).eq(0).all()


@pytest.mark.parametrize("name", SCORES)
def test_pair_scores_stay_with_their_future(name: str) -> None:
    values = torch.rand(5, 3, 7)
    score = make_score(name)
    alone = torch.stack([score.futures(score.pairs(values[m : m + 1]))[0] for m in range(5)])
    torch.testing.assert_close(score.futures(score.pairs(values)), alone)


def test_published_behaviour_of_the_snr_on_flat_predictions() -> None:
    snr = make_score("snr", 1e-6)
    steady = torch.linspace(0, 1, 54)[None, None]
    flat = torch.full((1, 1, 54), 0.01)
    assert snr.pairs(steady).item() == pytest.approx(1.7, abs=0.05)
    assert snr.pairs(flat).item() == pytest.approx(1e4, rel=0.05)


def test_unknown_score_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown score 'gian'; did you mean 'gain'\?.*mean.*snr"):
        make_score("gian")


@settings(deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=1, max_dims=2, max_side=8), elements=st.floats(-5, 5)), st.data())
def test_elites_equal_a_stable_numpy_sort(scores: np.ndarray, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, scores.size))
    elites = select_elites(torch.from_numpy(scores), count)
    np.testing.assert_array_equal(elites, np.argsort(-scores.ravel(), kind="stable")[:count])


@pytest.mark.parametrize("count", [0, 7])
def test_elite_count_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"count is {count}; with 6 scores 1 to 6"):
        select_elites(torch.zeros(2, 3), count)
