"""The deadline of a plan, with a clock that does not move by itself."""

from __future__ import annotations

from wav_models.planner.timing import Deadline, Pace, Stopwatch


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_no_deadline_allows_every_round() -> None:
    clock = FakeClock()
    deadline = Deadline(None, clock=clock)
    clock.now += 1e6
    assert deadline.allows_round()


def test_a_round_that_would_overrun_is_refused() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, pace=Pace(0.3, 0.2), clock=clock)
    clock.now += 0.4
    assert deadline.allows_round()  # 0.4 + 0.3 + 0.2 fits
    clock.now += 0.2
    assert not deadline.allows_round()  # 0.6 + 0.3 + 0.2 does not


def test_the_last_round_predicts_the_next() -> None:
    clock = FakeClock()
    deadline = Deadline(1.0, clock=clock)
    clock.now += 0.55
    assert deadline.allows_round()
    deadline.round_took(0.55)
    assert not deadline.allows_round()


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
    pace = Pace().after([0.1, 0.3, 0.2], action_seconds=0.05)
    assert pace == Pace(0.3, 0.05)
    plans_without_rounds = 0
    while not Deadline(0.2, pace=pace, clock=FakeClock()).allows_round():
        pace = pace.after([], action_seconds=0.05)
        plans_without_rounds += 1
    assert 1 <= plans_without_rounds <= 5
