"""Proof that the planner plans: landscapes with a known best future."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wav_models.planner import PlannerConfig, PlannerError
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.latent_planner import plan
from wav_models.planner.noise import NoiseStreams, SearchState
from wav_models.planner.scoring import SCORES
from wav_models.planner.timing import Deadline, Pace
from wav_models.planner.trajectory_model import Decision

SHAPE = (3, 2, 4, 2)  # views, frames, tokens, channels
HORIZON = 6


class Landscape:
    """A world whose futures are their noise and whose value falls with the distance to `optimum`.

    Predicted values rise slowly over time, so that signal-to-noise and mean value agree. The action is the mean of the
    future's noise, so that what was acted on can be seen.
    """

    device = torch.device("cpu")
    video_noise_shape = SHAPE
    value_noise_shape = (HORIZON, 1)
    action_noise_shape = (4, 2)

    def __init__(self, optimum: Tensor) -> None:
        self.optimum = optimum
        self.imagined: list[Tensor] = []

    def imagine(self, video_noise: Tensor) -> Tensor:
        self.imagined.append(video_noise)
        return video_noise

    def distance(self, futures: Tensor) -> Tensor:
        return (futures - self.optimum).flatten(1).square().mean(dim=1)

    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        ramp = 1.0 + 0.1 * torch.arange(HORIZON) / HORIZON
        quality = torch.exp(-self.distance(futures))
        return quality[:, None, None] * ramp + 0.001 * value_noise[..., 0]

    def pick(self, futures: Tensor, index: int) -> Tensor:
        return futures[index : index + 1]

    def act(self, future: Tensor, value_noise: Tensor, action_noise: Tensor) -> Decision:
        actions = future.mean() + value_noise.mean() + action_noise
        return Decision(actions, self.evaluate(future, value_noise[None, None])[0, 0])


class PlantedLandscape(Landscape):
    """All futures are equally poor but the planted one, whose values are twenty deviations better and rise."""

    def __init__(self, planted: int) -> None:
        super().__init__(torch.zeros(SHAPE))
        self.planted = planted

    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        values = 0.3 * value_noise[..., 0]
        if len(futures) > 1:
            values[self.planted] += torch.linspace(6.0, 8.0, HORIZON)
        return values


class Damaged(Landscape):
    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        values = super().evaluate(futures, value_noise)
        if len(futures) > 1:
            values[2, 1, 3] = float("nan")
        return values


@pytest.fixture
def landscape() -> Landscape:
    return Landscape(torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)))


def assert_same(a: LatentPlan, b: LatentPlan) -> None:
    assert torch.equal(a.actions, b.actions)
    assert torch.equal(a.video_noise, b.video_noise)
    assert torch.equal(a.state.video.mean, b.state.video.mean)
    assert torch.equal(a.state.value.std, b.state.value.std)


@pytest.mark.parametrize("score", SCORES)
def test_planted_best_future_is_chosen_200_times_in_200(score: str) -> None:
    """The published code credits scores to other futures and chooses it 3 times in 200 (chance)."""
    config = PlannerConfig(
        num_iterations=1,
        num_video_samples=30,
        num_value_samples=5,
        num_video_elites=27,
        num_value_elites=15,
        score=score,
        selection="best",
    )
    chosen = 0
    for seed in range(200):
        model = PlantedLandscape(planted=(seed * 7) % 30)
        answer = plan(model, config, seed)
        chosen += torch.equal(answer.video_noise, model.imagined[0][model.planted])
    assert chosen == 200


class Luck(Landscape):
    """A world whose values are value noise and little else: future m is better than the one before by `step`."""

    step = 0.01

    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        return value_noise[..., 0] + self.step * torch.arange(len(futures))[:, None, None]


def test_shared_value_noise_tells_futures_apart_that_luck_would_hide() -> None:
    config = PlannerConfig(num_iterations=1, score="mean", selection="best")
    chosen = {}
    for shared in (False, True):
        models = [Luck(torch.zeros(SHAPE)) for _ in range(50)]
        answers = [plan(m, replace(config, shared_value_noise=shared), seed) for seed, m in enumerate(models)]
        chosen[shared] = sum(
            torch.equal(a.video_noise, m.imagined[0][-1]) for a, m in zip(answers, models, strict=True)
        )
    assert chosen[True] == 50
    assert chosen[False] < 20


def test_best_is_remembered_from_every_round(landscape: Landscape) -> None:
    answer = plan(landscape, PlannerConfig(num_iterations=4, score="mean", selection="best", min_std=1.0), 5)
    seen = torch.cat(landscape.imagined[:4])
    best = seen[landscape.distance(seen).argmin()]
    torch.testing.assert_close(landscape.distance(answer.video_noise[None])[0], landscape.distance(best[None])[0])
    assert answer.chosen is not None
    number, future = answer.chosen
    assert len(answer.sampled) == 4
    torch.testing.assert_close(answer.sampled[number][future], answer.video_noise)
    assert plan(landscape, PlannerConfig(selection="mean"), 5).chosen is None


@pytest.mark.parametrize(("selection", "again"), [("best", 0), ("mean", 1), ("sample", 1)])
def test_a_future_that_was_judged_is_not_imagined_again(landscape: Landscape, selection: str, again: int) -> None:
    answer = plan(landscape, PlannerConfig(num_iterations=3, score="mean", selection=selection), 5)
    assert len(landscape.imagined) == 3 + again
    expected = landscape.evaluate(answer.video_noise[None], torch.zeros(1, 1, HORIZON, 1))[0, 0]
    torch.testing.assert_close(answer.values, expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("score", ["mean", "gain"])
def test_refitted_noise_concentrates_on_the_optimum(landscape: Landscape, score: str) -> None:
    """Distance of the mean to the optimum falls from round to round, the deviation shrinks to its floor."""
    config = PlannerConfig(num_video_samples=64, num_video_elites=8, score=score, selection="mean", min_std=0.02)
    distance, spread = [landscape.distance(torch.zeros(1, *SHAPE)).item()], [1.0]
    for num_iterations in (1, 3, 6, 12):
        state = plan(landscape, replace(config, num_iterations=num_iterations), 3).state.video
        distance.append(landscape.distance(state.mean[None]).item())
        spread.append(state.std.mean().item())
    assert distance == sorted(distance, reverse=True)
    assert spread == sorted(spread, reverse=True)
    assert distance[-1] < 0.3 * distance[0]
    assert landscape.distance(state.mean[None]) < 0.5 * landscape.distance(torch.randn(64, *SHAPE)).min()


class Witness(Landscape):
    """Keeps the noises that were acted on; value noise counts as much as the future."""

    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        return super().evaluate(futures, value_noise) + value_noise[..., 0]

    def act(self, future: Tensor, value_noise: Tensor, action_noise: Tensor) -> Decision:
        self.acted_on = future[0], value_noise, action_noise
        return super().act(future, value_noise, action_noise)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("selection", ["mean", "sample"])
def test_what_is_acted_on_comes_from_the_refitted_noise(landscape: Landscape, selection: str, warm: bool) -> None:
    """Line 13: both noises, as the streams go on after the last round; not those of f^(0)."""
    model = Witness(landscape.optimum)
    config = PlannerConfig(
        num_iterations=8, num_video_samples=64, num_video_elites=8, score="mean", min_std=0.02, selection=selection
    )
    start = SearchState.initial(model) if warm else None
    answer = plan(model, config, 3, start=start)
    streams = NoiseStreams.from_seed(3)
    for _ in range(config.num_iterations):
        torch.randn(config.num_video_samples, *SHAPE, generator=streams.video)
        torch.randn(config.num_video_samples, config.num_value_samples, HORIZON, 1, generator=streams.value)
    video, value, action = model.acted_on
    if selection == "mean":
        expected = answer.state.video.mean, answer.state.value.mean
    else:
        expected = answer.state.video.sample(1, streams.video)[0], answer.state.value.sample(1, streams.value)[0]
    assert torch.equal(video, expected[0])
    assert torch.equal(value, expected[1])
    assert torch.equal(action, torch.randn(4, 2, generator=streams.action))
    assert torch.equal(answer.video_noise, video)
    assert model.distance(video[None]) < 0.8 * model.distance(torch.zeros(1, *SHAPE))
    assert value.mean() > 0.5


def test_the_best_future_is_acted_on_with_the_value_noise_that_spoke_for_it(landscape: Landscape) -> None:
    model = Witness(landscape.optimum)
    config = PlannerConfig(num_iterations=1, score="mean", selection="best")
    plan(model, config, 3)
    num_pairs = (config.num_video_samples, config.num_value_samples)
    value_noise = torch.randn(*num_pairs, HORIZON, 1, generator=NoiseStreams.from_seed(3).value)
    pair_scores = model.evaluate(model.imagined[0], value_noise).mean(dim=-1)
    best = int(pair_scores.mean(dim=1).argmax())
    video, value, _ = model.acted_on
    assert torch.equal(video, model.imagined[0][best])
    assert torch.equal(value, value_noise[best, pair_scores[best].argmax()])


def test_mean_score_of_the_futures_rises_over_rounds(landscape: Landscape) -> None:
    config = PlannerConfig(num_iterations=5, num_video_samples=32, num_video_elites=6, score="mean")
    rounds = plan(landscape, config, 0).rounds
    means = [r.mean_value.mean() for r in rounds]
    assert means == sorted(means)
    assert [r.pair_score.shape for r in rounds] == [(32, 4)] * 5


@pytest.mark.parametrize("snr_eps", [1e-6, 0.5])
def test_value_noise_is_refitted_to_the_best_samples_of_all_futures(snr_eps: float) -> None:
    """Flat value noise has the highest signal-to-noise; elites come from all M * N samples, not N per future. Alpha
    weighs the new mean, beta the new deviation."""
    model = Landscape(torch.zeros(SHAPE))
    config = PlannerConfig(
        num_iterations=1,
        num_value_elites=3,
        mean_update_rate=0.75,
        std_update_rate=0.25,
        min_std=0.0,
        snr_eps=snr_eps,
    )
    state = plan(model, config, 4).state.value
    value_noise = torch.randn(8, 4, HORIZON, 1, generator=NoiseStreams.from_seed(4).value)
    values = model.evaluate(model.imagined[0], value_noise)
    snr = (values.mean(dim=-1) / (values.std(dim=-1, correction=0) + config.snr_eps)).flatten()
    elites = value_noise.flatten(0, 1)[snr.argsort(descending=True)[:3]]
    torch.testing.assert_close(state.mean, 0.75 * elites.mean(dim=0))
    torch.testing.assert_close(state.std, 0.25 * elites.std(dim=0, correction=0) + 0.75)


def test_a_plan_tells_what_was_seen_of_every_round_and_the_elites_of_the_last(landscape: Landscape) -> None:
    answer = plan(landscape, PlannerConfig(num_iterations=3, num_video_elites=2), 5)
    for noise, imagined, told in zip(answer.sampled, landscape.imagined, answer.rounds, strict=False):
        assert torch.equal(noise, imagined)
        assert told.video_score.tolist() == told.pair_score.max(axis=1).tolist()
        quality = torch.exp(-landscape.distance(noise))
        assert told.mean_value == pytest.approx((quality * (1.0 + 0.1 * 2.5 / HORIZON)).numpy(), abs=0.002)
    best = answer.rounds[-1].video_score.argsort()[::-1][:2].tolist()
    assert torch.equal(answer.video_elites, answer.sampled[-1][best])


def test_warm_start_reaches_in_one_round_what_a_cold_start_reaches_in_several() -> None:
    """The optimum moves one frame between plans; the shifted noise of the last plan is already there."""
    frames = 8
    generator = torch.Generator().manual_seed(2)
    motion = torch.randn(3, frames + 1, 4, 2, generator=generator).cumsum(dim=1) * 0.5

    def world(step: int) -> Landscape:
        model = Landscape(motion[:, step : step + frames])
        model.video_noise_shape = (3, frames, 4, 2)
        return model

    cold = PlannerConfig(num_iterations=6, num_video_samples=64, num_video_elites=8, score="mean", min_std=0.05)
    last = plan(world(0), cold, 0).state
    start = SearchState(last.video.shifted(1.0, axis=1, min_std=0.3), last.value.shifted(1.0, axis=0, min_std=0.3))

    def reached(num_iterations: int, start: SearchState | None) -> float:
        state = plan(world(1), replace(cold, num_iterations=num_iterations), 1, start=start).state
        return world(1).distance(state.video.mean[None]).item()

    warm = reached(1, start)
    assert warm < reached(1, None)
    assert warm < reached(3, None)


def test_zero_iterations_mean_no_planning(landscape: Landscape) -> None:
    answer = plan(landscape, PlannerConfig(num_iterations=0), 0)
    assert answer.rounds == ()
    assert answer.stop_reason == "planning off"
    assert len(landscape.imagined) == 1
    assert answer.state.video.std.eq(1).all()
    shrunken = plan(landscape, PlannerConfig(num_iterations=0, selection="mean"), 0)
    assert shrunken.video_noise.eq(0).all()


def test_one_elite_is_finite(landscape: Landscape) -> None:
    config = PlannerConfig(
        num_iterations=3, num_video_samples=2, num_value_samples=1, num_video_elites=1, num_value_elites=1
    )
    answer = plan(landscape, config, 0)
    assert answer.actions.isfinite().all()
    assert answer.state.video.std.min() == pytest.approx(config.min_std)


def test_zero_action_noise_and_independent_streams(landscape: Landscape) -> None:
    config = PlannerConfig(num_iterations=0)
    noisy, silent = plan(landscape, config, 0), plan(landscape, replace(config, action_noise_std=0.0), 0)
    assert torch.equal(noisy.video_noise, silent.video_noise)
    assert silent.actions.std() < 1e-6
    assert noisy.actions.std() > 0


def test_same_seed_same_plan_other_seed_other_plan(landscape: Landscape) -> None:
    config = PlannerConfig()
    torch.manual_seed(123)
    first = plan(landscape, config, 0)
    torch.manual_seed(456)
    assert_same(first, plan(landscape, config, 0))
    assert not torch.equal(first.video_noise, plan(landscape, config, 1).video_noise)


def test_planning_leaves_the_global_random_state_alone(landscape: Landscape) -> None:
    before = torch.get_rng_state()
    plan(landscape, PlannerConfig(), 0)
    assert torch.equal(before, torch.get_rng_state())


def test_two_planners_in_two_threads_plan_as_alone(landscape: Landscape) -> None:
    config = PlannerConfig(num_iterations=4)
    alone = {seed: plan(landscape, config, seed) for seed in range(8)}
    together: dict[int, LatentPlan] = {}

    def work(seeds: list[int]) -> None:
        for seed in seeds:
            together[seed] = plan(landscape, config, seed)

    threads = [threading.Thread(target=work, args=(seeds,)) for seeds in ([0, 1, 2, 3], [4, 5, 6, 7])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(8):
        assert_same(alone[seed], together[seed])


class SlowLandscape(Landscape):
    """Every round takes 0.1 s of a clock that only this model moves."""

    def __init__(self, optimum: Tensor) -> None:
        super().__init__(optimum)
        self.now = 0.0

    def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
        self.now += 0.1
        return super().evaluate(futures, value_noise)


@pytest.mark.parametrize(
    ("seconds", "expected_round", "num_rounds", "stop_reason"),
    [
        (1.0, 0.0, 5, "completed"),
        (0.35, 0.0, 3, "deadline"),
        (0.05, 0.0, 1, "deadline"),  # nothing is known yet: one round overruns
        (0.05, 0.1, 0, "deadline"),  # what the last plan taught prevents it
    ],
)
def test_deadline_picks_the_rounds(
    landscape: Landscape, seconds: float, expected_round: float, num_rounds: int, stop_reason: str
) -> None:
    model = SlowLandscape(landscape.optimum)
    deadline = Deadline(seconds, pace=Pace({(8, 4): expected_round} if expected_round else {}), clock=lambda: model.now)
    answer = plan(model, PlannerConfig(num_iterations=5), 0, deadline=deadline)
    assert (len(answer.rounds), answer.stop_reason) == (num_rounds, stop_reason)
    assert answer.actions.isfinite().all()
    same = plan(landscape, PlannerConfig(num_iterations=num_rounds), 0)
    assert_same(answer, same)
    assert [r.seconds for r in answer.rounds] == pytest.approx([0.1] * num_rounds)


@pytest.mark.parametrize("score", ["snr", "mean"])
def test_a_score_that_is_not_finite_gives_no_plan(landscape: Landscape, score: str) -> None:
    with pytest.raises(
        PlannerError, match="round 1: 1 of 32 scores are not finite, first that of future 2, value sample 1"
    ):
        plan(Damaged(landscape.optimum), PlannerConfig(score=score), 0)


def test_an_action_that_is_not_finite_gives_no_plan(landscape: Landscape) -> None:
    landscape.optimum = torch.full(SHAPE, float("nan"))
    with pytest.raises(PlannerError, match="action or its value is not finite"):
        plan(landscape, PlannerConfig(num_iterations=0), 0)


def test_an_action_that_is_not_finite_gives_no_plan_however_good_its_value(landscape: Landscape) -> None:
    decide = landscape.act
    landscape.act = lambda *noises: replace(decide(*noises), actions=torch.full((4, 2), float("inf")))  # type: ignore[method-assign]
    with pytest.raises(PlannerError, match="action or its value is not finite"):
        plan(landscape, PlannerConfig(num_iterations=0), 0)


def test_values_of_another_shape_are_refused(landscape: Landscape) -> None:
    class Transposed(Landscape):
        def evaluate(self, futures: Tensor, value_noise: Tensor) -> Tensor:
            return super().evaluate(futures, value_noise).transpose(0, 1)

    with pytest.raises(ValueError, match=r"shape \(4, 8, 6\); \(8, 4\)"):
        plan(Transposed(landscape.optimum), PlannerConfig(), 0)
