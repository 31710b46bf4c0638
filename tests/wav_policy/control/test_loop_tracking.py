"""Commanded is not done: an arm that does not follow is noticed, held, and never jumps when it hears again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench, LaggingArms, PerfectArms
from wav_policy.control.loop_phases import Phase
from wav_policy.control.tracking import Tracking
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction
from wav_policy.robot.joints import JOINT_NAMES

FASTEST = 3.0 / RATE + 1e-9


class DeafArms(PerfectArms):
    """The joints of the left arm can ignore targets; once they hear again they go to the newest one at once."""

    is_deaf = False

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.sent = position.copy()
        before = self.position
        if self.is_deaf:
            position = np.concatenate([before[:6], position[6:]])
        super().write(position, mute)
        self.steps = [*getattr(self, "steps", []), np.abs(self.position - before).max()]
        return True, True


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.arms = bench.loop._arms = DeafArms(lambda: bench.now)
    bench.loop.engage()
    bench.run(0.05)
    return bench


def follow(bench: Any, goal: float, seconds: float) -> None:
    """A policy that goes on asking for a goal of the first joint."""
    for _ in range(round(seconds / 0.1)):
        chunk = bench.chunk(goal)
        chunk.positions[:, 0] = goal
        bench.loop.accept(chunk)
        bench.run(0.1)


@pytest.mark.parametrize("seconds", [1.5, 2.05, 3.0])
@pytest.mark.parametrize("goal", [0.15, 0.4, 1.5])
def test_a_deaf_arm_is_held_where_it_is_and_does_not_jump(bench: Any, goal: float, seconds: float) -> None:
    bench.arms.is_deaf = True
    follow(bench, goal, seconds)
    state = bench.loop.state()
    assert (state.phase, state.engaged, state.holding, state.reason) == (Phase.HELD, True, True, "not following")
    assert "left_joint1 does not follow" in state.detail
    assert "piper/enable" in state.detail
    np.testing.assert_allclose(bench.arms.sent[:6], START[:6], atol=1e-9)
    bench.arms.is_deaf = False
    follow(bench, goal, 1.0)
    np.testing.assert_allclose(bench.arms.position[0], START[0], atol=1e-9)
    assert max(bench.arms.steps) <= FASTEST
    assert bench.loop.engage()
    bench.run(0.1)
    follow(bench, goal, 3.0)
    assert bench.arms.position[0] == pytest.approx(goal, abs=0.03)
    assert max(bench.arms.steps) <= FASTEST


@pytest.mark.parametrize("seconds", [0.42, 1.5])
@pytest.mark.parametrize("reaction", [Reaction.HOLD, Reaction.PAUSE])
def test_a_joint_that_is_deaf_while_the_arms_hold_does_not_jump_either(
    bench: Any, reaction: Reaction, seconds: float
) -> None:
    """A loose cable: the joint stops at once, its target only after it has braked (0.4 s)."""
    bench.loop.accept(bench.chunk(1.6))
    bench.run(0.5)
    bench.arms.in_the_way = Inhibit(reaction, "joint communication", "left arm: no communication with joint1")
    bench.arms.is_deaf = True
    stopped_at = bench.arms.position[0]
    bench.run(seconds)
    assert bench.loop.state().phase is Phase.WAITING
    bench.arms.is_deaf = False
    bench.run(0.5)
    bench.arms.in_the_way = None
    bench.run(0.5)
    state = bench.loop.state()
    assert (state.phase, state.reason) == (Phase.FOLLOWING, "no_command")
    assert max(bench.arms.steps) <= FASTEST
    assert bench.arms.position[0] == pytest.approx(stopped_at)


@pytest.mark.parametrize("speed", [0.4, 1.0, 1.5])
def test_a_joint_that_falls_deaf_on_its_way_is_found_by_its_own_speed(bench: Any, speed: float) -> None:
    """However its target moves. From then on it does not jump: not even while the other arm still brakes."""
    chunk = bench.chunk(1.6 * speed, rows=16)
    chunk.positions[:, 7] = chunk.positions[:, 0]
    bench.loop.accept(chunk)
    bench.run(0.5)
    bench.arms.is_deaf, fell_deaf = True, bench.now
    while bench.loop.state().phase is Phase.FOLLOWING:
        assert bench.now - fell_deaf < 0.1 / speed + 0.32
        bench.run(1.0 / RATE)
    assert bench.loop.state().reason == "not following"
    bench.arms.is_deaf, stopped_at = False, bench.arms.position[0]
    bench.run(1.0)
    assert bench.arms.position[0] == pytest.approx(stopped_at)
    other = np.array([position[7] for position in bench.arms.writes])
    assert other[-1] == other[-2]
    assert np.abs(np.diff(other, 2)).max() * RATE**2 <= 5.0 + 1e-6, "braked within the limits"


@pytest.mark.parametrize("doing", ["following", "waiting"])
def test_joints_that_are_less_far_behind_do_not_jump_either(bench: Any, doing: str) -> None:
    bench.arms.is_deaf = True
    chunk = bench.chunk(0.3)
    chunk.positions[:, 1] -= 0.06
    bench.loop.accept(chunk)
    bench.run(0.4)
    if doing == "waiting":
        bench.arms.in_the_way = Inhibit(Reaction.HOLD, "joint communication", "left arm: no communication with joint1")
    bench.run(0.8)
    bench.arms.is_deaf, stopped_at = False, bench.arms.position.copy()
    bench.run(0.5)
    np.testing.assert_allclose(bench.arms.position[:6], stopped_at[:6], atol=1e-9)


class DeafJoint(LaggingArms):
    """Of arms that lag behind their targets the first joint can ignore them."""

    is_deaf = False

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.sent = [*getattr(self, "sent", []), position.copy()]
        return super().write(np.where(self.is_deaf & (np.arange(14) == 0), self.target, position), mute)


@pytest.mark.parametrize("lag", [0.1, 0.3])
def test_the_joints_that_hear_brake_within_their_limits(lag: float) -> None:
    """In the same arm too, however far behind their targets they are on their way."""
    bench: Any = Bench(lag)
    bench.arms = bench.loop._arms = DeafJoint(lambda: bench.now, lag)
    bench.loop.engage()
    bench.run(0.05)
    chunk = bench.chunk(1.6, rows=16)
    chunk.positions[:, 3] += 0.7 * np.linspace(0.1, 1.6, 16)
    bench.loop.accept(chunk)
    bench.run(0.5)
    bench.arms.is_deaf = True
    bench.run(1.5)
    assert bench.loop.state().reason == "not following"
    path = np.array(bench.arms.sent)[:, 1:]
    assert np.abs(np.diff(path, axis=0)).max() * RATE > 0.6
    assert np.abs(np.diff(path, 2, axis=0)).max() * RATE**2 <= 5.0 + 1e-6
    np.testing.assert_array_equal(path[-1], path[-2])


def test_error_and_time_are_told_before_it_holds(bench: Any) -> None:
    diagnostics = pytest.importorskip("wav_policy.nodes.arm_diagnostics", exc_type=ImportError)
    bench.arms.is_deaf = True
    follow(bench, 0.2, 0.4)
    report = bench.loop.state().tracking
    assert report.joint == "left_joint1"
    assert report.error == pytest.approx(0.2, abs=0.05)
    assert 0.0 < report.duration < 0.3
    told = {pair.key: pair.value for pair in diagnostics.describe_loop(bench.loop.state(), RATE).values}
    assert told["tracking_joint"] == "left_joint1"
    assert float(told["tracking_error_rad"]) == pytest.approx(report.error, abs=1e-3)
    assert float(told["tracking_lost_for_s"]) == pytest.approx(report.duration, abs=1e-3)


@pytest.mark.parametrize("lag", [0.05, 0.15, 0.3])
@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_an_arm_that_lags_on_its_way_is_not_accused(lag: float, speed: float) -> None:
    bench = Bench(lag)
    bench.loop.engage()
    bench.run(0.05)
    for _ in range(12):
        bench.loop.accept(bench.chunk(bench.arms.position[0] + 0.8 * speed))
        bench.run(0.1)
    bench.run(1.5)
    assert bench.loop.state().reason == "no_command"
    assert bench.arms.position[0] > 0.4


class LeaningArms(PerfectArms):
    """Something stands where the first joint of the left arm would get farther than 0.1 rad."""

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        return super().write(np.where(np.arange(14) == 0, np.minimum(position, 0.1), position), mute)


def test_a_joint_that_leans_on_something_has_a_way_back() -> None:
    """What the message names, each time; a policy that leads against it again is held again, and not for good."""
    bench = Bench()
    bench.arms = bench.loop._arms = LeaningArms(lambda: bench.now)
    assert bench.loop.engage()
    bench.run(0.05)
    for _ in range(2):
        follow(bench, 0.5, 1.5)
        state = bench.loop.state()
        assert (state.phase, state.reason) == (Phase.HELD, "not following")
        assert "take away what it leans on, then call piper/enable, and piper/home" in state.detail
        assert bench.loop.engage()
        bench.run(0.05)
    motion = bench.loop.go_home(START - 0.2, speed=0.5)
    bench.run(1.5)
    assert motion.has_arrived
    follow(bench, 0.05, 1.0)
    assert bench.loop.state().reason == ""
    assert bench.arms.position[0] == pytest.approx(0.05, abs=0.01)


class SlowArms(PerfectArms):
    """Their own controllers move them at 0.15 rad/s (`speed_percent` 5)."""

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        step = 0.15 / RATE
        return super().write(self.position + np.clip(position - self.position, -step, step), mute)


def test_an_arm_that_is_slow_is_not_accused() -> None:
    bench = Bench()
    bench.arms = bench.loop._arms = SlowArms(lambda: bench.now)
    bench.loop.engage()
    bench.run(0.05)
    follow(bench, 0.4, 2.0)
    assert bench.loop.state().phase is Phase.FOLLOWING
    assert bench.loop.state().tracking.error < 0.3


def test_a_home_motion_that_an_arm_ignores_ends(bench: Any) -> None:
    from tests.wav_policy.control.test_calm_motions import travelling

    bench.arms.is_deaf = True
    with travelling(bench, 1.0, speed=0.5) as arrived:
        bench.run(4.0)
    assert arrived == [False]
    assert bench.loop.state().phase is Phase.HELD


@pytest.mark.parametrize("away", [-1.0, 1.0])
def test_a_joint_that_moves_away_from_its_target_is_not_on_its_way(away: float) -> None:
    """It falls, or is pushed."""
    tracking, measured, target = Tracking(), START.copy(), START.copy()
    target[2] -= 0.2 * away
    for tick in range(80):
        measured[2] += away * 0.5 / RATE
        report = tracking.look((tick / RATE,) * 2, target, measured)
    assert report.is_lost
    assert report.joint == "left_joint3"


def test_the_joint_that_is_behind_for_longest_is_told() -> None:
    """Not the one that has just fallen behind too: the arms would be held late."""
    tracking, measured, target = Tracking(), START.copy(), START.copy()
    target[8] += 0.2
    for tick in range(80):
        if tick == 50:
            target[2] += 0.3
        report = tracking.look((tick / RATE,) * 2, target, measured)
    assert report.is_lost
    assert (report.joint, report.error) == ("right_joint2", pytest.approx(0.2))
    assert report.duration == pytest.approx(79 / RATE)


def test_grippers_that_hold_something_are_not_supervised(bench: Any) -> None:
    write = bench.arms.write

    def blocked(position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        return write(np.where(np.arange(14) % 7 == 6, np.maximum(position, START[6]), position), mute)  # type: ignore[no-any-return]

    bench.arms.write = blocked
    chunk = bench.chunk(0.1)
    chunk.positions[:, 6] = 0.0
    bench.loop.accept(chunk)
    bench.run(2.0)
    assert bench.loop.state().reason == "no_command"


class ServoArms(PerfectArms):
    """Their own controllers move them at 3 rad/s to where they seem to be told to be.

    Attributes:
        zeros: by how much the joints say more than is true, shape [14].
        really: where they are, shape [14].
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.zeros = np.zeros(14)
        self.really = START.copy()
        self.target = START.copy()
        self.then = clock()

    def read(self) -> JointReading:
        now, way = self.clock(), self.target - self.zeros - self.really
        step = 3.0 * (now - self.then)
        self.then, self.really = now, self.really + np.clip(way, -step, step)
        self.position = self.really + self.zeros
        return JointReading(self.position.copy(), np.zeros(14), (now, now))

    def write(self, position: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        self.target = np.where(np.repeat(mute, 7), self.target, position)
        self.writes.append(self.target)
        return True, True


@pytest.fixture
def servo() -> Any:
    bench: Any = Bench()
    bench.arms = bench.loop._arms = ServoArms(lambda: bench.now)
    bench.loop.engage()
    bench.run(0.1)
    return bench


def lose_zero(bench: Any, joint: int, by: float) -> None:
    """And see that no joint but this one notices, and that this one stays nearly where it is."""
    bench.arms.zeros[joint] = by
    before, sent = bench.arms.really.copy(), len(bench.arms.writes)
    bench.run(2.0)
    assert abs(bench.arms.really[joint] - before[joint]) < 0.06, "three ticks at 3 rad/s, and what it was about to do"
    others = np.delete(np.array(bench.arms.writes[sent - 2 :]), joint, axis=1)
    assert np.abs(np.diff(others, n=2, axis=0)).max() <= 5.0 / RATE**2 + 1e-9, (
        "an arm that is well brakes within limits"
    )


@pytest.mark.parametrize(
    ("doing", "joint", "by"),
    [("resting", 0, 0.2), ("resting", 8, 1.2), ("following", 0, -0.6), ("moving", 8, 0.2), ("waiting", 0, 1.2)],
)
def test_an_arm_that_loses_its_zero_does_not_run_after_its_target(
    servo: Any, doing: str, joint: int, by: float
) -> None:
    if doing == "following":
        servo.loop.accept(servo.chunk(0.4))
    elif doing == "moving":
        servo.loop._begin(START + 0.2, 0.5, True)
    elif doing == "waiting":
        servo.arms.in_the_way = Inhibit(Reaction.HOLD, "motor warning", "left arm: joint1: motor too hot")
    servo.run(0.2)
    lose_zero(servo, joint, by)
    state = servo.loop.state()
    assert (state.phase, state.reason) == (Phase.HELD, "jumped")
    assert f"{JOINT_NAMES[joint]} jumped to" in state.detail
    assert "piper/enable" in state.detail
    servo.arms.in_the_way = None
    servo.run(0.5)
    assert servo.loop.state().phase is Phase.HELD
    assert servo.loop.engage()
    servo.run(0.1)
    follow(servo, 0.1, 2.0)
    assert servo.arms.position[0] == pytest.approx(0.1, abs=0.03)


def test_it_does_not_either_while_the_other_arms_bus_is_full(servo: Any) -> None:
    write = servo.arms.write
    servo.arms.write = lambda position, mute: (write(position, (True, mute[1])), (False, True))[1]
    servo.run(0.5)
    lose_zero(servo, 8, 0.8)
    assert servo.loop.state().reason == "jumped"


def test_a_single_reading_from_elsewhere_is_no_lost_zero(servo: Any) -> None:
    servo.arms.zeros[0] = 0.6
    servo.run(1.0 / RATE)
    servo.arms.zeros[0] = 0.0
    servo.run(1.0)
    assert servo.loop.state().phase is Phase.FOLLOWING
    np.testing.assert_allclose(servo.arms.really, START, atol=0.03)
