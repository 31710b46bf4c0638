"""What the control loop does with an arm that missed targets for a moment: it never jumps after them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench, PerfectArms
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction
from wav_policy.robot.joints import SIDES

FASTEST = max(SafetyLimits().velocity) / RATE + 1e-9
"""The farthest a joint may go in a tick [rad]."""


class InterruptedArms(PerfectArms):
    """One arm, the left one where not said otherwise, can be silent and deaf, or its bus refuse what is sent."""

    silent_since: float | None = None
    refuses = False
    takes_probes = False

    def __init__(self, clock: Callable[[], float], side: int) -> None:
        super().__init__(clock)
        self.side = side
        self.steps: list[float] = []
        self.heard: list[np.ndarray] = []

    def read(self) -> JointReading:
        stamps = [self.clock()] * 2
        if self.silent_since is not None:
            stamps[self.side] = self.silent_since
        return JointReading(self.position.copy(), np.zeros(14), (stamps[0], stamps[1]))

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        hears = not (mute[self.side] or self.refuses or self.silent_since is not None)
        before = self.position
        if hears:
            self.heard.append(position.copy())
        muted = [not hears if side == self.side else mute[side] for side in (0, 1)]
        super().write(position, (muted[0], muted[1]))
        self.steps.append(np.abs(self.position - before).max())
        took = not self.refuses or (self.takes_probes and mute[self.side])
        return took or self.side == 1, took or self.side == 0


@pytest.fixture
def moving() -> Bench:
    """Both arms follow a chunk that goes on for 1.6 s."""

    def start(speed: float, side: int = 0) -> Bench:
        bench = Bench()
        bench.arms = arms = InterruptedArms(lambda: bench.now, side)
        bench.loop._arms = arms
        bench.loop.engage()
        bench.run(0.05)
        chunk = bench.chunk(1.6 * speed, rows=16)
        chunk.positions[:, 7] = chunk.positions[:, 0]
        bench.loop.accept(chunk)
        bench.run(0.5)
        return bench

    return start  # type: ignore[return-value]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["silent", "refused"])
@pytest.mark.parametrize("seconds", [0.02, 0.12, 0.45])
@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_an_arm_that_missed_targets_does_not_jump_after_them(
    moving: Any, side: int, kind: str, seconds: float, speed: float
) -> None:
    bench = moving(speed, side)
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


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["silent", "refused"])
def test_the_other_arm_brakes_within_its_limits(moving: Any, side: int, kind: str) -> None:
    bench = moving(1.0, side)
    arms = bench.arms
    arms.silent_since, arms.refuses = (bench.now, False) if kind == "silent" else (None, True)
    bench.run(0.9)
    joint = 7 if side == 0 else 0
    other = np.array([position[joint] for position in arms.writes])
    assert np.abs(np.diff(other, 2)).max() * RATE**2 <= 5.0 + 1e-6
    assert other[-1] == other[-2] == arms.position[joint]
    state = bench.loop.state()
    assert state.holding
    if kind == "refused":
        assert state.reason == "targets missed"
        assert f"the {SIDES[side]} arm missed targets" in state.detail


@pytest.mark.parametrize("kind", ["silent", "refused"])
@pytest.mark.parametrize("side", [0, 1])
def test_an_arm_that_is_deaf_while_the_other_one_misses_targets_does_not_jump_when_it_hears(
    moving: Any, side: int, kind: str
) -> None:
    """Its target brakes, 0.4 rad ahead of it; it hears before the other arm is heard."""
    bench = moving(2.0, side)
    arms, deaf = bench.arms, np.repeat([side == 1, side == 0], 7)
    write = arms.write
    with pytest.MonkeyPatch.context() as deafness:
        deafness.setattr(arms, "write", lambda sent, mute: write(np.where(deaf, arms.position, sent), mute))
        arms.silent_since, arms.refuses = (bench.now, False) if kind == "silent" else (None, True)
        bench.run(0.45)
    before = arms.position.copy()
    bench.run(0.5)
    np.testing.assert_allclose(arms.position, before, atol=1e-9)
    arms.silent_since, arms.refuses = None, False
    bench.run(1.0)
    np.testing.assert_allclose(arms.position[deaf], before[deaf], atol=1e-9)
    bench.loop.accept(bench.chunk(arms.position[0] + 0.2))
    bench.run(0.3)
    assert bench.loop.state().reason == ""


def test_an_arm_that_falls_silent_while_it_brakes_for_the_other_one_is_where_it_was_sent(
    moving: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was not looked at while the other one missed targets: that is not having been moved."""
    bench = moving(2.0)
    bench.arms.refuses = True
    bench.run(0.3)
    read, silent_since = bench.arms.read, bench.now
    with monkeypatch.context() as silence:
        silence.setattr(bench.arms, "read", lambda: replace(read(), stamps=(bench.now, silent_since)))
        bench.run(0.2)
    bench.arms.refuses = False
    bench.run(1.0)
    assert bench.loop.state().reason == "no_command"


def test_after_a_silence_the_arms_wait_for_a_new_plan(moving: Any) -> None:
    bench = moving(1.0)
    bench.arms.silent_since = bench.now
    bench.run(0.2)
    bench.arms.silent_since = None
    bench.run(0.8)
    assert bench.loop.state().holding, "the chunk in force was planned before"
    assert bench.told == [], "nothing was in the way"
    bench.loop.accept(bench.chunk(bench.arms.position[0] + 0.1))
    bench.run(0.1)
    assert not bench.loop.state().holding


@pytest.mark.parametrize("side", [0, 1])
def test_a_silent_arm_that_comes_back_elsewhere_waits_for_enable(moving: Any, side: int) -> None:
    """Adapters that changed places, a drop, a lost zero: the arm kept its power, but is not where it was left."""
    bench = moving(1.0, side)
    arms = bench.arms
    arms.silent_since = bench.now
    bench.run(0.5)
    arms.position = arms.position.copy()
    arms.position[1 + 7 * side] += 0.4
    arms.silent_since = None
    steps = len(arms.steps)
    bench.run(1.0)
    state = bench.loop.state()
    assert (state.engaged, state.reason) == (False, "not where it was")
    assert f"{SIDES[side]}_joint2 is at 1.400 rad, but was left at 1.000 rad" in state.detail
    assert bench.told == [state.detail], "nothing says that it may go on"
    assert max(arms.steps[steps:], default=0.0) == 0.0


class LeaningArms(InterruptedArms):
    """The second joint of the right arm leans on something."""

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        took = super().write(position, mute)
        self.position = np.where(np.arange(14) == 8, np.maximum(self.position, START), self.position)
        return took


def be_silent(bench: Bench) -> None:
    bench.arms.silent_since = bench.now  # type: ignore[attr-defined]
    bench.run(0.3)
    bench.arms.silent_since = None  # type: ignore[attr-defined]


def step_clock(bench: Bench) -> None:
    bench.ros_offset += 5.0
    bench.run(1.0)


def get_hot(bench: Bench) -> None:
    bench.arms.in_the_way = Inhibit(Reaction.HOLD, "motor warning", "left arm: joint1: motor too hot")
    bench.run(0.3)
    bench.arms.in_the_way = None


@pytest.mark.parametrize("interrupt", [be_silent, step_clock, get_hot])
def test_an_arm_that_leans_on_something_has_not_moved(interrupt: Callable[[Bench], None]) -> None:
    """It was as far from its target before the interruption as after it."""
    bench = Bench()
    bench.arms = bench.loop._arms = LeaningArms(lambda: bench.now, 0)
    bench.loop.engage()
    bench.run(0.05)
    chunk = bench.chunk(0.0)
    chunk.positions[:, 8] -= np.linspace(0.01, 0.08, len(chunk.positions))
    bench.loop.accept(chunk)
    bench.run(2.0)
    assert bench.loop.state().tracking.error == pytest.approx(0.08, abs=1e-3)
    interrupt(bench)
    bench.run(1.0)
    state = bench.loop.state()
    assert (state.phase, state.reason) == (Phase.FOLLOWING, "no_command"), state.detail
    bench.loop.accept(bench.chunk(0.2))
    bench.run(0.5)
    assert bench.loop.state().reason == ""
    assert bench.arms.position[0] > 0.05


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("takes_probes", [False, True])
def test_an_arm_that_is_moved_slowly_while_its_bus_refuses_its_targets_waits_for_enable(
    moving: Any, side: int, takes_probes: bool
) -> None:
    """A queue that takes one frame and not four says yes and no in turn; what is taken for a new place each time is
    not where it was left."""
    bench = moving(0.5, side)
    arms = bench.arms
    arms.refuses, arms.takes_probes = True, takes_probes
    bench.run(0.4)
    for tick in range(80):
        arms.position = arms.position.copy()
        arms.position[1 + 7 * side] += 0.002
        bench.run(1 / RATE)
        if tick == 20:
            assert bench.loop.state().reason != "not where it was"
    arms.refuses = False
    bench.run(0.2)
    state = bench.loop.state()
    assert (state.engaged, state.reason) == (False, "not where it was")
    assert f"{SIDES[side]}_joint2 is at 1.05" in state.detail
    assert "but was left at 1.000 rad" in state.detail
    assert bench.loop.engage()
    arms.refuses = True
    bench.run(0.1)
    arms.refuses = False
    bench.run(0.5)
    assert bench.loop.state().engaged, "where it is was believed when it was enabled"
    bench.loop.accept(bench.chunk(arms.position[0] + 0.1))
    bench.run(0.1)
    assert not bench.loop.state().holding


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
