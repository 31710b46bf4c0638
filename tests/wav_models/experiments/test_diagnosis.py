"""The numbers of the diagnosis, on moments whose links are known to hold or to be broken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.wav_models.piper import ANGLES
from wav_models.experiments.branching import Moment
from wav_models.experiments.diagnosis import area_under_curve, concordance, following, summarise_moments
from wav_models.experiments.reader import action_spread

RNG = np.random.default_rng(0)


def moment(*, follows: bool, judged: bool, seed: int = 0) -> Moment:
    """Six futures of qualities 0 .. 5; `follows`: acting brings them about; `judged`: the promise is the quality."""
    quality = np.arange(6.0)
    imagined = RNG.normal(size=(6, 40))
    outcome = imagined + 0.05 * RNG.normal(size=(6, 40)) if follows else RNG.normal(size=(6, 40))
    realised = quality if follows else np.full(6, quality.mean())
    promised = quality if judged else quality[[3, 0, 5, 1, 4, 2]]
    chunks = np.repeat((0.1 * quality if follows else 0 * quality)[:, None, None], 14, axis=2).repeat(16, axis=1)
    pairs = promised[:, None] + np.zeros(4)
    return Moment(seed, 8, True, True, pairs, promised, realised, realised, chunks, chunks, chunks, imagined, outcome)


def test_a_working_planner_realises_what_it_promises() -> None:
    links = summarise_moments([moment(follows=True, judged=True)] * 3, ANGLES)
    assert links["following"] > 0.95
    assert links["concordance"] == 1.0
    assert links["gain_promised"] == links["gain_realised"] == pytest.approx(2.5)
    assert links["realised_over_promised"] == pytest.approx(1.0)
    assert links["action_spread_futures_rad"] > 0.1
    assert links["score_spread_futures"] > 1.0 > links["score_spread_samples"]


def test_what_a_value_sample_adds_to_all_futures_is_no_disagreement() -> None:
    good = moment(follows=True, judged=True)
    additive = replace(good, pairs=good.pairs + np.array([-9.0, 2.0, 5.0, 30.0]))
    assert summarise_moments([additive], ANGLES)["score_spread_samples"] == pytest.approx(0.0, abs=1e-9)
    disagreeing = replace(good, pairs=good.pairs + np.outer([1, -1, 1, -1, 1, -1], [1, -1, 1, -1]))
    assert summarise_moments([disagreeing], ANGLES)["score_spread_samples"] == pytest.approx(1.0)


def test_moments_of_one_episode_count_as_one_for_the_standard_error() -> None:
    good, poor = moment(follows=True, judged=True, seed=1), moment(follows=True, judged=False, seed=2)
    one = summarise_moments([good, poor], ANGLES)["gain_realised_standard_error"]
    many = summarise_moments([good, poor] * 9, ANGLES)["gain_realised_standard_error"]
    gains = [summarise_moments([m], ANGLES)["gain_realised"] for m in (good, poor)]
    assert one == pytest.approx(np.std(gains, ddof=1) / np.sqrt(2))
    assert many == pytest.approx(one)
    assert summarise_moments([good] * 9, ANGLES)["gain_realised_standard_error"] is None


def test_what_a_search_chose_is_compared_with_the_average_future() -> None:
    moments = [
        replace(moment(follows=True, judged=True, seed=seed), searched={"k3": (9.0, realised)})
        for seed, realised in ((1, 4.0), (2, 5.0))
    ]
    links = summarise_moments(moments, ANGLES)
    assert links["gain_promised_k3"] == pytest.approx(9.0 - 2.5)
    assert links["gain_realised_k3"] == pytest.approx(4.5 - 2.5)
    assert links["gain_realised_k3_standard_error"] == pytest.approx(0.5)


def test_actions_that_ignore_the_future_are_found() -> None:
    links = summarise_moments([moment(follows=False, judged=True) for _ in range(20)], ANGLES)
    assert abs(links["following"]) < 0.15
    assert links["action_spread_futures_rad"] == 0.0
    assert links["gain_promised"] == pytest.approx(2.5)
    assert links["realised_over_promised"] == pytest.approx(0.0)
    assert links["concordance"] == 0.5


def test_a_value_that_misjudges_is_found() -> None:
    links = summarise_moments([moment(follows=True, judged=False)], ANGLES)
    assert links["following"] > 0.95
    assert links["concordance"] < 0.6
    assert links["realised_over_promised"] < 0.5


def test_measures_against_closed_forms() -> None:
    assert area_under_curve(np.array([3.0, 1.0, 2.0]), [True, False, False]) == 1.0
    assert area_under_curve(np.array([1.0, 1.0]), [True, False]) == 0.5
    assert area_under_curve(np.array([1.0, 2.0]), [True, True]) is None
    assert concordance(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0])) == 0.0
    chunks = np.zeros((2, 16, 14))
    chunks[1] = 2.0
    chunks[1, :, [6, 13]] = 99.0  # strokes, in metres, have no part
    assert action_spread(chunks, ANGLES) == pytest.approx(1.0)
    first = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert following(first, -2 * first) == pytest.approx(-1.0)
    assert following(first, first[:, ::-1]) == pytest.approx(0.0)


def test_no_moments_are_an_error() -> None:
    with pytest.raises(ValueError, match="no moments"):
        summarise_moments([], ANGLES)
