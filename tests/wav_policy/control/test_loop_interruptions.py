"""What the control loop does with an arm that missed targets for a moment: it never jumps after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, Bench, PerfectArms
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import JointReading

LEFT = slice(0, 7)
FASTEST = max(SafetyLimits().velocity) / RATE + 1e-9
"""The farthest a joint may go in a tick [rad]."""


class InterruptedArms(PerfectArms):
    """The left arm can be silent and deaf, or its bus refuse what is sent."""

    silent_since: float | None = None
    refuses = False

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.steps: list[float] = []
        self.heard: list[np.ndarray] = []

    def read(self) -> JointReading:
        now = self.clock()
        left = now if self.silent_since is None else self.silent_since
        return JointReading(self.position.copy(), np.zeros(14), (left, now))

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        left_hears = not (mute[0] or self.refuses or self.silent_since is not None)
        before = self.position
        if left_hears:
            self.heard.append(position.copy())
        super().write(position, (not left_hears, mute[1]))
        self.steps.append(np.abs(self.position - before).max())
        return not self.refuses, True


@pytest.fixture
def moving() -> Bench:
    """Both arms follow a chunk that goes on for 1.6 s."""

    def start(speed: float) -> Bench:
        bench = Bench()
        bench.arms = arms = InterruptedArms(lambda: bench.now)
        bench.loop._arms = arms
        bench.loop.engage()
        bench.run(0.05)
        chunk = bench.chunk(1.6 * speed, rows=16)
        chunk.positions[:, 7] = chunk.positions[:, 0]
        bench.loop.accept(chunk)
        bench.run(0.5)
        return bench

    return start  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["silent", "refused"])
@pytest.mark.parametrize("seconds", [0.02, 0.12, 0.3, 0.45, 0.9])
@pytest.mark.parametrize("speed", [0.5, 1.0, 2.0])
def test_an_arm_that_missed_targets_does_not_jump_after_them(
    moving: Any, kind: str, seconds: float, speed: float
) -> None:
    bench = moving(speed)
    arms = bench.arms
    arms.silent_since, arms.refuses = (bench.now, False) if kind == "silent" else (None, True)
    bench.run(seconds)
    arms.silent_since, arms.refuses = None, False
    bench.run(1.0)
    missed = 0.1 * speed if kind == "silent" else 0.0  # what is not old enough to be called silence
    assert max(arms.steps) <= FASTEST + missed
    bench.loop.accept(bench.chunk(arms.position[0] + 0.2))
    bench.run(1.0)
    assert not any(bench.loop._cut_off)
    assert max(arms.steps) <= FASTEST + missed


@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_the_other_arm_brakes_within_its_limits(moving: Any, kind: str) -> None:
    bench = moving(1.0)
    arms = bench.arms
    arms.silent_since, arms.refuses = (bench.now, False) if kind == "silent" else (None, True)
    bench.run(0.9)
    right = np.array([position[7] for position in arms.writes])
    assert np.abs(np.diff(right, 2)).max() * RATE**2 <= 5.0 + 1e-6
    assert right[-1] == right[-2] == arms.position[7]
    assert bench.loop.state().holding


def test_after_a_silence_the_arms_wait_for_a_new_plan(moving: Any) -> None:
    bench = moving(1.0)
    bench.arms.silent_since = bench.now
    bench.run(0.2)
    bench.arms.silent_since = None
    bench.run(0.8)
    assert bench.loop.state().holding, "the chunk in force was planned before"
    bench.loop.accept(bench.chunk(bench.arms.position[0] + 0.1))
    bench.run(0.1)
    assert not bench.loop.state().holding


def test_a_silent_arm_that_comes_back_elsewhere_waits_for_enable(moving: Any) -> None:
    """Adapters that changed places, a drop, a lost zero: the arm kept its power, but is not where it was left."""
    bench = moving(1.0)
    arms = bench.arms
    arms.silent_since = bench.now
    bench.run(0.5)
    arms.position = arms.position.copy()
    arms.position[1] += 0.4
    arms.silent_since = None
    steps = len(arms.steps)
    bench.run(1.0)
    state = bench.loop.state()
    assert (state.engaged, state.reason) == (False, "not where it was")
    assert "left_joint2 is at 1.400 rad, but was left at 1.000 rad" in state.detail
    assert max(arms.steps[steps:], default=0.0) == 0.0


def test_the_first_reading_after_a_pause_is_not_believed_alone(moving: Any) -> None:
    bench = moving(1.0)
    arms = bench.arms
    arms.silent_since = bench.now
    bench.run(0.5)
    arms.silent_since = None
    true, damaged = arms.position.copy(), arms.position.copy()
    damaged[1] += 1.14
    arms.position = damaged
    bench.run(1 / RATE)
    arms.position = true
    bench.run(1.0)
    assert bench.loop.state().reason == "no_command"
    np.testing.assert_allclose(arms.heard[-1], true)
    assert max(target[1] for target in arms.heard) <= true[1] + 1e-9
