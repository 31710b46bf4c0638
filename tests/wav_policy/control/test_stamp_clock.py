"""ROS time may be set, slewed, stopped or hurried: ages and steps are told right."""

from __future__ import annotations

import numpy as np
import pytest

from wav_policy.control.interventions import Tally
from wav_policy.control.stamp_clock import TOLERANCE, ClockWatch, StampClock

TICK = 0.005


class Clocks:
    def __init__(self) -> None:
        self.now, self.ros = 50.0, 1.7e9
        self.stamps = StampClock(lambda: self.ros, lambda: self.now)

    def run(self, seconds: float, rate: float = 1.0) -> list[float]:
        """ROS time runs at `rate`; the steps that are told."""
        told = []
        for _ in range(round(seconds / TICK)):
            self.now, self.ros = self.now + TICK, self.ros + rate * TICK
            if step := self.stamps.step():
                told.append(step)
        return told


@pytest.mark.parametrize("step", [-3600.0, -1.0, -0.06, 0.06, 0.5, 3600.0])
def test_a_step_is_told_once_with_its_size(step: float) -> None:
    clocks = Clocks()
    assert clocks.run(1.0) == []
    clocks.ros += step
    assert clocks.run(1.0) == pytest.approx([step], abs=1e-3)


@pytest.mark.parametrize("step", np.arange(-0.049, 0.05, 0.007))
def test_what_is_within_the_tolerance_is_no_step_and_is_followed(step: float) -> None:
    clocks = Clocks()
    clocks.ros += step
    assert clocks.run(1.0) == []
    assert clocks.stamps.translate(clocks.ros - 0.3) == pytest.approx(clocks.now - 0.3, abs=2e-3)


@pytest.mark.parametrize("rate", [0.95, 1.0005, 1.05])
def test_a_disciplined_clock_never_steps(rate: float) -> None:
    clocks = Clocks()
    assert clocks.run(20.0, rate) == []
    assert clocks.stamps.translate(clocks.ros) == pytest.approx(clocks.now, abs=TOLERANCE)


@pytest.mark.parametrize("rate", [0.0, 0.1, 3.0, 100.0])
def test_a_clock_that_does_not_run_at_real_time_steps_all_the_time(rate: float) -> None:
    clocks = Clocks()
    assert len(clocks.run(5.0, rate)) >= 5 * 2


def test_an_age_is_taken_at_arrival_also_right_after_a_step() -> None:
    clocks = Clocks()
    clocks.ros += 1000.0  # the loop has not looked yet
    assert clocks.stamps.translate(clocks.ros - 0.2) == pytest.approx(clocks.now - 0.2, abs=1e-6)
    assert clocks.stamps.stamp(clocks.now) == pytest.approx(clocks.ros, abs=1e-6)


def test_equal_stamps_get_equal_times() -> None:
    clocks = Clocks()
    clocks.run(0.1)
    stamp = clocks.ros
    first = clocks.stamps.translate(stamp)
    clocks.ros += 2e-4  # the clocks are not read at the same moment
    assert clocks.stamps.translate(stamp) == first


def test_the_arms_hold_until_ros_time_has_run_evenly_since_the_last_step() -> None:
    """A series of steps is one reason, which is told once."""
    clocks = Clocks()
    tally = Tally()
    watch = ClockWatch(clocks.stamps, tally)
    reasons = []
    for tick in range(400):
        clocks.now, clocks.ros = clocks.now + TICK, clocks.ros + TICK
        clocks.ros += {10: 5.0, 150: -2.0}.get(tick, 0.0)
        reasons.append(watch.look(clocks.now))
        assert tally.counts.get("clock_step", 0) == (tick >= 10) + (tick >= 150)
    first, even = reasons[10], 150 + round(1.0 / TICK)
    assert first is not None
    assert "stepped by +5.000 s" in first.text
    assert reasons[:10] == [None] * 10
    assert all(reason is first for reason in reasons[10:even])
    assert reasons[even + 2 :] == [None] * (400 - even - 2)
