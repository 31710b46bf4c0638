"""A gripper opens and closes through the safety filter, and stops where it holds something."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import RATE, START, Bench, PerfectArms
from tests.wav_policy.control.test_joint_trajectory import ONE, make_goal
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.gripper_motion import GRIPPER_SPEED, GripperGoal
from wav_policy.control.joint_trajectory import GoalCode, GoalError
from wav_policy.piper.inhibits import Inhibit, Reaction

LEFT, RIGHT = 6, 13


@pytest.fixture
def held(bench: Bench) -> Bench:
    """Enabled; holds."""
    bench.loop.engage()
    bench.run(0.05)
    return bench


def put_between(bench: Bench, thickness: float) -> None:
    """The left gripper cannot close farther than that [m]."""
    write = bench.arms.write

    def obstructed(target: np.ndarray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        answer = write(target, mute)
        bench.arms.position = bench.arms.position.copy()
        bench.arms.position[LEFT] = max(bench.arms.position[LEFT], thickness)
        return answer

    bench.arms.write = obstructed  # type: ignore[method-assign]


def test_it_opens_calmly_and_nothing_else_moves(held: Bench) -> None:
    motion = held.loop.grip(GripperGoal(RIGHT, 0.07))
    began = len(held.arms.writes)
    held.run(0.3)
    assert held.loop.state().commander == "gripper_cmd"
    assert motion.progress is not None
    assert motion.progress.wanted[1, RIGHT] > 0.01
    held.run(1.5)
    assert (motion.has_arrived, motion.code, motion.why) == (True, GoalCode.SUCCESSFUL, "")
    path = np.array(held.arms.writes)[began:]
    assert path[-1, RIGHT] == pytest.approx(0.07, abs=1e-4)
    assert np.abs(np.diff(path[:, RIGHT])).max() * RATE <= GRIPPER_SPEED + 1e-9
    np.testing.assert_array_equal(np.delete(path, RIGHT, axis=1), np.tile(np.delete(START, RIGHT), (len(path), 1)))
    assert held.loop.state().commander == ""


def test_a_speed_is_kept_also_by_one_that_has_to_turn_round(held: Bench) -> None:
    held.loop.grip(GripperGoal(LEFT, 0.07, speed=0.4))
    held.run(0.1)
    motion = held.loop.grip(GripperGoal(LEFT, 0.0, speed=0.02))
    began = len(held.arms.writes)
    held.run(5.0)
    assert motion.has_arrived
    velocity = np.diff(np.array(held.arms.writes)[began:, LEFT]) * RATE
    assert velocity.max() > 0.1, "it was on its way"
    assert velocity.min() >= -0.02 - 1e-9


def test_what_the_filter_does_not_follow_ends_it(held: Bench) -> None:
    motion = held.loop.grip(GripperGoal(LEFT, 0.06))
    assert motion.judge(None, False, None, "collision: left gripper and table") is False
    assert (motion.code, motion.why) == (
        GoalCode.PATH_TOLERANCE_VIOLATED,
        "the arms hold: collision: left gripper and table",
    )


def test_where_it_holds_something_it_has_ended_and_goes_on_holding(held: Bench) -> None:
    put_between(held, 0.02)
    motion = held.loop.grip(GripperGoal(LEFT, 0.0))
    held.run(1.0)
    assert not motion.has_ended
    held.run(1.0)
    assert (motion.has_arrived, motion.code) == (False, GoalCode.GOAL_TOLERANCE_VIOLATED)
    assert motion.why == "left_gripper rests at 0.0200 m, 0.0200 m from where it should be"
    held.run(1.0)
    assert held.arms.writes[-1][LEFT] == pytest.approx(0.0, abs=1e-4), "its target still presses"


@pytest.mark.parametrize("joint", [LEFT, RIGHT])
def test_a_gripper_without_power_holds_nothing(held: Bench, joint: int) -> None:
    """It rests elsewhere, as one that holds something does."""
    put_between(held, 0.02)
    motion, read = held.loop.grip(GripperGoal(joint, 0.0)), held.arms.read
    held.arms.read = lambda: replace(read(), grippers_off=(joint == LEFT, joint == RIGHT))  # type: ignore[method-assign]
    held.run(0.2)
    assert not motion.has_ended, "one that was just enabled does not say so at once"
    held.run(0.3)
    assert (motion.has_ended, motion.code) == (True, GoalCode.PATH_TOLERANCE_VIOLATED)
    assert "gripper is off: it has tripped" in motion.why
    assert held.arms.writes[-1][joint] == held.arms.writes[-2][joint] == held.arms.position[joint]


def test_as_long_as_it_moves_it_is_waited_for() -> None:
    bench = Bench(lag=0.8)
    bench.loop.engage()
    bench.run(0.05)
    motion = bench.loop.grip(GripperGoal(LEFT, 0.07))
    bench.run(1.5)
    assert not motion.has_ended
    bench.run(4.0)
    assert motion.has_arrived


def test_others_that_are_under_way_brake_and_do_not_go_back(held: Bench) -> None:
    trajectory = held.loop.follow(make_goal(ONE, [2.0], [0.6]))
    held.run(1.0)
    began = len(held.arms.writes)
    motion = held.loop.grip(GripperGoal(LEFT, 0.06))
    assert trajectory.why == "replaced by a newer goal"
    held.run(2.0)
    assert motion.has_arrived
    path = np.array(held.arms.writes)[began:, 0]
    assert np.diff(path).min() >= -1e-6
    assert path[-1] - path[0] < 0.05


@pytest.mark.parametrize(
    ("position", "speed", "words"),
    [
        (0.2, 0.1, "left_gripper: 0.2000 is outside its limits, 0.0000 .. 0.0700"),
        (-0.01, 0.1, "is outside its limits"),
        (float("nan"), 0.1, "position nan"),
        (float("inf"), 0.1, "is outside its limits"),
        (0.05, 0.0, "speed 0"),
        (0.05, float("nan"), "speed nan"),
    ],
)
def test_what_cannot_be_done_is_refused(held: Bench, position: float, speed: float, words: str) -> None:
    with pytest.raises(GoalError, match=re.escape(words)):
        held.loop.grip(GripperGoal(LEFT, position, speed))
    assert held.loop.state().commander == ""


def test_what_makes_the_arms_hold_ends_it_for_good(held: Bench) -> None:
    motion = held.loop.grip(GripperGoal(LEFT, 0.07))
    held.run(0.3)
    held.arms.in_the_way = Inhibit(Reaction.HOLD, "motor", "left arm: joint2: motor too hot")
    held.run(0.5)
    held.arms.in_the_way = None
    held.run(0.5)
    where = held.arms.position[LEFT]
    assert "motor too hot" in motion.why
    assert motion.code == GoalCode.INVALID_GOAL
    held.run(1.0)
    assert held.arms.position[LEFT] == where < 0.06


def test_who_has_the_arms_on_a_calm_motion_keeps_them_and_home_takes_over_from_a_goal(held: Bench) -> None:
    gripper = held.loop.grip(GripperGoal(LEFT, 0.07))
    held.run(0.2)
    pose = START.copy()
    pose[0] = 0.2
    home = held.loop.go_home(pose, 0.5)
    assert gripper.why == "replaced by a newer goal"
    held.run(0.2)
    assert home.progress is not None
    assert held.loop.state().commander == "piper/home"
    for begin in (lambda: held.loop.grip(GripperGoal(LEFT, 0.07)), lambda: held.loop.go_home(pose, 0.5)):
        with pytest.raises(GoalError, match="piper/home has the arms"):
            begin()
    held.run(1.5)
    assert (home.has_arrived, home.code) == (True, GoalCode.SUCCESSFUL)
    np.testing.assert_allclose(held.arms.position, pose, atol=1e-4)


def test_the_service_home_and_parking_end_a_home_that_is_under_way(held: Bench) -> None:
    home = held.loop.go_home(START + 0.02, 0.5)
    held.run(0.1)
    held.loop._begin(START.copy(), 0.5, keeps_grippers=True)
    assert (home.has_arrived, home.why) == (False, "parking has the arms now")
    assert held.loop.state().commander == "parking"


def test_no_goal_begins_at_a_reading_that_no_second_one_confirms(bench: Bench) -> None:
    bench.run(0.05)
    bench.loop.engage()
    with pytest.raises(GoalError, match="not been measured yet"):
        bench.loop.grip(GripperGoal(LEFT, 0.05))
    bench.run(0.05)
    assert not bench.loop.grip(GripperGoal(LEFT, 0.05)).has_ended


def test_arms_that_are_enabled_have_been_measured(running: tuple[ControlLoop, PerfectArms]) -> None:
    loop, arms = running
    loop.disengage()
    loop.engage()
    motion = loop.grip(GripperGoal(LEFT, 0.04))
    assert motion.wait(2.0)
    assert arms.position[LEFT] == pytest.approx(0.04, abs=1e-3)


@pytest.mark.parametrize("end", ["hold", "stop", "enable"])
def test_what_was_asked_for_before_the_arms_were_held_does_not_begin_after_it(
    held: Bench, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it was on its way to the loop."""
    loop, asked = held.loop, held.now
    held.run(0.05)
    if end == "hold":
        loop.hold("held by request")
    if end == "stop":
        loop.trip("piper/stop")
        loop.reset()
    if end != "hold":
        loop.engage()
    held.run(0.05)
    for begin in (
        lambda: loop.follow(make_goal(ONE, [2.0], [0.6]), asked),
        lambda: loop.grip(GripperGoal(LEFT, 0.07), asked),
        lambda: loop.go_home(START + 0.02, 0.5, asked),
    ):
        with pytest.raises(GoalError, match="while this waited"):
            begin()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_begin", lambda *_, **__: pytest.fail("it begins"))
        assert not loop.move_to(START + 0.02, 0.5, asked)
        assert not loop.park(START + 0.02, 0.5, asked)
    held.run(0.2)
    np.testing.assert_array_equal(held.arms.position, START)
    assert not loop.go_home(START + 0.02, 0.5, held.now).has_ended
