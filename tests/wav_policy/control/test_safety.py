"""Whatever goes in, what comes out is finite, inside all limits, and stands still when it must."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wav_policy.control.filtered import (
    ACCELERATION,
    FAR,
    LIMITS,
    LOWER,
    MIDDLE,
    TICK,
    TOLERANCE,
    UPPER,
    VELOCITY,
    causes,
    follow,
)
from wav_models.configuration import flat_hints, from_flat
from wav_models.types import FloatArray
from wav_policy.control.safety import Cause, SafetyFilter, SafetyLimits
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

# Any input at all

garbage_numbers = st.sampled_from([math.nan, math.inf, -math.inf, 1e308, -1e308, 1e6, -3.0, 0.0, 5e-324])


@st.composite
def vectors(draw: st.DrawFn) -> object:
    """None, nonsense, a vector with garbage in it, or plain joint positions on both sides of the limits."""
    kind = draw(st.sampled_from(["none", "nonsense", "garbage", "plain", "plain", "plain", "plain"]))
    if kind == "none":
        return None
    if kind == "nonsense":
        return draw(
            st.sampled_from([np.zeros(13), np.zeros((14, 1)), "left", [0.0] * 15, {}, np.array(None), [[]], b"\0"])
        )
    values = np.random.default_rng(draw(st.integers(0, 2**31))).uniform(-4.0, 4.0, JOINT_DIM)
    if draw(st.booleans()):  # where a measurement is believed
        values = np.clip(values, LOWER - TOLERANCE, UPPER + TOLERANCE)
    if kind == "garbage":
        values[draw(st.integers(0, JOINT_DIM - 1))] = draw(garbage_numbers)
    return values


steps = st.tuples(
    st.one_of(st.floats(1e-4, 0.2), st.sampled_from([TICK, TICK, 0.0, -0.3, math.nan, 10.0])),  # time since last tick
    vectors(),  # command
    st.one_of(st.just("echo"), st.just("echo"), vectors()),  # measurement; "echo": where the target is
    st.sampled_from([0.0, 0.0, 0.05, 0.5, math.nan, -5.0]),  # age of the measurement
    st.sampled_from([None, 0.0, 1.0, 5.0, math.inf]),  # age of the command
    st.sampled_from([None, None, 0.1]),  # how fast it may be followed
    st.sampled_from(["", "", "", "", "trip"]),
    st.integers(1, 30),  # ticks this goes on
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=1, max_size=12), st.booleans())
def test_any_input_gives_a_finite_target_inside_all_limits(sequence: list, far: bool) -> None:
    safety = SafetyFilter(FAR if far else LIMITS)
    now, position, velocity, last = 100.0, MIDDLE.copy(), np.zeros(JOINT_DIM), 0.0
    latched = False
    for elapsed, command, measured, measured_age, command_age, speed, event, repeats in sequence:
        if event:
            safety.trip(event)
        for _ in range(repeats):
            before, now = now, (now + elapsed if math.isfinite(elapsed) else now)
            asked_at = now if math.isfinite(elapsed) else elapsed
            measurement = position if isinstance(measured, str) and measured == "echo" else measured
            stamp = None if command_age is None else now - command_age
            slow = None if speed is None else np.full(JOINT_DIM, speed)
            target = safety.step(asked_at, command, measurement, now - measured_age, stamp, slow).target
            if target is None:
                assert not latched
                continue
            assert np.isfinite(target).all()
            if latched:
                assert (target >= np.minimum(LOWER, position)).all(), "outside its limits a joint may only move inwards"
                assert (target <= np.maximum(UPPER, position)).all()
                check_motion(target - position, velocity, now - before, last, math.isfinite(elapsed))
            else:
                np.testing.assert_array_equal(target, measurement)
            moved = latched and now - before >= 1e-6
            if moved:
                last = min(now - before, LIMITS.max_tick)
                velocity = (target - position) / last
            position, latched = target, True


def check_motion(change: FloatArray, velocity: FloatArray, elapsed: float, last: float, is_time: bool) -> None:
    """A tick of `elapsed` s after one of `last` s at `velocity`: accelerations are between the middles of the two."""
    if not is_time or elapsed < 1e-6:
        assert not change.any()
        return
    if elapsed > LIMITS.max_tick:  # continues from rest
        velocity, elapsed, last = np.zeros(JOINT_DIM), LIMITS.max_tick, 0.0
    new_velocity = change / elapsed
    # Positions of some rad and times of 100 s carry roundings of 4e-16 and 1.4e-14, which short ticks magnify.
    rounding = (1e-15 + 1e-13) / elapsed
    assert (np.abs(new_velocity) <= VELOCITY + rounding).all()
    time_between = (elapsed + last) / 2.0
    slack = 1e-6 + 2.0 * (rounding + 1e-13 / max(last, 1e-6)) / time_between
    assert (np.abs(new_velocity - velocity) / time_between <= ACCELERATION + slack).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.lists(vectors(), min_size=1, max_size=5))
def test_nothing_moves_once_stopped(seed: int, commands: list) -> None:
    safety = SafetyFilter(FAR)
    generator = np.random.default_rng(seed)
    follow(safety, list(generator.uniform(LOWER, UPPER, (100, JOINT_DIM))))
    safety.trip("emergency stop")
    rest, _ = follow(safety, [MIDDLE] * 140, start=101.0)  # 3 rad/s at 5 rad/s^2: at rest after 0.6 s
    for i, command in enumerate(commands):
        now = 103.0 + i * TICK
        decision = safety.step(now, command, generator.uniform(LOWER, UPPER), now, now)
        assert decision.holding
        assert Cause.STOPPED in causes(decision)
        np.testing.assert_array_equal(decision.target, rest[-1])


# Motion


@pytest.mark.parametrize("direction", [1.0, -1.0])
@pytest.mark.parametrize("goal_moves", [False, True], ids=["jump", "ramp"])
def test_braking_in_time_keeps_the_target_from_overshooting_its_limit(direction: float, goal_moves: bool) -> None:
    """At full speed towards a limit, in ticks of irregular length: the goal is beyond it, or runs through it."""
    start, end = (LOWER, UPPER) if direction > 0.0 else (UPPER, LOWER)
    generator = np.random.default_rng(0)
    safety = SafetyFilter(FAR)
    safety.step(100.0, None, start, 100.0)
    now, position, velocity, top_speed, last = 100.0, start.copy(), np.zeros(JOINT_DIM), np.zeros(JOINT_DIM), 0.0
    while now < 110.0:
        elapsed = generator.uniform(0.001, 0.04)
        now += elapsed
        command = start + direction * VELOCITY * (now - 100.0) if goal_moves else end + 5.0 * direction
        target = safety.step(now, command, position, now).target
        assert target is not None
        check_motion(target - position, velocity, elapsed, last, True)
        velocity, position, last = (target - position) / elapsed, target, elapsed
        top_speed = np.maximum(top_speed, np.abs(velocity))
    joints = [i for i in range(JOINT_DIM) if i % 7 != 6]
    np.testing.assert_allclose(top_speed[joints], 3.0, atol=0.2)
    np.testing.assert_allclose(position, end, atol=1e-6)


def test_a_feasible_motion_is_followed_exactly() -> None:
    times = np.arange(0.0, 3.0, TICK)[:, None]
    amplitude = np.tile([0.3] * 6 + [0.02], 2)
    commands = MIDDLE + amplitude * (1.0 - np.cos(2.0 * times)) / 2.0
    targets, decisions = follow(SafetyFilter(), list(commands))
    assert np.abs(targets - commands)[20:].max() < 1e-9
    assert not any(d.interventions for d in decisions[20:])


def test_a_jump_is_approached_without_overshoot() -> None:
    goal = MIDDLE + np.tile([0.4] * 6 + [0.02], 2)
    targets, decisions = follow(SafetyFilter(), [goal] * 300)
    assert (targets <= goal + 1e-9).all()
    np.testing.assert_allclose(targets[-1], goal, atol=1e-6)
    assert any(Cause.ACCELERATION_LIMIT in causes(d) for d in decisions)


def test_a_command_that_is_to_be_followed_slowly_is() -> None:
    """Also one that is far ahead; and what is faster slows down as hard as it may."""
    slow = np.full(JOINT_DIM, 0.4)
    safety = SafetyFilter(FAR)
    fast, _ = follow(safety, [UPPER] * 100)
    path = [fast[-2], fast[-1]]
    for i in range(100, 400):
        now = 100.0 + i * TICK
        path.append(safety.step(now, UPPER, path[-1], now, now, slow).target)
    velocity = np.diff(path, axis=0)[:, :6] / TICK
    assert velocity[0].max() > 2.0
    assert np.abs(np.diff(velocity, axis=0)).max() / TICK <= 5.0 + 1e-6
    np.testing.assert_allclose(velocity[120:, 0], 0.4)


def test_losing_the_command_brakes_smoothly_and_holds_there() -> None:
    safety = SafetyFilter(FAR)
    targets, decisions = follow(safety, [UPPER] * 100 + [None] * 200)
    velocity = np.diff(targets, axis=0) / TICK
    acceleration = np.diff(velocity, axis=0) / TICK
    assert velocity[98].max() > 2.0, "the arm was moving fast"
    assert (np.abs(acceleration) <= ACCELERATION + 1e-6).all()
    assert not velocity[-50:].any()
    assert all(d.holding and Cause.NO_COMMAND in causes(d) for d in decisions[100:])


def test_a_late_tick_continues_from_rest() -> None:
    safety = SafetyFilter(FAR)
    targets, _ = follow(safety, [UPPER] * 100)
    decision = safety.step(101.0, UPPER, targets[-1], 101.0)
    assert Cause.LATE_TICK in causes(decision)
    assert decision.target is not None
    assert (np.abs(decision.target - targets[-1]) <= ACCELERATION * LIMITS.max_tick**2 + 1e-12).all()


# Single causes

BAD_MEASUREMENT = [
    (Cause.NO_MEASUREMENT, None, 0.0),
    (Cause.MALFORMED_MEASUREMENT, np.zeros(13), 0.0),
    (Cause.NON_FINITE_MEASUREMENT, np.where(np.arange(JOINT_DIM) == 3, np.nan, MIDDLE), 0.0),
    (Cause.STALE_MEASUREMENT, MIDDLE, 0.2),
    (Cause.STALE_MEASUREMENT, MIDDLE, -0.2),
    (Cause.STALE_MEASUREMENT, MIDDLE, np.nan),
    (Cause.IMPLAUSIBLE_MEASUREMENT, np.where(np.arange(JOINT_DIM) == 3, 7.0, MIDDLE), 0.0),
]


@pytest.mark.parametrize(("cause", "measured", "age"), BAD_MEASUREMENT)
def test_a_bad_measurement_holds_and_says_why(cause: Cause, measured: FloatArray | None, age: float) -> None:
    assert SafetyFilter().step(100.0, MIDDLE, measured, 100.0 - age).target is None, "nothing to hold on to yet"
    safety = SafetyFilter()
    safety.step(100.0, MIDDLE, MIDDLE, 100.0)
    decision = safety.step(100.0 + TICK, MIDDLE + 0.01, measured, 100.0 + TICK - age)
    assert decision.holding
    assert causes(decision) == {cause}
    np.testing.assert_array_equal(decision.target, MIDDLE)
    if cause in (Cause.NON_FINITE_MEASUREMENT, Cause.IMPLAUSIBLE_MEASUREMENT):
        assert decision.interventions[0].detail.startswith("left_joint4: ")


BAD_COMMAND = [
    (Cause.NO_COMMAND, None, 0.0),
    (Cause.MALFORMED_COMMAND, np.zeros(7), 0.0),
    (Cause.NON_FINITE_COMMAND, np.where(np.arange(JOINT_DIM) == 9, np.inf, MIDDLE), 0.0),
    (Cause.STALE_COMMAND, MIDDLE + 0.01, 2.5),
    (Cause.STALE_COMMAND, MIDDLE + 0.01, -2.5),
    (Cause.STALE_COMMAND, MIDDLE + 0.01, np.nan),
    (Cause.IMPLAUSIBLE_COMMAND, np.where(np.arange(JOINT_DIM) == 9, 4.0, MIDDLE), 0.0),
]


@pytest.mark.parametrize(("cause", "command", "age"), BAD_COMMAND)
def test_a_bad_command_holds_and_says_why(cause: Cause, command: FloatArray | None, age: float) -> None:
    safety = SafetyFilter()
    safety.step(100.0, MIDDLE, MIDDLE, 100.0)
    decision = safety.step(100.0 + TICK, command, MIDDLE, 100.0 + TICK, 100.0 + TICK - age)
    assert decision.holding
    assert causes(decision) == {cause}
    np.testing.assert_array_equal(decision.target, MIDDLE)


def restricted(command: FloatArray, limits: SafetyLimits = LIMITS) -> dict[Cause, tuple[str, float, float]]:
    safety = SafetyFilter(limits)
    safety.step(100.0, None, MIDDLE, 100.0)
    decision = safety.step(100.0 + TICK, command, MIDDLE, 100.0 + TICK)
    assert not decision.holding
    return {i.cause: (i.joint, i.requested, i.allowed) for i in decision.interventions}


def test_position_limit_and_gripper_range_name_joint_and_numbers() -> None:
    command = MIDDLE.copy()
    command[8], command[13] = 3.4, 0.09
    found = restricted(command, FAR)
    assert found[Cause.POSITION_LIMIT] == (JOINT_NAMES[8], 3.4, pytest.approx(math.pi - 0.005))
    assert found[Cause.GRIPPER_RANGE] == ("right_gripper", 0.09, 0.07)


def test_a_command_far_from_the_arm_is_pulled_towards_it() -> None:
    command = MIDDLE.copy()
    command[2] += 0.8
    found = restricted(command)
    assert found[Cause.STEP_CHANGE] == (JOINT_NAMES[2], pytest.approx(command[2]), pytest.approx(MIDDLE[2] + 0.5))
    blocked, _ = follow(SafetyFilter(), [command] * 400, measured=MIDDLE)
    assert blocked[-1, 2] == pytest.approx(MIDDLE[2] + 0.5), "an arm that does not move is not wound up"


def test_reset_holds_where_the_arm_is_now() -> None:
    safety = SafetyFilter()
    follow(safety, [MIDDLE] * 3)
    safety.trip("first")
    safety.trip("second")
    assert safety.stop_reason == "first"
    fallen = MIDDLE - np.tile([0.6] * 6 + [0.0], 2)
    assert safety.step(100.1, MIDDLE, fallen, 100.1).holding
    safety.reset()
    assert safety.step(100.2, None, None, 100.2).target is None, "held nowhere before the arm has been seen"
    decision = safety.step(100.3, None, fallen, 100.3)
    np.testing.assert_array_equal(decision.target, fallen)
    assert safety.stop_reason is None


def outside_by(excess: float) -> FloatArray:
    """Joints 2 and 3 of a folded left arm, which rest on their limits at 0, that far outside them [rad]."""
    position = MIDDLE.copy()
    position[1:3] = [LOWER[1] - excess, UPPER[2] + excess]
    return position


def test_an_arm_slightly_outside_its_limits_starts_where_it_is_and_moves_only_inwards() -> None:
    outside = outside_by(0.095)
    safety = SafetyFilter(FAR)
    targets, decisions = follow(safety, [None] * 20, measured=outside)
    np.testing.assert_array_equal(targets, np.tile(outside, (20, 1)))
    further = outside.copy()
    further[1:3] += [-0.5, 0.5]
    targets, decisions = follow(safety, [further] * 20, start=100.1, measured=outside)
    np.testing.assert_array_equal(targets, np.tile(outside, (20, 1)))
    assert Cause.POSITION_LIMIT in causes(decisions[-1])
    targets, _ = follow(safety, [MIDDLE] * 600, start=100.2, measured=outside)
    path = np.vstack([outside, targets])
    velocity = np.diff(path, axis=0) / TICK
    acceleration = np.diff(velocity, axis=0, prepend=np.zeros((1, JOINT_DIM))) / TICK
    assert (np.abs(velocity) <= VELOCITY + 1e-9).all()
    assert (np.abs(acceleration[1:]) <= ACCELERATION + 1e-6).all()
    still_outside = (path[:-1] < LOWER) | (path[:-1] > UPPER)
    assert np.abs(velocity[still_outside]).max() == pytest.approx(0.2), "slowly until it is inside"
    assert np.abs(velocity[:, 1]).max() > 0.5
    assert (velocity[:, 1] >= 0.0).all()
    assert (velocity[:, 2] <= 0.0).all()
    np.testing.assert_allclose(targets[-1], MIDDLE, atol=1e-6)
    back, _ = follow(safety, [outside] * 600, start=103.2, measured=MIDDLE)
    np.testing.assert_allclose(back[-1, 1:3], [LOWER[1], UPPER[2]], atol=1e-6)


def test_an_arm_that_comes_in_from_outside_its_limits_stays_on_its_way_and_the_other_one_does_not_wait() -> None:
    """All joints of the arm slow down with the one that is outside: what it may hit is on its way, not beside it."""
    measured, goal = MIDDLE.copy(), MIDDLE.copy()
    measured[1] = LOWER[1] - 0.09
    goal[[0, 1, 7]] = MIDDLE[0] + 0.4, LOWER[1] + 0.31, MIDDLE[7] + 0.4
    targets, _ = follow(SafetyFilter(FAR), [goal] * 60, measured=measured)
    moved = (targets[-1] - measured)[[0, 1, 7]]
    assert moved[0] == pytest.approx(moved[1], rel=0.02)
    assert 0.02 < moved[1] < 0.08
    assert moved[2] > 0.2


def test_a_joint_outside_its_limits_brakes_and_holds_like_any_other() -> None:
    outside = outside_by(0.095)
    safety = SafetyFilter(FAR)
    follow(safety, [MIDDLE] * 21, measured=outside)
    safety.trip("emergency stop")
    targets, decisions = follow(safety, [MIDDLE] * 100, start=100.105, measured=outside)
    velocity = np.diff(targets, axis=0) / TICK
    assert 0.1 < velocity[0, 1] <= 0.2 + 1e-9, "it was moving"
    assert targets[-1, 1] < LOWER[1], "and rests outside"
    assert np.abs(np.diff(velocity, axis=0)).max() / TICK <= 5.0 + 1e-6
    assert not velocity[-1].any()
    assert all(decision.holding for decision in decisions)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("velocity", (3.0,) * 6),
        ("acceleration", (5.0,) * 6 + (0.0,)),
        ("position_min", (math.nan,) * 7),
        ("position_min", (4.0,) * 7),
        ("max_tick", math.inf),
        ("gripper_effort", 0.0),
        ("position_margin", 2.0),
        # in degrees, in millimetres, in milliseconds
        ("position_max", (150.0, 180.0, 0.0, 100.0, 70.0, 120.0, 0.07)),
        ("position_max", (*LIMITS.position_max[:-1], 70.0)),
        ("velocity", (172.0,) * 6 + (0.5,)),
        ("velocity", (3.0,) * 6 + (500.0,)),
        ("acceleration", (286.0,) * 6 + (5.0,)),
        ("max_tick", 50.0),
        ("max_measurement_age", 100.0),
        ("max_command_age", 2000.0),
    ],
)
def test_impossible_limits_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SafetyLimits(**{field: value})


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize(
    "field",
    [f.name for f in dataclasses.fields(SafetyLimits) if isinstance(getattr(LIMITS, f.name), (float, tuple))],
)
def test_no_limit_may_be_boundless(field: str, number: float) -> None:
    value = getattr(LIMITS, field)
    with pytest.raises(ValueError, match=field):
        SafetyLimits(**{field: number if isinstance(value, float) else (*value[:-1], number)})


def test_the_configuration_file_states_the_defaults(repository: Path) -> None:
    values = yaml.safe_load((repository / "config" / "safety.yaml").read_text())["/**"]["ros__parameters"]["safety"]
    collision = {f"collision.{name}": value for name, value in values.pop("collision").items()}
    stated = from_flat(SafetyLimits, {**values, **collision})
    assert {*values, *collision} == set(flat_hints(SafetyLimits))
    for field in dataclasses.fields(SafetyLimits):
        if field.name != "collision":
            default = getattr(LIMITS, field.name)
            if field.name == "position_max":
                default = (*default[:-1], 0.1)  # on the robot the stroke is read from the arm's flash
            np.testing.assert_allclose(getattr(stated, field.name), default, err_msg=field.name)
    assert stated.collision == LIMITS.collision


def test_one_tick_costs_little() -> None:
    """About 30 us on a 2.6 GHz core; ten times that on a busy machine would still be 6 % of a 200 Hz tick."""
    safety = SafetyFilter()
    commands = MIDDLE + 0.01 * np.random.default_rng(0).normal(size=(500, JOINT_DIM))
    durations = []
    for i, command in enumerate(commands):
        now, start = 100.0 + i * TICK, time.perf_counter()
        safety.step(now, command, MIDDLE, now, now)
        durations.append(time.perf_counter() - start)
    assert np.median(durations) < 300e-6


# Taken up again


def test_taken_up_again_the_arms_start_from_rest_where_they_are() -> None:
    safety = SafetyFilter(FAR)
    targets, _ = follow(safety, [UPPER] * 40)
    assert safety.speed > 0.5
    safety.relatch()
    measured = targets[-1] - 0.01
    resting, _ = follow(safety, [None] * 20, start=100.0 + 40 * TICK, measured=measured)
    np.testing.assert_array_equal(resting, np.tile(measured, (20, 1)))
    assert safety.speed == 0.0


@pytest.mark.parametrize("pause", ["nothing commanded", "a late tick", "taken up again"])
def test_what_the_goal_moved_by_in_a_pause_is_not_fed_forward(pause: str) -> None:
    """At its goal when it goes on, the target stays there."""
    safety = SafetyFilter(FAR)
    targets, _ = follow(safety, [MIDDLE] * 3 + [MIDDLE - 0.01])
    start = 100.0 + 4 * TICK
    if pause == "nothing commanded":
        targets, _ = follow(safety, [None] * 20, start)
        start += 20 * TICK
    elif pause == "a late tick":
        start += 1.0
    else:
        safety.relatch()
    goal = targets[-1]
    again, _ = follow(safety, [goal] * 3, start, measured=goal)
    np.testing.assert_allclose(again, np.tile(goal, (3, 1)), rtol=0.0, atol=1e-12)


def test_after_a_clock_that_went_back_the_command_is_followed() -> None:
    safety = SafetyFilter(FAR)
    follow(safety, [MIDDLE] * 3)
    targets, decisions = follow(safety, [MIDDLE + 0.1] * 200, start=50.0)
    assert [Cause.CLOCK_STEP in causes(d) for d in decisions[:3]] == [True, False, False]
    np.testing.assert_allclose(targets[-1], np.minimum(MIDDLE + 0.1, UPPER), atol=1e-3)


def test_arrays_of_callers_are_not_those_of_the_filter() -> None:
    """Whoever reuses what it measured, or changes what it was given, moves nothing."""
    safety, command, measured = SafetyFilter(FAR), MIDDLE.copy(), MIDDLE.copy()
    command[6] = 0.0
    follow(safety, [command] * 200, measured=measured)
    safety.relatch((6,))
    given = safety.step(102.0, None, measured, 102.0).target
    assert given is not None
    assert given[6] < measured[6] == MIDDLE[6]
    expected = given.copy()
    measured += 0.3
    given += 0.3
    np.testing.assert_array_equal(safety.step(102.0 + TICK, None, MIDDLE, 102.0 + TICK).target, expected)


@pytest.mark.parametrize("kept", [(), (6,), (13,), (6, 13)])
def test_a_gripper_keeps_its_target_where_that_holds_something(kept: tuple[int, ...]) -> None:
    """The left one is stopped by what it holds, the right one was pushed closed: only the left one's grip is tighter
    than measured."""
    safety, command, measured = SafetyFilter(FAR), MIDDLE.copy(), MIDDLE.copy()
    command[[6, 13]], measured[[6, 13]] = (0.01, 0.05), (0.03, 0.02)
    targets, _ = follow(safety, [command] * 200, measured=measured)
    np.testing.assert_allclose(targets[-1][[6, 13]], (0.01, 0.05), atol=1e-3)
    safety.relatch(kept)
    again, _ = follow(safety, [None], start=101.0, measured=measured)
    assert again[0][6] == (targets[-1][6] if 6 in kept else measured[6])
    assert again[0][13] == measured[13]
    safety.relatch()
    (anew,), _ = follow(safety, [None], start=102.0, measured=measured)
    np.testing.assert_array_equal(anew, measured)
