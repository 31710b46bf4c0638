"""What the control loop does while something is in the way of commanding, and after it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench
from wav_policy.control.loop_phases import Phase, Trigger
from wav_policy.piper.inhibits import Inhibit, Reaction


def inhibit(reaction: Reaction) -> Inhibit:
    return Inhibit(reaction, "in the way", "left arm: in the way")


def test_an_inhibit_that_passes_brakes_holds_and_goes_on_with_a_new_chunk(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.HOLD)
    following.run(0.5)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6, "braked within the limits"
    assert path[-1] == path[-2]
    state = following.loop.state()
    assert (state.engaged, state.holding, state.reason) == (True, True, "in the way")
    planned_meanwhile = following.chunk(0.4)
    following.run(0.1)
    following.arms.in_the_way = None
    following.run(0.1)
    following.loop.accept(planned_meanwhile)
    following.run(0.1)
    assert following.loop.state().holding, "planned on what was true before"
    following.loop.accept(following.chunk(0.3))
    following.run(0.1)
    assert not following.loop.state().holding


def test_an_arm_that_moved_a_little_behind_an_inhibit_is_taken_where_it_is(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.HOLD)
    following.run(0.5)
    elsewhere = following.arms.position + 0.03 * (START[6] != START)
    following.arms.position = elsewhere
    following.arms.in_the_way = None
    following.run(0.1)
    np.testing.assert_allclose(following.arms.writes[-1], elsewhere)


def test_an_arm_that_is_elsewhere_behind_an_inhibit_is_not_commanded_until_enable(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.HOLD)
    following.run(0.5)
    count = len(following.arms.writes)
    following.arms.write = lambda position, mute: (True, True)  # it is somebody else's
    for _ in range(30):
        following.arms.position = following.arms.position + 0.01 * (np.arange(14) == 8)
        following.run(0.01)
    elsewhere = following.arms.position.copy()
    following.arms.in_the_way = None
    following.run(0.1)
    del following.arms.write
    following.loop.accept(following.chunk(0.3))
    following.run(0.5)
    state = following.loop.state()
    assert (state.phase, state.engaged, state.reason) == (Phase.RELEASED, False, "not where it was")
    assert "right_joint2 is at 1.300 rad, but was left at 1.000 rad" in state.detail
    assert "piper/enable" in state.detail
    assert following.told == ["left arm: in the way", state.detail], "nothing says that it may go on"
    np.testing.assert_array_equal(following.arms.position, elsewhere)
    assert len(following.arms.writes) <= count + 1
    assert following.loop.engage()
    following.run(0.1)
    np.testing.assert_array_equal(following.arms.writes[-1], elsewhere)
    assert following.loop.state().reason == "no_command"


@pytest.mark.parametrize("lag", [0.06, 0.15])
@pytest.mark.parametrize("speed", [1.0, -2.0])
@pytest.mark.parametrize("ticks", [1, 40], ids=["one tick", "0.2 s"])
def test_an_inhibit_that_passes_while_the_arms_move_does_not_throw_them_back(
    speed: float, lag: float, ticks: int
) -> None:
    """Arms on their way lag their target: that is not having been moved."""
    bench = Bench(lag)
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(1.2 * speed, rows=12))
    bench.run(1.0)
    writes = bench.arms.writes
    assert (writes[-1] - writes[-2])[0] * RATE == pytest.approx(speed, rel=0.1)
    bench.arms.in_the_way = inhibit(Reaction.HOLD)
    bench.run(ticks / RATE)
    bench.arms.in_the_way = None
    bench.loop.accept(bench.chunk(2.0))
    bench.run(1.5)
    assert bench.loop.state().holding, "planned while the arms were braking"
    assert bench.told == ["left arm: in the way", ""]
    way = np.sign(speed)
    bench.loop.accept(bench.chunk(bench.arms.position[0] + 0.1 * way))
    bench.run(0.2)
    assert not bench.loop.state().holding
    velocity = way * np.diff(np.array(writes)[:, 0]) * RATE
    assert velocity.min() > -1e-6
    assert velocity.max() <= 3.0 + 1e-9
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6


@pytest.mark.parametrize("lag", [0.06, 0.15])
def test_arms_that_are_enabled_again_on_their_way_are_not_thrown_back(lag: float) -> None:
    bench = Bench(lag)
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(2.4, rows=12))
    bench.run(1.0)
    bench.loop._go(Trigger.DISENGAGE)
    for _ in range(round(2.0 * RATE)):
        bench.run(1.0 / RATE)
        if not bench.loop.state().engaged:
            break
    assert bench.loop.engage()
    bench.run(0.2)
    path = np.array(bench.arms.writes)[:, 0]
    assert path.max() > 2.0
    assert path.max() - path[-1] < 0.01


def test_a_gripper_that_holds_something_keeps_its_target_behind_an_inhibit(following: Bench) -> None:
    target = following.arms.writes[-1][6]
    following.arms.in_the_way = inhibit(Reaction.HOLD)
    following.run(0.5)
    following.arms.position = following.arms.position.copy()
    following.arms.position[6] = target + 0.02  # it closed on an object
    following.arms.in_the_way = None
    following.run(0.1)
    assert following.arms.writes[-1][6] == pytest.approx(target)


def test_an_arm_that_left_our_control_needs_enable(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.RELEASE)
    following.run(0.5)
    count = len(following.arms.writes)
    following.run(0.5)
    assert len(following.arms.writes) == count, "braked, then let go"
    following.arms.in_the_way = None
    following.loop.accept(following.chunk(0.4))
    following.run(0.5)
    state = following.loop.state()
    assert (state.engaged, state.reason, state.detail) == (False, "in the way", "left arm: in the way")
    assert len(following.arms.writes) == count
    following.loop.engage()
    following.run(0.1)
    following.loop.accept(following.chunk(0.3))
    following.run(0.5)
    assert following.loop.state().reason == ""


def test_an_arm_at_rest_that_left_our_control_gets_nothing_more(bench: Bench) -> None:
    bench.loop.engage()
    bench.run(0.1)
    count = len(bench.arms.writes)
    bench.arms.in_the_way = inhibit(Reaction.RELEASE)
    bench.run(0.1)
    assert len(bench.arms.writes) == count


def test_after_a_latched_stop_there_is_no_motion_to_wait_for(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.STOP)
    following.run(0.5)
    began = time.monotonic()
    assert following.loop.park(START, speed=0.5) is False
    assert time.monotonic() - began < 0.5


def test_a_fault_of_the_arm_latches_the_stop(following: Bench) -> None:
    following.arms.in_the_way = inhibit(Reaction.STOP)
    following.run(0.5)
    count = len(following.arms.writes)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6, "braked within the limits"
    following.arms.in_the_way = None
    following.run(0.5)
    assert following.faults == ["left arm: in the way"]
    assert following.loop.stop_reason == "left arm: in the way"
    assert len(following.arms.writes) == count, "braked, then not another set-point"
    state = following.loop.state()
    assert (state.engaged, state.reason) == (False, "stopped")


def test_where_another_master_speaks_not_one_more_set_point_is_sent(following: Bench) -> None:
    count = len(following.arms.writes)
    following.arms.in_the_way = inhibit(Reaction.SILENCE)
    following.run(0.5)
    following.arms.in_the_way = None
    following.run(0.5)
    assert len(following.arms.writes) == count
    assert following.faults == ["left arm: in the way"]
    following.loop.reset()
    following.loop.engage()
    following.run(0.1)
    assert len(following.arms.writes) > count
