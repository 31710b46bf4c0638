"""What of a trajectory goal is refused, with whom to blame, and which path the others become."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import START
from wav_models.types import FloatArray
from wav_policy.control.joint_trajectory import (
    MAX_POINTS,
    GoalCode,
    GoalError,
    JointPath,
    Reachable,
    TrajectoryGoal,
    goal_time,
    goal_tolerances,
    joints_of,
    make_path,
    path_tolerances,
)
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.robot.joints import GRIPPERS, JOINT_NAMES

LIMITS = SafetyLimits()
REACHABLE = Reachable.of(LIMITS.lower, LIMITS.upper, LIMITS)
REST = np.zeros(14)


def make_goal(
    names: list[str],
    times: list[float],
    rows: Any,
    velocities: Any = None,
    accelerations: Any = None,
    start: float = float("nan"),
    path: dict[str, tuple[float, float]] | None = None,
    end: dict[str, tuple[float, float]] | None = None,
    time: float = 0.0,
) -> TrajectoryGoal:
    def of(values: Any) -> FloatArray | None:
        return None if values is None else np.array(values, dtype=float).reshape(len(times), len(names))

    positions = of(rows)
    assert positions is not None
    return TrajectoryGoal(
        start,
        joints_of(names),
        np.array(times, dtype=float),
        positions,
        of(velocities),
        of(accelerations),
        path_tolerances(path or {}),
        goal_tolerances(end or {}),
        goal_time(time),
    )


def path_of(
    goal: TrajectoryGoal, elapsed: float = 0.0, position: FloatArray = START, velocity: FloatArray = REST
) -> JointPath:
    return make_path(goal, elapsed, position, velocity, REACHABLE)


ONE = ["left_joint1"]


@pytest.mark.parametrize(
    ("made", "code", "words"),
    [
        (lambda: make_goal([], [1.0], []), GoalCode.INVALID_GOAL, "names no joints"),
        (lambda: make_goal(ONE, [], []), GoalCode.INVALID_GOAL, "no points"),
        (
            lambda: make_goal(["joint1"], [1.0], [0.1]),
            GoalCode.INVALID_JOINTS,
            "no joint 'joint1'; there are left_joint1",
        ),
        (lambda: make_goal(ONE * 2, [1.0], [0.1, 0.1]), GoalCode.INVALID_JOINTS, "left_joint1 is named twice"),
        (
            lambda: make_goal([*JOINT_NAMES, *ONE * 100_000], [1.0], np.zeros(100_014)),
            GoalCode.INVALID_JOINTS,
            "100014 joints are named; there are 14",
        ),
        (lambda: make_goal(ONE, [1.0, 1.0], [0.1, 0.2]), GoalCode.INVALID_GOAL, "increase.*point 1 is due at 1 s"),
        (lambda: make_goal(ONE, [0.5, 2.0, 1.0], [0.1] * 3), GoalCode.INVALID_GOAL, "point 2 is due at 1 s"),
        (lambda: make_goal(ONE, [-1.0, 1.0], [0.1, 0.2]), GoalCode.INVALID_GOAL, "increase from 0 on: point 0"),
        (lambda: make_goal(ONE, [601.0], [0.1]), GoalCode.INVALID_GOAL, "takes 601 s; at most 600"),
        (lambda: make_goal(ONE, range(1, MAX_POINTS + 2), np.zeros(MAX_POINTS + 1)), GoalCode.INVALID_GOAL, "has 1001"),
        (lambda: make_goal(ONE, [1.0], [np.nan]), GoalCode.INVALID_GOAL, "point 0, left_joint1: positions has nan"),
        (lambda: make_goal(ONE, [1.0], [0.1], [np.inf]), GoalCode.INVALID_GOAL, "velocities has inf"),
        (lambda: make_goal(ONE, [1.0], [0.1], [0.2]), GoalCode.INVALID_GOAL, "must be at rest: left_joint1 has 0.2"),
        (lambda: make_goal(ONE, [1.0], [0.1], None, [0.0]), GoalCode.INVALID_GOAL, "need velocities"),
        (lambda: make_goal(ONE, [1.0], [0.1], path={"x": (1.0, 0.0)}), GoalCode.INVALID_JOINTS, "no joint 'x'"),
        (lambda: make_goal(ONE, [1.0], [0.1], end={ONE[0]: (np.nan, 0.0)}), GoalCode.INVALID_GOAL, "goal_tolerance of"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused_with_its_culprit(made: Any, code: GoalCode, words: str) -> None:
    with pytest.raises(GoalError) as refused:
        made()
    assert refused.value.code == code
    assert re.search(words, str(refused.value))


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (
            make_goal(["right_joint2"], [2.0, 4.0], [1.2, 3.2]),
            "point 1, right_joint2: 3.2000 is outside its limits, 0.0050 .. 3.1366",
        ),
        (make_goal(["left_gripper"], [2.0], [-0.002]), "left_gripper: -0.0020 is outside"),
        (make_goal(ONE, [0.2], [1.0]), "left_joint1 would move at 7.500.* at most 3 is allowed"),
        (make_goal(ONE, [0.3], [0.3]), "left_joint1 would accelerate by -?20.* 5 is its limit"),
        (
            make_goal(ONE, [0.0, 2.0], [0.1, 0.2]),
            "first point is due at once, but left_joint1 is at 0.000 rad and not at 0.100",
        ),
        (make_goal(["left_joint3"], [1.0, 2.0], [-0.1, -0.1], [1.5, 0.0]), "left_joint3 would pass its limits, at 0.1"),
    ],
)
def test_what_the_arms_may_not_do_is_refused_with_its_culprit(goal: TrajectoryGoal, words: str) -> None:
    with pytest.raises(GoalError) as refused:
        path_of(goal)
    assert refused.value.code == GoalCode.INVALID_GOAL
    assert re.search(words, str(refused.value))


def test_between_points_the_path_has_their_velocities_and_accelerations() -> None:
    """A polynomial of the order that the points determine is found again."""
    names, times = ["right_joint1", "left_joint4"], np.array([1.0, 2.0, 4.0])
    grid = np.linspace(0.0, 4.0, 41)
    for order, given in ((3, 2), (5, 3)):
        rng = np.random.default_rng(order)
        curves = [
            np.poly1d(np.append(rng.normal(size=order - 1) * 4.0 ** -np.arange(order, 1, -1), [0.0, 0.0]))
            for _ in names
        ]
        rest = [curve - np.poly1d([curve.deriv()(4.0) / 8.0, 0.0, 0.0]) for curve in curves]
        rest = [0.3 * each for each in rest]
        start = START.copy()
        start[[7, 3]] = 0.0
        columns = [
            np.stack([each.deriv(level)(times) if level else each(times) for each in rest], axis=1)
            for level in (0, 1, 2)
        ]
        if order == 5:
            # The path begins without acceleration.
            rest = [each - np.poly1d([each.deriv(2)(0.0) / 2.0, 0.0, 0.0]) for each in rest]
            slow = [each.deriv()(4.0) for each in rest]
            rest = [each - np.poly1d([end / 48.0, 0.0, 0.0, 0.0]) for each, end in zip(rest, slow, strict=True)]
            columns = [
                np.stack([each.deriv(level)(times) if level else each(times) for each in rest], axis=1)
                for level in (0, 1, 2)
            ]
        goal = make_goal(names, times.tolist(), columns[0], *columns[1:given])
        path = make_path(
            goal, 0.0, start, REST, Reachable(*(each * 1e3 for each in (-np.ones(14), *[np.ones(14)] * 4)))
        )
        for moment in grid:
            position, velocity = path.at(moment)
            np.testing.assert_allclose(position[[7, 3]], [each(moment) for each in rest], atol=1e-9)
            np.testing.assert_allclose(velocity[[7, 3]], [each.deriv()(moment) for each in rest], atol=1e-9)


def test_points_without_velocities_are_joined_smoothly_and_never_passed() -> None:
    rows = [0.5, 1.0, 0.4, 0.4]
    path = path_of(make_goal(ONE, [1.0, 2.0, 3.0, 4.0], rows))
    grid = np.linspace(0.0, 4.0, 801)
    position, velocity = (np.array(each)[:, 0] for each in zip(*(path.at(t) for t in grid), strict=True))
    assert [position[200 * i] for i in range(5)] == pytest.approx([0.0, *rows])
    assert velocity[0] == pytest.approx(0.0, abs=1e-12)
    assert velocity[-1] == pytest.approx(0.0, abs=1e-12)
    assert np.abs(np.diff(velocity)).max() < 0.03, "no step in velocity"
    assert position.max() <= 1.0 + 1e-12
    assert np.diff(position[:401]).min() >= -1e-12


def test_joints_in_any_order_and_the_others_stay() -> None:
    goal = make_goal(["right_joint2", "left_gripper", "left_joint1"], [2.0], [1.3, 0.01, -0.2])
    expected = START.copy()
    expected[[8, 6, 0]] = 1.3, 0.01, -0.2
    np.testing.assert_allclose(path_of(goal).end, expected)


def test_what_moves_goes_on_smoothly_and_joints_without_points_brake() -> None:
    velocity = REST.copy()
    velocity[[0, 7]] = 1.0, -1.0
    path = path_of(make_goal(ONE, [1.0], [0.5]), velocity=velocity)
    position, speed = path.at(0.0)
    assert (position[0], speed[0]) == pytest.approx((0.0, 1.0))
    assert path.end[7] == pytest.approx(START[7] - 0.1), "v^2 / 2a farther"
    assert speed[7] == 0.0


def test_a_goal_of_the_past_begins_with_what_is_left_of_it() -> None:
    goal = make_goal(ONE, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3])
    path = path_of(goal, elapsed=1.5)
    assert path.knots.tolist() == [1.5, 2.0, 3.0]
    assert path_of(goal, elapsed=1.99).knots.tolist() == [1.99, 3.0], "no time to get to the second"
    with pytest.raises(GoalError, match="last point was due 0.500 s ago") as refused:
        path_of(goal, elapsed=3.5)
    assert refused.value.code == GoalCode.OLD_HEADER_TIMESTAMP


def test_a_goal_of_the_future_waits_at_rest() -> None:
    path = path_of(make_goal(ONE, [1.0], [0.2]), elapsed=-2.0, velocity=np.full(14, 0.3))
    for moment in (-2.0, -1e-6):
        position, velocity = path.at(moment)
        np.testing.assert_array_equal(position, START)
        np.testing.assert_array_equal(velocity, REST)


def test_the_end_of_a_joints_range_is_a_point() -> None:
    """Of the mechanical range, as planners and URDFs have it; the arms go to the margin inside."""
    path = path_of(make_goal(["left_joint2", "left_gripper"], [3.0], [0.0, 0.07]))
    assert path.end[[1, 6]] == pytest.approx([LIMITS.lower[1], 0.07])


def test_a_joint_outside_its_limits_may_come_inside() -> None:
    outside = START.copy()
    outside[1] = -0.05
    assert path_of(make_goal(["left_joint2"], [2.0], [0.3]), position=outside).end[1] == pytest.approx(0.3)
    with pytest.raises(GoalError, match="left_joint2"):
        path_of(make_goal(["left_joint2"], [2.0], [-0.04]), position=outside)


def test_tolerances_mean_what_the_message_says() -> None:
    told = goal_tolerances({"left_joint1": (0.2, 0.0), "left_joint2": (-1.0, 0.3), "left_joint3": (0.0, -1.0)})
    assert told.position[:4].tolist() == [0.2, np.inf, 0.05, 0.05]
    assert told.velocity[:3].tolist() == [np.inf, 0.3, np.inf]
    assert np.isinf(told.position[GRIPPERS]).all()
    assert np.isinf(path_tolerances({}).position).all()
    assert (goal_time(0.0), goal_time(0.5), goal_time(-1.0)) == (2.0, 0.5, np.inf)


def test_the_largest_goal_costs_less_than_a_tick_may_be_late() -> None:
    """It is made in the control loop's thread; processor time."""
    times = np.linspace(0.1, 100.0, MAX_POINTS)
    rows = START + 0.05 * np.sin(times)[:, None] * np.ones(14)
    rows[:, 6] = rows[:, 13] = 0.03
    wave = 0.05 * np.cos(times)[:, None] * np.ones(14)
    wave[:, [6, 13]] = 0.0
    wave[-1] = 0.0
    goal = make_goal(list(JOINT_NAMES), times.tolist(), rows, wave, 0.0 * wave)
    path_of(goal)
    before = time.thread_time()
    path_of(goal)
    assert time.thread_time() - before < LIMITS.max_tick


def test_a_plan_to_where_the_arms_are_is_one_point_due_at_once() -> None:
    """As MoveIt sends it when it has nothing to do; others mean by it that a joint should jump."""
    names = ["left_joint1", "left_gripper"]
    path = make_path(make_goal(names, [0.0], [[0.04, 0.07]]), 0.0, START, REST, REACHABLE)
    assert path.end[[0, 6]] == pytest.approx([0.04, 0.07])
    assert path.at(0.0)[0] == pytest.approx(START)
    for elapsed in (0.0, -1.0):
        with pytest.raises(GoalError, match="the first point is due at once, but left_joint1 is at 0.000 rad"):
            make_path(make_goal(ONE, [0.0], [0.06]), elapsed, START, REST, REACHABLE)
    with pytest.raises(GoalError, match="nothing is left to be done"):
        make_path(make_goal(ONE, [0.0], [0.04]), 0.1, START, REST, REACHABLE)
