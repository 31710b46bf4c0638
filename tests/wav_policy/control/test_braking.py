"""The way on which the arms brake is known beforehand, whatever the lengths of the ticks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav_models.types import FloatArray
from wav_policy.control.braking import braking_distance, end_speed, stoppable_speed
from wav_policy.control.look_ahead import Approach
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.robot.joints import JOINT_DIM, both_arms

LIMITS = SafetyLimits(max_step=(10.0,) * 7)
ACCELERATION = both_arms(LIMITS.acceleration)
MIDDLE = (LIMITS.lower + LIMITS.upper) / 2.0

ticks = st.floats(1e-4, 0.999 * LIMITS.max_tick)


class Wall:
    """Says that something is in the way from the time it is told to on; remembers what it was asked about."""

    def __init__(self) -> None:
        self.is_near = False
        self.asked: list[tuple[FloatArray, FloatArray, float]] = []

    def start_at(self, position: FloatArray) -> None:
        pass

    def arrived_at(self, position: FloatArray) -> None:
        pass

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        self.asked.append((position.copy(), velocity.copy(), tick))
        return Approach(("left gripper", "right gripper"), 0.0, 0.01) if self.is_near else None


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    speeding=st.lists(ticks, min_size=4, max_size=30),
    braking=st.lists(ticks, min_size=80, max_size=80),
    is_lost=st.booleans(),
)
def test_joints_brake_on_the_way_that_was_found_clear(
    seed: int, speeding: list[float], braking: list[float], is_lost: bool
) -> None:
    """With something in the way, and without a command any more: every target lies on the way from the last step."""
    rng, wall, now = np.random.default_rng(seed), Wall(), 1.0
    safety = SafetyFilter(LIMITS, wall)
    goal = MIDDLE + rng.uniform(-1.0, 1.0, JOINT_DIM) * (LIMITS.upper - MIDDLE)
    position = safety.step(now, None, MIDDLE, now).target
    for tick in speeding:
        now += tick
        position = safety.step(now, goal, position, now).target
    start, velocity, last = wall.asked[-1]
    start, speed = start + velocity * last, end_speed(velocity, ACCELERATION, last)
    wall.is_near, began = True, now
    for tick in braking:
        now += tick
        position = safety.step(now, None if is_lost else goal, position, now).target
        moved = np.copysign(braking_distance(speed, ACCELERATION, now - began), velocity)
        np.testing.assert_allclose(position, start + moved, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(distance=st.floats(0.0, 2.0), lengths=st.lists(ticks, min_size=1, max_size=60))
def test_a_stoppable_speed_is_the_largest_that_stops_within_its_distance(distance: float, lengths: list[float]) -> None:
    a, tick = np.full(1, 5.0), lengths[0]
    speed = stoppable_speed(np.full(1, distance), a, tick)
    left = distance - speed * tick - end_speed(speed, a, tick) ** 2 / (2.0 * a)
    assert left == pytest.approx(0.0, abs=1e-12)
