"""The way home and to the safe pose: calm whatever delays it, and ended by whatever must end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench, PerfectArms
from wav_models.types import ActionChunk
from wav_policy.control.calm_motion import HOME, CalmMotion
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.loop_phases import Phase
from wav_policy.control.minimum_jerk import MinimumJerkMotion
from wav_policy.piper.bimanual import JointReading


def test_hold_ends_a_calm_motion(bench: Bench) -> None:
    bench.loop.engage()
    bench.run(0.05)
    with travelling(bench, 0.5, speed=0.5) as arrived:
        bench.run(0.5)
        bench.loop.hold("the operator asked for it")
        bench.run(0.5)
    assert arrived == [False]
    assert 0.0 < bench.arms.position[0] < 0.4


@contextmanager
def travelling(bench: Bench, joint0: float, speed: float) -> Iterator[list[bool]]:
    """`move_to` a pose with the first joint at `joint0` [rad] is under way; its answer at the end."""
    goal = START.copy()
    goal[0] = joint0
    arrived: list[bool] = []
    mover = threading.Thread(target=lambda: arrived.append(bench.loop.move_to(goal, speed)))
    mover.start()
    while bench.loop._source.motion is None:
        time.sleep(0.001)
    yield arrived
    mover.join()


def stall(bench: Bench) -> None:
    bench.now += 0.3


def set_clock_forward(bench: Bench) -> None:
    bench.now += 10.0


def set_clock_back(bench: Bench) -> None:
    bench.now -= 10.0


def lose_feedback(bench: Bench) -> None:
    bench.arms.frozen_at = bench.now
    bench.run(0.4)
    bench.arms.frozen_at = None


@pytest.mark.parametrize("disturb", [stall, set_clock_forward, set_clock_back, lose_feedback])
@pytest.mark.parametrize("speed", [0.5, 0.8])
def test_a_calm_motion_that_was_delayed_does_not_hurry(
    bench: Bench, speed: float, disturb: Callable[[Bench], None]
) -> None:
    """Per tick, whatever the clock says: that is how often the arms get a new target."""
    bench.loop.engage()
    bench.run(0.05)
    with travelling(bench, 1.5, speed) as arrived:
        bench.run(1.2)
        disturb(bench)
        bench.run(6.0)
    assert arrived == [True]
    path = np.array(bench.arms.writes)[:, 0]
    assert path[-1] == pytest.approx(1.5, abs=1e-4)
    velocity = np.diff(path) * RATE
    assert velocity.min() > -1e-6
    assert velocity.max() == pytest.approx(speed, rel=1e-3)


@pytest.mark.parametrize("stall", [0.011, 0.02, 0.044, 0.06])
@pytest.mark.parametrize("between", [0.005, 0.01, 0.1])
def test_a_calm_motion_with_short_stalls_never_goes_back_nor_faster(bench: Bench, between: float, stall: float) -> None:
    bench.loop.engage()
    bench.run(0.05)
    times: list[float] = []
    write = bench.arms.write
    bench.arms.write = lambda position, mute: (times.append(bench.now), write(position, mute))[1]  # type: ignore[method-assign]
    began = len(bench.arms.writes)
    with travelling(bench, 1.5, speed=0.5) as arrived:
        bench.run(1.0)
        for _ in range(20):
            bench.run(between)
            bench.now += stall
        bench.run(6.0)
    assert arrived == [True]
    path = np.array(bench.arms.writes)[began:, 0]
    velocity = np.diff(path) / np.diff(times)
    assert velocity.min() > -1e-6
    assert velocity.max() <= 0.5 * (1.0 + 1e-3)


def test_a_calm_motion_slows_down_what_is_under_way(bench: Bench) -> None:
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(1.8, rows=12))
    bench.run(0.7)
    began = len(bench.arms.writes)
    with travelling(bench, 2.0, speed=0.5) as arrived:
        bench.run(6.0)
    assert arrived == [True]
    velocity = np.diff(np.array(bench.arms.writes)[:, 0]) * RATE
    assert velocity[began - 2] > 1.4
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6
    assert np.abs(velocity[began + round(0.25 * RATE) :]).max() <= 0.5 + 1e-9, "braked as fast as it may"


def test_parking_moves_the_joints_and_not_the_grippers(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    goal = START.copy()
    goal[[0, 6, 13]] += [0.2, 0.04, -0.03]
    asked = goal.copy()
    assert loop.park(goal, speed=0.8) is True
    np.testing.assert_array_equal(goal, asked)
    np.testing.assert_allclose(arms.position[[6, 13]], START[[6, 13]])
    assert arms.position[0] == pytest.approx(0.2, abs=1e-3)


def test_parking_does_not_let_go_of_what_is_held(running: tuple[ControlLoop, PerfectArms]) -> None:
    """A gripper closed on an object is farther open than its target."""
    loop, arms = running
    goal = START + 0.2 * (np.arange(14) == 0)
    read = arms.read

    def read_of_arms_that_hold_something() -> JointReading:
        told = read()
        told.position[6] += 0.02
        return told

    while not arms.writes:
        time.sleep(0.005)
    arms.read = read_of_arms_that_hold_something  # type: ignore[method-assign]
    assert loop.park(goal, speed=0.8)
    np.testing.assert_allclose(arms.writes[-1][[6, 13]], START[[6, 13]], atol=1e-6)


def test_nobody_waits_for_a_motion_of_a_loop_that_was_closed(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, _ = running
    goal, arrived = START + 0.3 * (np.arange(14) == 0), []
    waiting = threading.Thread(target=lambda: arrived.append(loop.move_to(goal, speed=0.05)), daemon=True)
    waiting.start()
    while loop.state().phase is not Phase.MOVING:
        time.sleep(0.005)
    loop.close()
    waiting.join(5.0)
    assert arrived == [False]


def test_home_arrives_and_ignores_chunks(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    loop.accept(ActionChunk(np.tile(START - 0.2, (50, 1)), stamp=time.monotonic() + 0.05, step=0.1))
    goal = START.copy()
    goal[[0, 8]] += [0.3, -0.2]
    assert loop.move_to(goal, speed=0.8) is True
    np.testing.assert_allclose(arms.position, goal, atol=1e-3)
    time.sleep(0.2)
    np.testing.assert_allclose(arms.position, goal, atol=1e-3)


def test_a_gripper_opens_as_far_as_it_does_where_home_is_wider(running: tuple[ControlLoop, PerfectArms]) -> None:
    """The stroke that an arm has in flash may be shorter than the pose says."""
    loop, arms = running
    goal = START.copy()
    goal[6] = 0.08
    assert loop.move_to(goal, speed=0.8) is True
    assert arms.position[6] == pytest.approx(0.07, abs=1e-4)
    goal[13] = 0.08
    assert loop.go_home(goal, 0.8).wait(2.0)
    assert arms.position[13] == pytest.approx(0.07, abs=1e-4)


def test_home_is_refused_after_a_stop(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, _ = running
    loop.trip("test")
    assert loop.move_to(START + 0.01, speed=0.5) is False


def test_minimum_jerk_is_at_rest_at_both_ends_and_keeps_its_speed() -> None:
    goal = START + 0.4
    motion = MinimumJerkMotion(START, goal, speed=0.5)
    tick = motion.duration / 2000
    path, told = np.array([motion.advance(tick if i else 0.0) for i in range(2001)]).swapaxes(0, 1)
    velocity = np.gradient(path, tick, axis=0)
    np.testing.assert_allclose(told[1:-1], velocity[1:-1], atol=1e-5)
    np.testing.assert_array_equal(path[0], START)
    np.testing.assert_allclose(path[-1], goal)
    assert np.abs(velocity[[0, -1]]).max() < 1e-3
    assert (np.abs(velocity) <= motion.velocity * (1.0 + 1e-6)).all()
    assert np.abs(velocity[:, 6]).max() == pytest.approx(0.05, rel=1e-2), "grippers count tenfold"
    np.testing.assert_array_equal(motion.advance(1.0), [goal, np.zeros(14)])


def test_whoever_waits_for_a_calm_motion_is_patient_for_as_long_as_it_takes() -> None:
    motion = CalmMotion(HOME, START, START + 0.5, 0.1)
    assert motion.duration > 5.0
    assert motion.duration < motion.patience < np.inf
