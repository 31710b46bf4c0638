"""The deadline of a plan, with a clock that does not move by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import pstdev

import pytest

from wav_models.planner.config import PlannerConfig
from wav_models.planner.timing import Deadline, Pace, Size, Stopwatch, efforts, size_of

PLANNER = PlannerConfig(num_iterations=3, num_video_samples=8, num_value_samples=4)
FULL, FEWER_SAMPLES, LEAST = (8, 4), (8, 2), (4, 2)


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_deadline_allows_every_round() -> None:
    clock = FakeClock()
    deadline = Deadline(None, clock=clock)
    clock.now += 1e6
    assert deadline.allows_round(PLANNER)
    assert deadline.choose(efforts(PLANNER)) == PLANNER


def test_a_round_that_would_overrun_is_refused() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, pace=Pace({FULL: 0.3}, action_seconds=(0.2,)), clock=clock)
    clock.now += 0.4
    assert deadline.allows_round(PLANNER)  # 0.4 + 0.3 + 0.2 fits
    clock.now += 0.2
    assert not deadline.allows_round(PLANNER)  # 0.6 + 0.3 + 0.2 does not


def test_the_last_round_predicts_the_next() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, clock=clock)
    clock.now += 0.55
    assert deadline.allows_round(PLANNER)
    deadline.round_took(0.55)
    assert not deadline.allows_round(PLANNER)


def test_stopwatch_adds_up_stages() -> None:
    clock = FakeClock()
    stopwatch = Stopwatch(clock)
    for seconds in (1.0, 2.0):
        with stopwatch.stage("video"):
            clock.now += seconds
    with stopwatch.stage("value"):
        clock.now += 0.5
    assert stopwatch.seconds == {"video": 3.0, "value": 0.5}


def test_rounds_are_expected_at_their_mean_and_the_deviation_of_their_sum() -> None:
    pace = Pace().after(FULL, [0.1, 0.3, 0.2], action_seconds=0.05)
    assert pace.expected(FULL, 0) == pytest.approx(0.05)
    mean, deviation = 0.2, 0.2 * pstdev([1.0, 0.5, 1.5, 1.0])
    assert pace.expected(FULL, 1) == pytest.approx(0.05 + mean + deviation)
    assert pace.expected(FULL, 3) == pytest.approx(0.05 + 3 * mean + 3**0.5 * deviation)
    assert pace.expected(LEAST, 3) == pytest.approx(0.05)  # nothing is known of that size


def test_a_round_that_never_fits_is_tried_again_after_a_few_plans() -> None:
    pace, plans_without_rounds = Pace().after(FULL, [0.1, 0.3, 0.2], action_seconds=0.05), 0
    while not Deadline(0.2, pace=pace, clock=FakeClock()).allows_round(PLANNER):
        pace = pace.after(FULL, [], action_seconds=0.05)
        plans_without_rounds += 1
    assert 1 <= plans_without_rounds <= 5


def test_a_machine_that_is_slower_for_one_size_is_slower_for_all() -> None:
    pace = Pace({FULL: 0.1, LEAST: 0.04}).after(LEAST, [0.06] * 9, action_seconds=0.01)
    assert pace.expected(FULL, 2) == pytest.approx(0.01 + 2 * 0.15)
    assert pace.expected(LEAST, 1) == pytest.approx(0.01 + 0.06)


@dataclass(frozen=True)
class Planned:
    size: Size
    rounds: int
    seconds: float


def plans_of(slowness: Iterable[float], budget: float) -> list[Planned]:
    """Plans one after the other, whose rounds are of 60, 48 and 30 ms times the next of `slowness`; 20 ms for the
    action."""
    units = {FULL: 0.06, FEWER_SAMPLES: 0.048, LEAST: 0.03}
    pace, clock, coming, plans = Pace(units, action_seconds=(0.02,)), FakeClock(), iter(slowness), []
    try:
        while True:
            began, deadline = clock.now, Deadline(budget, pace=pace, clock=clock)
            planner = deadline.choose(efforts(PLANNER))
            size = size_of(planner)
            rounds: list[float] = []
            while len(rounds) < planner.num_iterations and deadline.allows_round(planner):
                rounds.append(units[size] * next(coming))
                clock.now += rounds[-1]
                deadline.round_took(rounds[-1])
            clock.now += 0.02
            pace = pace.after(size, rounds, 0.02)
            plans.append(Planned(size, len(rounds), clock.now - began))
    except StopIteration:
        return plans


def test_rounds_that_scatter_do_not_cost_what_their_slowest_would() -> None:
    """Three rounds take 180 +- 16 ms, three times the slowest of them 203 +- 20 ms."""
    generator = random.Random(5)
    plans = plans_of((generator.gauss(1.0, 0.15) for _ in range(900)), budget=0.23)
    assert sum(plan.size == FULL and plan.rounds == 3 for plan in plans) > 0.8 * len(plans)
    assert sum(plan.seconds > 0.23 for plan in plans) < 0.02 * len(plans)


def test_one_slow_round_is_forgotten_after_three_plans() -> None:
    plans = plans_of([*[1.0] * 30, 2.0, *[1.0] * 30], budget=0.225)
    less = [number for number, plan in enumerate(plans) if plan.size != FULL or plan.rounds != 3]
    assert less
    assert set(less) <= set(range(10, 14))


def test_bursts_cost_a_plan_something_but_never_a_round_more_than_the_deadline() -> None:
    """Every tenth round takes three times as long: what cannot be foreseen delays a plan by the rest of that round."""
    plans = plans_of([3.0 if k % 10 == 9 else 1.0 for k in range(600)], budget=0.225)
    assert all(plan.rounds >= 1 for plan in plans)
    assert all(plan.seconds <= 0.225 + 2 * 0.06 for plan in plans)
    assert sum(plan.seconds > 0.225 for plan in plans) < 0.1 * len(plans)


def test_a_machine_that_slows_down_for_good_keeps_the_deadline_after_one_plan() -> None:
    plans = plans_of([*[1.0] * 30, *[1.6] * 120], budget=0.225)
    assert [plan.size for plan in plans[:10]] == [FULL] * 10
    late = [number for number, plan in enumerate(plans) if plan.seconds > 0.225]
    assert late in ([], [10])
    settled = plans[14:]
    assert {plan.rounds for plan in settled} == {3}
    assert {plan.size for plan in settled} == {LEAST}


def test_what_a_plan_gives_up_comes_in_one_order_and_keeps_the_share_of_elites() -> None:
    planner = PlannerConfig(
        num_iterations=3, num_video_samples=8, num_value_samples=4, num_video_elites=3, num_value_elites=8
    )
    less = efforts(planner)
    assert [size_of(each) for each in less] == [FULL, FEWER_SAMPLES, LEAST]
    assert [(each.num_video_elites, each.num_value_elites) for each in less] == [(3, 8), (3, 4), (2, 2)]
    assert {each.num_iterations for each in less} == {3}
    assert efforts(PlannerConfig(num_video_samples=1, num_value_samples=1, num_video_elites=1, num_value_elites=1)) == (
        PlannerConfig(num_video_samples=1, num_value_samples=1, num_video_elites=1, num_value_elites=1),
    )


@pytest.mark.parametrize(
    ("budget", "size", "num_rounds"),
    [
        (0.35, FULL, 3),
        (0.34, FEWER_SAMPLES, 3),
        (0.29, FEWER_SAMPLES, 3),
        (0.28, LEAST, 3),
        (0.20, LEAST, 3),
        (0.19, LEAST, 2),
        (0.14, LEAST, 1),
        (0.09, LEAST, 0),
    ],
)
def test_a_plan_that_would_be_late_sheds_samples_then_futures_then_rounds(
    budget: float, size: Size, num_rounds: int
) -> None:
    """Rounds of 100, 80 and 50 ms, by size; 50 ms for the action."""
    pace = Pace({FULL: 0.1, FEWER_SAMPLES: 0.08, LEAST: 0.05}, action_seconds=(0.05,))
    clock = FakeClock()
    deadline = Deadline(budget + 1e-9, pace=pace, clock=clock)
    chosen = deadline.choose(efforts(PLANNER))
    assert size_of(chosen) == size
    rounds = 0
    while rounds < chosen.num_iterations and deadline.allows_round(chosen):
        clock.now += pace.round_seconds[size]
        deadline.round_took(pace.round_seconds[size])
        rounds += 1
    assert rounds == num_rounds
    assert clock.now - 100.0 + 0.05 <= budget + 1e-6
