"""Planners that planning is compared with, on the planner's own landscapes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from tests.wav_models.planner.test_latent_planner import HORIZON, SHAPE, Landscape
from wav_models.experiments import planners
from wav_models.experiments.conditions import named_conditions
from wav_models.planner import PlannerConfig
from wav_models.planner.latent_planner import plan
from wav_models.planner.scoring import make_score
from wav_models.planner.search import search

assert planners


@pytest.fixture
def landscape() -> Landscape:
    return Landscape(torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)))


def test_random_elites_refit_without_improving(landscape: Landscape) -> None:
    config = PlannerConfig(num_iterations=5, num_video_samples=16, num_video_elites=4, score="random")
    unjudged, judged = (search(landscape, replace(config, score=score), 3).state.video for score in ("random", "mean"))
    assert float(unjudged.std.mean()) < 0.5
    distance = [float(landscape.distance(d.mean[None])) for d in (unjudged, judged)]
    assert distance[0] > float(landscape.distance(torch.zeros(1, *SHAPE))) - 0.1 > distance[1]


def test_fresh_rounds_find_what_one_round_of_as_many_futures_finds(landscape: Landscape) -> None:
    base = PlannerConfig(score="mean")
    fresh = search(landscape, named_conditions(base, ["fresh"])["fresh"], 3)
    one_round = replace(base, num_iterations=1, num_video_samples=24, selection="best")
    assert torch.equal(fresh.video_noise, search(landscape, one_round, 3).video_noise)


def test_the_paper_s_setting_is_there_whatever_a_checkpoint_plans_with() -> None:
    read = PlannerConfig(video_times=(0.25,), share_first_step=True, num_value_steps=2, num_video_samples=6)
    tuned = replace(
        read, score="gain", selection="best", shared_value_noise=True, num_iterations=1, action_noise_std=0.0
    )
    tuned = replace(tuned, mean_update_rate=0.5, std_update_rate=0.2, min_std=0.3, snr_eps=0.1, warm_start=True)
    assert named_conditions(tuned, ["paper"])["paper"] == read, "how its networks are read stays the checkpoint's"


def test_random_elites_imagine_only_the_future_it_acts_on(landscape: Landscape) -> None:
    answer = search(landscape, PlannerConfig(num_iterations=3, score="random", selection="best"), 0)
    assert [len(noise) for noise in landscape.imagined] == [1]
    assert (answer.rounds, answer.stop_reason) == ((), "planning off")
    noises = [answer.video_noise, *(search(landscape, PlannerConfig(score="random"), s).video_noise for s in (0, 1))]
    assert torch.equal(noises[0], noises[1])
    assert not torch.equal(noises[0], noises[2])


def test_worst_is_the_opposite_of_best(landscape: Landscape) -> None:
    config = PlannerConfig(num_iterations=1, score="mean", selection="best")
    best, worst = plan(landscape, config, 0), plan(landscape, replace(config, selection="worst"), 0)
    scores = best.rounds[0].mean_value
    assert landscape.distance(best.video_noise[None]) < landscape.distance(worst.video_noise[None])
    assert best.values.mean().item() == pytest.approx(scores.max(), abs=0.01)
    assert worst.values.mean().item() == pytest.approx(scores.min(), abs=0.01)


def test_worst_is_not_imagined_again(landscape: Landscape) -> None:
    answer = plan(landscape, PlannerConfig(num_iterations=3, score="mean", selection="worst"), 5)
    assert len(landscape.imagined) == 3
    expected = landscape.evaluate(answer.video_noise[None], torch.zeros(1, 1, HORIZON, 1))[0, 0]
    torch.testing.assert_close(answer.values, expected, atol=0.01, rtol=0)


def test_lower_bound_doubts_a_future_whose_samples_disagree() -> None:
    values = torch.rand(4, 3, 5, dtype=torch.float64)
    bound = make_score("lower_bound")
    means = values.mean(dim=2)
    expected = means.mean(dim=1) - means.std(dim=1, correction=0)
    torch.testing.assert_close(bound.futures(bound.pairs(values)), expected)


def test_their_names_are_unknown_to_a_robot() -> None:
    """Where experiments are not imported, a planner of theirs is refused."""
    script = (
        "from wav_models.planner import PlannerConfig\n"
        "for wrong in ({'score': 'random'}, {'score': 'lower_bound'}, {'selection': 'worst'}):\n"
        "    try: PlannerConfig(**wrong)\n"
        "    except ValueError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3
    assert "Valid: gain, mean, snr" in done.stdout
