"""ROS time is set, stepped finely around the tick, stopped or hurried: in real seconds the arms keep their limits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.wav_policy.control.clock_steps import RATES, STEPS, hurried, motion, moving, plan
from tests.wav_policy.control.loop_bench import START, Bench
from wav_models.types import ActionChunk
from wav_policy.control.gripper_motion import GripperGoal
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits

LIMITS = SafetyLimits()


def assert_within_limits(bench: Bench) -> None:
    velocity, acceleration = motion(bench)
    assert np.abs(velocity).max() <= LIMITS.velocity[0] + 1e-9
    assert np.abs(acceleration).max() <= LIMITS.acceleration[0] + 1e-6


@pytest.mark.parametrize("step", STEPS)
def test_a_step_of_ros_time_in_mid_motion(step: float) -> None:
    bench = moving()
    assert motion(bench)[0][-1, 0] > 1.5
    bench.ros_offset += step
    bench.run(0.8)
    state = bench.loop.state()
    if abs(step) > 0.051:
        assert state.reason == "clock_step"
        assert f"{step:+.3f} s" in state.detail
        assert state.interventions["clock_step"] == 1
        assert motion(bench)[0][-1, 0] == 0.0
        bench.run(1.5)
        assert bench.told[-1] == ""
    else:
        assert bench.told == []
    plan(bench, speed=-1.0)
    bench.run(0.4)
    assert not bench.loop.state().holding, "it recovers"
    assert motion(bench)[0][-1, 0] < -0.5
    assert_within_limits(bench)


@pytest.mark.parametrize("rate", RATES)
def test_a_clock_at_any_rate(rate: float) -> None:
    bench = hurried(rate)
    assert_within_limits(bench)
    if 0.9 < rate < 1.1:
        assert bench.told == []
        assert bench.arms.position[0] > 1.0
    else:
        assert bench.loop.state().reason == "clock_step"
        assert bench.arms.position[0] < 0.1


def test_a_chunk_from_before_a_step_is_not_followed_after_it() -> None:
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    before = bench.now + bench.ros_offset
    bench.ros_offset += 3600.0
    bench.run(1.5)
    positions = np.tile(START, (8, 1))
    positions[:, 0] = 0.3
    bench.receive(ActionChunk(positions, 0.0, 0.1), before)
    bench.run(0.2)
    assert bench.loop.state().holding
    assert "planned before" in bench.loop.state().rejected_chunk


@pytest.mark.parametrize("step", [-3600.0, 0.3])
def test_a_calm_motion_waits_for_the_clock_and_goes_on(step: float) -> None:
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    goal = START.copy()
    goal[0] = 1.0
    motion = bench.loop.go_home(goal, speed=0.5)
    bench.run(1.2)
    bench.ros_offset += step
    bench.run(0.8)
    assert (bench.loop.state().phase, bench.loop.state().reason) == (Phase.PAUSED, "clock_step")
    assert bench.arms.position[0] < 0.7
    bench.run(4.0)
    assert motion.has_arrived
    assert bench.arms.position[0] == pytest.approx(1.0, abs=1e-3)
    assert_within_limits(bench)


def test_a_trajectory_does_not_go_on_after_a_step() -> None:
    bench = Bench()
    bench.loop.engage()
    bench.run(0.05)
    followed = bench.loop.grip(GripperGoal(6, 0.06, 0.01))
    bench.run(0.5)
    bench.ros_offset += 60.0
    bench.run(3.0)
    assert followed.has_ended
    assert not followed.has_arrived
    assert "ROS time stepped" in followed.why
    assert bench.arms.position[6] < 0.045
