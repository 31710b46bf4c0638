"""The safety filter with its look-ahead, fuzzed: whatever is asked for, limits and clearances are kept.

The oracle knows nothing of the filter's state: only what came out, the clock that was fed, and distances of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from wav_models.types import FloatArray
from wav_policy.control.collision import CollisionChecker, make_checker
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.robot.joints import JOINT_DIM, both_arms

LIMITS = SafetyLimits()
LOWER, UPPER = LIMITS.lower, LIMITS.upper
VELOCITY, ACCELERATION = both_arms(LIMITS.velocity), both_arms(LIMITS.acceleration)
HOME = np.array([0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07, 0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07])
HOSTILE = (np.nan, np.inf, -np.inf, 1e308, 1e9, -3.3)
UNDERCUT = 0.005
"""Half the clearance is for what lies between the points that are looked at, see `collision` [m]."""


@dataclass
class Ticks:
    """How long ticks are [s]."""

    name: str

    def draw(self, rng: np.random.Generator) -> float:
        if self.name == "mixed":
            return float(rng.choice([0.005, 0.005, 0.005, rng.uniform(1e-6, 0.05), 0.08]))
        return {"even": 0.005, "slow": float(rng.uniform(0.02, 0.05)), "longest": 0.049}[self.name]


class Fuzzer:
    """One sequence after another, each from a pose that is clear."""

    def __init__(self, seed: int, ticks: Ticks) -> None:
        look_ahead, oracle = make_checker(LIMITS), make_checker(LIMITS)
        assert look_ahead is not None
        assert oracle is not None
        self.rng, self.ticks = np.random.default_rng(seed), ticks
        self.look_ahead: CollisionChecker = look_ahead
        self.oracle: CollisionChecker = oracle
        self.num_held = self.num_steps = 0

    def spare(self, position: FloatArray) -> float:
        """By how much the worst pair is farther apart than it must be [m]."""
        geoms, distances = self.oracle._measure(position)
        if not len(distances):
            return math.inf
        return float((distances - self.oracle._allowed[geoms[:, 0], geoms[:, 1]]).min())

    def pose(self) -> FloatArray:
        """Anywhere, or with the arms low and towards each other."""
        pose = self.rng.uniform(LOWER, UPPER)
        if self.rng.random() < 0.7:
            pose[[0, 7]] = self.rng.uniform([-2.6, 0.0], [0.0, 2.6])
            pose[[3, 5, 10, 12]] = HOME[[3, 5, 10, 12]]
        return pose

    def start(self) -> FloatArray:
        while self.spare(start := np.clip(HOME + self.rng.normal(0.0, 0.3, JOINT_DIM), LOWER, UPPER)) <= 0.0:
            pass
        return start

    def command(self, goal: FloatArray) -> object:
        chance = self.rng.random()
        if chance > 0.99:
            return self.rng.choice([None, "x"])
        if chance > 0.97:
            return np.where(np.arange(JOINT_DIM) == self.rng.integers(JOINT_DIM), self.rng.choice(HOSTILE), goal)
        return goal

    def sequence(self, length: int) -> None:
        safety, now, position, goal = SafetyFilter(LIMITS, self.look_ahead), 1.0, self.start(), self.pose()
        decision = safety.step(now, None, position, now)
        assert decision.target is not None
        velocity, last_tick = np.zeros(JOINT_DIM), 0.0
        for _ in range(length):
            if self.rng.random() < 0.05:
                goal = self.pose()
            if self.rng.random() < 0.003:
                safety.trip("fuzz") if safety.stop_reason is None else safety.reset()
                velocity[:] = velocity if safety.stop_reason else 0.0
            tick = self.ticks.draw(self.rng)
            now += tick
            decision = safety.step(now, self.command(goal), position, now)  # type: ignore[arg-type]
            assert decision.target is not None
            if tick > LIMITS.max_tick:
                tick, velocity, last_tick = LIMITS.max_tick, np.zeros(JOINT_DIM), 0.0
            velocity = self.judge(position, decision.target, velocity, tick, last_tick)
            position, last_tick = decision.target, tick
            self.num_held += decision.holding
            self.num_steps += 1

    def judge(
        self, before: FloatArray, target: FloatArray, velocity: FloatArray, tick: float, last_tick: float
    ) -> FloatArray:
        """Velocity of this tick, shape [14]. Accelerations are of mean velocities, between the middles of two ticks."""
        assert np.isfinite(target).all()
        assert ((target >= LOWER - 1e-12) & (target <= UPPER + 1e-12)).all()
        reached = (target - before) / tick
        rounding = 1e-8 + 1e-14 / tick
        assert (np.abs(reached) <= VELOCITY + rounding).all()
        change = ACCELERATION * (tick + last_tick) / 2.0
        assert (np.abs(reached - velocity) <= change + rounding).all(), (reached, velocity, tick, last_tick)
        spare = min(self.spare(before + share * (target - before)) for share in (0.25, 0.5, 0.75, 1.0))
        assert spare >= -UNDERCUT, (spare, before, target, tick)
        return reached


@pytest.mark.parametrize("ticks", ["even", "mixed", "slow", "longest"])
def test_limits_and_clearances_are_kept(ticks: str) -> None:
    fuzzer = Fuzzer(205, Ticks(ticks))
    for _ in range(4):
        fuzzer.sequence(200)
    assert 0.05 < fuzzer.num_held / fuzzer.num_steps < 0.95


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("ticks", ["even", "mixed", "slow", "longest"])
def test_limits_and_clearances_are_kept_in_a_million_steps(ticks: str) -> None:
    fuzzer = Fuzzer(1, Ticks(ticks))
    while fuzzer.num_steps < 250_000:
        fuzzer.sequence(400)
