"""The arms follow a trajectory through the safety filter: to its end, or to whatever ends it."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench
from tests.wav_policy.control.test_joint_trajectory import ONE, make_goal
from wav_policy.control.followed_trajectory import FollowedTrajectory
from wav_policy.control.joint_trajectory import GoalCode, GoalError, make_path
from wav_policy.control.loop_phases import Phase
from wav_policy.control.safety import SafetyLimits
from wav_policy.piper.inhibits import Inhibit, Reaction


@pytest.fixture
def held(bench: Bench) -> Bench:
    """Enabled; holds."""
    bench.loop.engage()
    bench.run(0.05)
    return bench


@pytest.fixture
def led(held: Bench) -> tuple[Bench, FollowedTrajectory]:
    """A second of a trajectory of two is over: the left joint 1 is on its way to 0.6 rad."""
    motion = held.loop.follow(make_goal(ONE, [2.0], [0.6]))
    held.run(1.0)
    assert held.arms.position[0] == pytest.approx(0.3, abs=0.02)
    return held, motion


def test_a_trajectory_is_followed_in_time_and_nothing_else_moves(held: Bench) -> None:
    names = ["right_joint1", "left_gripper"]
    motion = held.loop.follow(make_goal(names, [1.0, 2.0], [[0.2, 0.02], [0.5, 0.06]]))
    began = len(held.arms.writes)
    held.run(2.5)
    path = np.array(held.arms.writes)[began:]
    assert path[round(1.0 * RATE), [7, 6]] == pytest.approx([0.2, 0.02], abs=0.01)
    assert path[-1, [7, 6]] == pytest.approx([0.5, 0.06], abs=1e-4)
    others = [joint for joint in range(14) if joint not in (7, 6)]
    np.testing.assert_array_equal(path[:, others], np.tile(START[others], (len(path), 1)))
    assert (motion.has_arrived, motion.code, motion.why) == (True, GoalCode.SUCCESSFUL, "")
    assert held.loop.state().phase is Phase.FOLLOWING
    limits = SafetyLimits()
    velocity = np.diff(path[:, 7]) * RATE
    assert np.abs(velocity).max() <= limits.velocity[0]
    assert np.abs(np.diff(velocity)).max() * RATE <= limits.acceleration[0] + 1e-6


def test_it_is_told_where_it_is(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, motion = led
    assert bench.loop.state().commander == "follow_joint_trajectory"
    assert motion.progress is not None
    assert motion.progress.time == pytest.approx(1.0, abs=0.02)
    assert motion.progress.wanted[:, 0] == pytest.approx([0.3, 0.45], abs=0.01)
    bench.run(1.5)
    assert bench.loop.state().commander == ""


def trip(bench: Bench) -> None:
    bench.loop.trip("piper/stop")


def hold(bench: Bench) -> None:
    bench.loop.hold("held by request")


def let_go(bench: Bench) -> None:
    bench.loop.disengage()


def enable(bench: Bench) -> None:
    bench.loop.engage()


def inhibit(bench: Bench) -> None:
    bench.arms.in_the_way = Inhibit(Reaction.HOLD, "motor", "left arm: joint2: motor too hot")


def release(bench: Bench) -> None:
    bench.arms.in_the_way = Inhibit(Reaction.RELEASE, "mode", "left arm: in teach mode")


def fail(bench: Bench) -> None:
    bench.arms.error = RuntimeError("bus on fire")


def fall_silent(bench: Bench) -> None:
    bench.arms.frozen_at = bench.now


def step_clock(bench: Bench) -> None:
    bench.ros_offset += 1.0


def get_stuck(bench: Bench) -> None:
    position = bench.arms.position.copy()
    bench.arms.write = lambda target, mute: (True, True)  # type: ignore[method-assign]
    bench.arms.position = position


def lose_its_zero(bench: Bench) -> None:
    bench.arms.position[0] += 0.5
    bench.arms.write = lambda target, mute: (True, True)  # type: ignore[method-assign]


def close(bench: Bench) -> None:
    bench.loop.close()


@pytest.mark.parametrize(
    ("disturb", "why"),
    [
        (trip, "piper/stop"),
        (hold, "held by request"),
        (let_go, "asked to brake and let go"),
        (enable, "piper/enable"),
        (inhibit, "motor too hot"),
        (release, "in teach mode"),
        (fail, "RuntimeError: bus on fire"),
        (fall_silent, "left and right arm missed targets|stale_measurement"),
        (step_clock, "ROS time stepped by"),
        (get_stuck, "left_joint1"),
        (lose_its_zero, "left_joint1"),
        (close, "loop was closed"),
    ],
)
def test_whatever_makes_the_arms_hold_ends_it_and_is_named(
    led: tuple[Bench, FollowedTrajectory], disturb: Callable[[Bench], None], why: str
) -> None:
    bench, motion = led
    disturb(bench)
    bench.run(2.0)
    assert motion.has_ended
    assert not motion.has_arrived
    assert motion.code == GoalCode.INVALID_GOAL
    assert re.search(why, motion.why), motion.why
    assert bench.loop.state().commander == ""


def test_it_does_not_go_on_when_an_arm_is_heard_again(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, _ = led
    fall_silent(bench)
    bench.run(0.3)
    bench.arms.frozen_at = None
    bench.run(1.0)
    where = bench.arms.position.copy()
    bench.run(1.0)
    np.testing.assert_array_equal(bench.arms.position, where)


def test_cancelled_it_brakes_and_holds(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, motion = led
    bench.loop.end(motion, "canceled")
    began = len(bench.arms.writes)
    bench.run(1.0)
    path = np.array(bench.arms.writes)[began:, 0]
    assert motion.why == "canceled"
    assert np.diff(path).min() >= -1e-9
    assert path[-1] - path[0] < 0.45**2 / 10.0 + 0.005, "as fast as it may"
    assert path[-1] == path[-20]
    bench.loop.end(motion, "again")
    assert motion.why == "canceled"


def test_what_the_filter_does_not_follow_ends_it(bench: Bench) -> None:
    """The arms are led into each other."""
    bench.loop.engage()
    bench.run(0.05)
    goal = make_goal(["left_joint1", "left_joint2", "right_joint1", "right_joint2"], [4.0], [-1.2, 1.8, 1.2, 1.8])
    motion = bench.loop.follow(goal)
    bench.run(5.0)
    assert motion.code == GoalCode.PATH_TOLERANCE_VIOLATED
    assert "hold: collision: left gripper and right gripper" in motion.why
    assert not motion.has_arrived


def test_path_and_goal_tolerances_end_it_with_joint_and_numbers() -> None:
    bench = Bench(lag=0.15)
    bench.loop.engage()
    bench.run(0.05)
    motion = bench.loop.follow(make_goal(ONE, [2.0], [0.6], path={"left_joint1": (0.05, 0.0)}))
    bench.run(2.0)
    assert motion.code == GoalCode.PATH_TOLERANCE_VIOLATED
    assert re.search(
        r"path_tolerance: left_joint1 is 0\.05\d+ off in position at 0\.\d+ s; 0.05 is allowed", motion.why
    )
    bench.run(2.0)
    at = bench.arms.position[0]
    motion = bench.loop.follow(make_goal(ONE, [1.0], [at + 0.3], end={"left_joint1": (1e-4, 0.0)}, time=0.2))
    bench.run(1.5)
    assert motion.code == GoalCode.GOAL_TOLERANCE_VIOLATED
    assert re.search(r"goal_tolerance 0\.2\d* s after the end: left_joint1 is", motion.why)
    bench.run(2.0)
    at = bench.arms.position[0]
    motion = bench.loop.follow(make_goal(ONE, [1.0], [at - 0.3], end={"left_joint1": (1e-4, 0.0)}, time=-1.0))
    bench.run(4.0)
    assert motion.has_arrived, "as long as it takes"


def test_a_velocity_out_of_tolerance_ends_it(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, _ = led
    motion = bench.loop.follow(make_goal(ONE, [2.0], [0.6], path={"left_joint1": (0.0, 0.01)}))
    bench.run(1.0)  # these arms tell no velocity
    assert "off in velocity" in motion.why


def test_a_newer_goal_takes_over_smoothly_and_a_bad_one_does_not(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, motion = led
    with pytest.raises(GoalError, match="outside its limits"):
        bench.loop.follow(make_goal(["left_joint2"], [1.0], [9.0]))
    bench.run(0.1)
    assert not motion.has_ended
    newer = bench.loop.follow(make_goal(["left_joint1", "right_joint1"], [2.0], [0.0, 0.2]))
    assert (motion.has_arrived, motion.why) == (False, "replaced by a newer goal")
    bench.run(3.0)
    assert newer.has_arrived
    velocity = np.diff(np.array(bench.arms.writes)[:, 0]) * RATE
    assert np.abs(np.diff(velocity)).max() * RATE <= 5.0 + 1e-6


def test_one_has_the_arms_at_a_time(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, motion = led
    bench.loop.accept(bench.chunk(-1.0, rows=30))
    assert bench.loop.state().rejected_chunk == "follow_joint_trajectory has the arms"
    bench.run(0.1)
    assert bench.arms.position[0] > 0.3
    plan = bench.chunk(-1.0, rows=30)  # planned while it was followed
    bench.run(1.5)
    assert motion.has_arrived
    bench.loop.accept(plan)
    bench.run(0.5)
    assert bench.arms.position[0] == pytest.approx(0.6, abs=1e-3)
    bench.loop.accept(bench.chunk(0.8, rows=30))
    bench.run(0.5)
    assert bench.loop.state().commander == "action_chunk"
    assert bench.arms.position[0] > 0.61


def test_a_goal_ends_the_chunk_in_force_and_home_ends_a_goal(following: Bench) -> None:
    motion = following.loop.follow(make_goal(ONE, [2.0], [0.0]))
    following.run(0.5)
    assert following.loop.state().commander == "follow_joint_trajectory"
    from tests.wav_policy.control.test_calm_motions import travelling

    with travelling(following, 0.5, speed=0.5):
        while not motion.has_ended:
            pass
        assert motion.why == "piper/home has the arms now"
        with pytest.raises(GoalError, match="piper/home has the arms"):
            following.loop.follow(make_goal(ONE, [2.0], [0.0]))
        following.run(3.0)


def test_arms_that_are_not_enabled_follow_nothing(bench: Bench) -> None:
    bench.run(0.05)
    with pytest.raises(GoalError, match="not enabled"):
        bench.loop.follow(make_goal(ONE, [2.0], [0.5]))
    bench.loop.trip("piper/stop")
    with pytest.raises(GoalError, match="not to be moved: piper/stop"):
        bench.loop.follow(make_goal(ONE, [2.0], [0.5]))
    bench.run(1.0)
    assert bench.arms.writes == []


def test_all_of_a_path_is_held_against_the_limits_but_only_its_beginning_by_the_loop(held: Bench) -> None:
    """Ten milliseconds of a long one would make the loop late."""
    late = make_goal(ONE, [1.0, 2.0, 3.0, 3.05], [[0.1], [0.2], [0.3], [0.6]])
    with pytest.raises(GoalError, match=r"left_joint1 would (move|accelerate).* at 3.0"):
        held.loop.follow(late)
    make_path(late, 0.0, START, np.zeros(14), held.loop._reachable, is_checked=True)
    early = make_goal(ONE, [1.0, 1.05, 3.0, 4.0], [[0.1], [0.4], [0.3], [0.2]])
    with pytest.raises(GoalError, match="left_joint1 would"):
        make_path(early, 0.0, START, np.zeros(14), held.loop._reachable, is_checked=True)


def test_a_start_in_time(held: Bench) -> None:
    with pytest.raises(GoalError, match=r"begins in 11.0 s; at most 10 s"):
        held.loop.follow(make_goal(ONE, [1.0], [0.2], start=held.now + 11.0))
    motion = held.loop.follow(make_goal(ONE, [1.0], [0.2], start=held.now + 1.0))
    held.run(1.0)
    assert held.arms.position[0] == pytest.approx(0.0, abs=1e-6)
    held.run(1.2)
    assert motion.has_arrived
    late = held.loop.follow(make_goal(ONE, [0.5, 2.0], [0.3, 0.5], start=held.now - 1.0))
    held.run(1.0)
    assert held.arms.position[0] == pytest.approx(0.5, abs=1e-3)
    held.run(0.2)
    assert late.has_arrived


def test_late_ticks_are_not_made_up_for(led: tuple[Bench, FollowedTrajectory]) -> None:
    bench, motion = led
    before = motion.progress
    bench.now += 0.09
    bench.run(1.0 / RATE)
    after = motion.progress
    assert before is not None
    assert after is not None
    assert after.time - before.time == pytest.approx(1.0 / RATE)
    bench.run(2.0)
    assert motion.has_arrived, motion.why
