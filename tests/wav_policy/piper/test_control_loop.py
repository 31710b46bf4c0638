"""The control loop over arms that obey at once."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from wav_models.types import ActionChunk, FloatArray
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.control_loop import ControlLoop
from wav_policy.piper.homing import MinimumJerkMotion
from wav_policy.piper.loop_statistics import LoopStatistics
from wav_policy.piper.obstacles import Obstacle, Reaction
from wav_policy.safety import SafetyLimits

START = np.array([0.0, 1.0, -1.0, 0.0, 0.5, 0.0, 0.03] * 2)
RATE = 200.0


class PerfectArms:
    """Where they were last told to be; can be made to fail or to go stale."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.position = START.copy()
        self.writes: list[FloatArray] = []
        self.error: Exception | None = None
        self.frozen_at: float | None = None
        self.in_the_way: Obstacle | None = None

    def obstacle(self) -> Obstacle | None:
        return self.in_the_way

    def read(self) -> JointReading:
        stamp = self.clock() if self.frozen_at is None else self.frozen_at
        return JointReading(self.position.copy(), np.zeros(14), stamp)

    def write(self, position: FloatArray) -> None:
        if self.error is not None:
            raise self.error
        self.writes.append(position)
        self.position = position


class LaggingArms(PerfectArms):
    """Come nearer to their target by a share of the rest: on their way they lag by speed times `lag` [s]."""

    def __init__(self, clock: Callable[[], float], lag: float) -> None:
        super().__init__(clock)
        self.lag = lag
        self.target = START.copy()
        self.then = clock()

    def read(self) -> JointReading:
        now, before = self.clock(), self.position
        elapsed, self.then = now - self.then, now
        self.position = before + (1.0 - np.exp(-elapsed / self.lag)) * (self.target - before)
        return JointReading(self.position.copy(), (self.position - before) / elapsed, now)

    def write(self, position: FloatArray) -> None:
        self.writes.append(position)
        self.target = position


class Bench:
    """A loop whose clock the test turns."""

    def __init__(self, lag: float = 0.0) -> None:
        self.now = 1_000.0
        self.arms = LaggingArms(lambda: self.now, lag) if lag else PerfectArms(lambda: self.now)
        self.faults: list[str] = []
        self.told: list[str] = []
        self.loop = ControlLoop(
            self.arms,
            RATE,
            SafetyLimits(),
            on_fault=self.faults.append,
            on_obstacle=self.told.append,
            clock=lambda: self.now,
        )

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * RATE)):
            self.now += 1.0 / RATE
            self.loop.tick()

    def chunk(self, joint0: float, rows: int = 8) -> ActionChunk:
        """An even motion of the first joint to `joint0` [rad]."""
        positions = np.tile(START, (rows, 1))
        positions[:, 0] = np.linspace(self.arms.position[0], joint0, rows + 1)[1:]
        return ActionChunk(positions, stamp=self.now, step=0.1)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def following(bench: Bench) -> Bench:
    """In the first half of a chunk of 2 s at 0.2 rad/s."""
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(0.4, rows=20))
    bench.run(0.5)
    assert not bench.loop.state().holding
    return bench


def test_nothing_is_written_before_engaging(bench: Bench) -> None:
    bench.loop.accept(bench.chunk(0.2))
    bench.run(0.5)
    assert bench.arms.writes == []
    assert bench.loop.state().reason == "not enabled"


def test_a_chunk_from_before_engaging_is_not_executed(bench: Bench) -> None:
    chunk = bench.chunk(0.2)
    bench.run(0.1)
    bench.loop.engage()
    bench.loop.accept(chunk)
    bench.run(0.5)
    np.testing.assert_array_equal(bench.arms.position, START)
    assert "before" in bench.loop.state().rejected_chunk


def test_follows_then_holds_at_the_end(following: Bench) -> None:
    state = following.loop.state()
    assert state.chunk_age == pytest.approx(0.5)
    assert following.arms.position[0] == pytest.approx(0.1, abs=0.005)
    following.run(2.0)
    assert following.loop.state().reason == "no_command"
    assert following.arms.position[0] == pytest.approx(0.4, abs=0.005)
    assert following.loop.state().timing.chunk_age_p99 == pytest.approx(2.0, abs=0.05)
    assert following.loop.state().interventions["no_command"] > 0


def test_targets_keep_the_limits(bench: Bench) -> None:
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(2.85, rows=8))  # 3.6 rad/s, beyond 150 deg
    bench.run(2.0)
    path = np.array([position[0] for position in bench.arms.writes])
    velocity = np.diff(path) * RATE
    assert 1.5 < path.max() <= np.radians(150)
    assert velocity.max() == pytest.approx(3.0)
    assert np.abs(velocity).max() <= 3.0 + 1e-9
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6


def test_limiting_is_told_with_joint_and_numbers(bench: Bench) -> None:
    """Also when the arms do not hold for it."""
    diagnostics = pytest.importorskip("wav_policy.nodes.arm_diagnostics", exc_type=ImportError)
    bench.loop.engage()
    bench.run(0.05)
    bench.loop.accept(bench.chunk(2.85, rows=8))
    bench.run(0.8)
    state = bench.loop.state()
    assert set(state.newest) == set(state.interventions) > {"velocity_limit", "position_limit"}
    told = {pair.key: pair.value for pair in diagnostics.describe_loop(state, RATE).values}
    assert re.search(r"left_joint1: needs [3-9]\.\d+ per second, limited to 3\.000", told["newest_velocity_limit"])
    assert re.search(r"left_joint1: commanded 2\.\d+ rad, limited to 2\.613\d rad", told["newest_position_limit"])
    bench.loop.engage()
    assert bench.loop.state().newest == {}


def test_a_malformed_chunk_ends_the_one_in_force(following: Bench) -> None:
    bad = following.chunk(0.4)
    bad.positions[2, 3] = np.nan
    following.loop.accept(bad)
    following.run(0.1)
    state = following.loop.state()
    assert state.reason == "no_command"
    assert "left_joint4" in state.rejected_chunk
    following.loop.accept(following.chunk(0.2))
    following.run(0.1)
    assert not following.loop.state().holding
    assert following.loop.state().rejected_chunk == ""


def test_stale_feedback_holds_and_recovers(following: Bench) -> None:
    following.arms.frozen_at = following.now
    following.run(0.3)
    state = following.loop.state()
    assert (state.reason, state.holding) == ("stale_measurement", True)
    assert "0.1" in state.detail
    following.arms.frozen_at = None
    following.run(0.1)
    assert not following.loop.state().holding
    assert following.loop.stop_reason is None


def test_an_error_latches_the_stop(following: Bench) -> None:
    following.arms.error = RuntimeError("cable cut")
    following.run(0.05)
    following.arms.error = None
    assert following.faults == ["RuntimeError: cable cut"]
    assert following.loop.state().reason == "stopped"
    assert following.loop.state().fault == "RuntimeError: cable cut"
    following.run(1.0)
    stopped_at = following.arms.position
    following.loop.accept(following.chunk(0.4))
    following.run(0.5)
    np.testing.assert_array_equal(following.arms.position, stopped_at)

    following.loop.reset()
    following.loop.accept(following.chunk(0.4))
    following.run(0.5)
    np.testing.assert_array_equal(following.arms.position, stopped_at)
    assert following.loop.state().reason == "not enabled"

    following.loop.engage()
    following.run(0.05)
    following.loop.accept(following.chunk(0.3))
    following.run(1.0)
    assert following.arms.position[0] == pytest.approx(0.3, abs=0.02)


def test_trip_stops_writing_at_once(following: Bench) -> None:
    count = len(following.arms.writes)
    following.loop.trip("piper/stop")
    following.run(0.5)
    assert len(following.arms.writes) == count
    assert following.loop.state().detail == "piper/stop"


def obstacle(reaction: Reaction) -> Obstacle:
    return Obstacle(reaction, "in the way", "left arm: in the way")


def test_an_obstacle_that_passes_brakes_holds_and_goes_on_with_a_new_chunk(following: Bench) -> None:
    following.arms.in_the_way = obstacle(Reaction.HOLD)
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


def test_an_arm_that_moved_behind_an_obstacle_is_taken_where_it_is(following: Bench) -> None:
    following.arms.in_the_way = obstacle(Reaction.HOLD)
    following.run(0.5)
    elsewhere = START + 0.3 * (START[6] != START)
    following.arms.position = elsewhere
    following.arms.in_the_way = None
    following.run(0.1)
    np.testing.assert_allclose(following.arms.writes[-1], elsewhere)


@pytest.mark.parametrize("lag", [0.06, 0.15])
@pytest.mark.parametrize("speed", [1.0, 2.0])
@pytest.mark.parametrize("ticks", [1, 40], ids=["one tick", "0.2 s"])
def test_an_obstacle_that_passes_while_the_arms_move_does_not_throw_them_back(
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
    bench.arms.in_the_way = obstacle(Reaction.HOLD)
    bench.run(ticks / RATE)
    bench.arms.in_the_way = None
    bench.loop.accept(bench.chunk(2.0))
    bench.run(1.5)
    assert bench.loop.state().holding, "planned while the arms were braking"
    assert bench.told == ["left arm: in the way", ""]
    bench.loop.accept(bench.chunk(bench.arms.position[0] + 0.1))
    bench.run(0.2)
    assert not bench.loop.state().holding
    velocity = np.diff(np.array(writes)[:, 0]) * RATE
    assert velocity.min() > -1e-6
    assert velocity.max() <= 3.0 + 1e-9
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6


def test_hold_ends_what_is_under_way_until_a_newer_chunk(following: Bench) -> None:
    older = following.chunk(0.4)
    following.run(0.1)
    following.loop.hold("the operator asked for it")
    following.run(0.5)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6, "braked within the limits"
    assert path[-1] == path[-2]
    assert following.loop.state().rejected_chunk == "the operator asked for it"
    following.loop.accept(older)
    following.run(0.1)
    assert following.loop.state().holding
    assert "planned before" in following.loop.state().rejected_chunk
    assert following.loop.stop_reason is None
    following.loop.accept(following.chunk(0.3))
    following.run(0.1)
    assert not following.loop.state().holding


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
    while bench.loop._motion is None:
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


def test_a_gripper_that_holds_something_keeps_its_target_behind_an_obstacle(following: Bench) -> None:
    target = following.arms.writes[-1][6]
    following.arms.in_the_way = obstacle(Reaction.HOLD)
    following.run(0.5)
    following.arms.position = following.arms.position.copy()
    following.arms.position[6] = target + 0.02  # it closed on an object
    following.arms.in_the_way = None
    following.run(0.1)
    assert following.arms.writes[-1][6] == pytest.approx(target)


def test_an_arm_that_left_our_control_needs_enable(following: Bench) -> None:
    following.arms.in_the_way = obstacle(Reaction.RELEASE)
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
    bench.arms.in_the_way = obstacle(Reaction.RELEASE)
    bench.run(0.1)
    assert len(bench.arms.writes) == count


def test_after_a_latched_stop_there_is_no_motion_to_wait_for(following: Bench) -> None:
    following.arms.in_the_way = obstacle(Reaction.STOP)
    following.run(0.5)
    began = time.monotonic()
    assert following.loop.park(START, speed=0.5) is False
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("ready", [True, False])
def test_enabled_again_a_gripper_under_power_keeps_its_grip(following: Bench, ready: bool) -> None:
    target = following.arms.writes[-1][6]
    following.loop.trip("test")
    following.loop.reset()
    measured = following.arms.position.copy()
    measured[[6, 13]] += 0.02  # both closed on objects
    following.arms.position = measured
    following.loop.engage((ready, False))
    following.run(0.1)
    assert following.arms.writes[-1][6] == pytest.approx(target if ready else target + 0.02)
    assert following.arms.writes[-1][13] == pytest.approx(START[13] + 0.02)


def test_lateness_counts_what_a_slow_tick_took_from_the_next() -> None:
    arms = PerfectArms(time.time)
    calls: list[float] = []

    def read() -> JointReading:
        calls.append(time.monotonic())
        time.sleep(0.1 if len(calls) == 3 else 0.0)
        return JointReading(START, np.zeros(14), time.time())

    arms.read = read  # type: ignore[method-assign]
    late: list[float] = []
    statistics = LoopStatistics()
    statistics.tick = lambda now, lateness: late.append(lateness)  # type: ignore[method-assign]
    loop = ControlLoop(arms, RATE, SafetyLimits(), statistics=statistics)
    loop.start()
    time.sleep(0.3)
    loop.close()
    assert late[3] >= 0.1 - 1.0 / RATE
    assert len(calls) <= 0.2 * RATE + 4, "lost ticks are not made up for"


def test_a_fault_of_the_arm_latches_the_stop(following: Bench) -> None:
    following.arms.in_the_way = obstacle(Reaction.STOP)
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
    following.arms.in_the_way = obstacle(Reaction.SILENCE)
    following.run(0.5)
    following.arms.in_the_way = None
    following.run(0.5)
    assert len(following.arms.writes) == count
    assert following.faults == ["left arm: in the way"]
    following.loop.reset()
    following.loop.engage()
    following.run(0.1)
    assert len(following.arms.writes) > count


def test_without_a_reading_the_loop_brakes_and_holds(following: Bench) -> None:
    following.arms.read = lambda: None  # type: ignore[method-assign, assignment, return-value]
    following.run(0.5)
    path = np.array([position[0] for position in following.arms.writes])
    assert np.abs(np.diff(path, 2)).max() * RATE**2 <= 5.0 + 1e-6
    assert following.loop.state().reason == "no_measurement"


def test_parking_moves_the_joints_and_not_the_grippers(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    goal = START.copy()
    goal[[0, 6, 13]] += [0.2, 0.04, -0.03]
    assert loop.park(goal, speed=0.8) is True
    np.testing.assert_allclose(arms.position[[6, 13]], START[[6, 13]])
    assert arms.position[0] == pytest.approx(0.2, abs=1e-3)


def test_an_error_while_reading_is_reported_once(bench: Bench) -> None:
    def fail() -> JointReading:
        raise OSError("gone")

    bench.arms.read = fail  # type: ignore[method-assign]
    bench.run(0.5)
    assert bench.faults == ["OSError: gone"]


@pytest.fixture
def running() -> Iterator[tuple[ControlLoop, PerfectArms]]:
    """A loop in its own thread and real time; how punctual depends on the machine."""
    arms = PerfectArms(time.time)
    loop = ControlLoop(arms, RATE, SafetyLimits(max_tick=1.0, max_measurement_age=5.0))
    loop.start()
    loop.engage()
    yield loop, arms
    loop.close()


def test_disengage_brakes_before_it_lets_go(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    positions = np.tile(START, (30, 1))
    positions[:, 0] = np.linspace(0.0, 2.5, 30)
    loop.accept(ActionChunk(positions, stamp=time.time() + 0.05, step=0.1))
    time.sleep(0.7)
    loop.disengage()
    assert arms.position[0] > 0.05
    assert abs(arms.writes[-1][0] - arms.writes[-2][0]) < 1e-6
    count = len(arms.writes)
    time.sleep(0.1)
    assert len(arms.writes) == count


def test_home_arrives_and_ignores_chunks(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    loop.accept(ActionChunk(np.tile(START - 0.2, (50, 1)), stamp=time.time() + 0.05, step=0.1))
    goal = START.copy()
    goal[[0, 8]] += [0.3, -0.2]
    assert loop.move_to(goal, speed=0.8) is True
    np.testing.assert_allclose(arms.position, goal, atol=1e-3)
    time.sleep(0.2)
    np.testing.assert_allclose(arms.position, goal, atol=1e-3)


def test_home_is_refused_after_a_stop(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, _ = running
    loop.trip("test")
    assert loop.move_to(START + 0.01, speed=0.5) is False


def test_rate_and_lateness_of_known_ticks() -> None:
    statistics = LoopStatistics()
    for tick in range(1000):
        statistics.tick(tick * 0.01, 0.005 if tick % 20 == 0 else 0.0001)
        statistics.chunk_age(0.3)
    report = statistics.report()
    assert report.rate == pytest.approx(100.0)
    assert report.lateness_p50 == pytest.approx(0.0001)
    assert report.lateness_p99 == pytest.approx(0.005)
    assert report.chunk_age_p99 == pytest.approx(0.3)


def test_the_running_loop_never_exceeds_its_rate(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, _ = running
    time.sleep(0.5)
    timing = loop.state().timing
    assert 0.1 * RATE < timing.rate < 1.05 * RATE
    assert timing.lateness_p50 >= 0.0


def test_minimum_jerk_is_at_rest_at_both_ends_and_keeps_its_speed() -> None:
    goal = START + 0.4
    motion = MinimumJerkMotion(START, goal, speed=0.5)
    tick = motion.duration / 2000
    path = np.array([motion.advance(tick if i else 0.0) for i in range(2001)])
    velocity = np.gradient(path, tick, axis=0)
    np.testing.assert_array_equal(path[0], START)
    np.testing.assert_allclose(path[-1], goal)
    assert np.abs(velocity[[0, -1]]).max() < 1e-3
    assert (np.abs(velocity) <= motion.velocity * (1.0 + 1e-6)).all()
    assert np.abs(velocity[:, 6]).max() == pytest.approx(0.05, rel=1e-2), "grippers count tenfold"
    np.testing.assert_array_equal(motion.advance(1.0), goal)
