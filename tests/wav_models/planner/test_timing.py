"""The deadline of a plan, with a clock that does not move by itself."""

from __future__ import annotations

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
    deadline = Deadline(1.0, pace=Pace({FULL: 0.3}, 0.2), clock=clock)
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


def test_pace_is_that_of_the_slowest_round_and_a_stale_one_is_forgotten() -> None:
    pace = Pace().after(FULL, [0.1, 0.3, 0.2], action_seconds=0.05)
    assert pace == Pace({FULL: 0.3}, 0.05)
    plans_without_rounds = 0
    while not Deadline(0.2, pace=pace, clock=FakeClock()).allows_round(PLANNER):
        pace = pace.after(FULL, [], action_seconds=0.05)
        plans_without_rounds += 1
    assert 1 <= plans_without_rounds <= 5


def test_a_machine_that_is_slower_for_one_size_is_slower_for_all() -> None:
    pace = Pace({FULL: 0.1, LEAST: 0.04}).after(LEAST, [0.05, 0.06], action_seconds=0.01)
    assert pace.action_seconds == 0.01
    assert pace.round_seconds == pytest.approx({FULL: 0.15, LEAST: 0.06})


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
    pace = Pace({FULL: 0.1, FEWER_SAMPLES: 0.08, LEAST: 0.05}, action_seconds=0.05)
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
    assert clock.now - 100.0 + pace.action_seconds <= budget + 1e-6
