"""Between enable and the first chunk nothing moves, whatever the arms hold in flash and wherever they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wav_policy.control.loop_bench import START, PerfectArms
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.flash_check import fitted_limits
from wav_policy.control.reach import Reach
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.piper.flash_limits import FlashLimits

TICK = 0.005
CONFIGURED = SafetyLimits()
AS_SHIPPED = replace(
    CONFIGURED, position_max=(*CONFIGURED.position_max[:6], 0.1), collision=CollisionLimits(check=False)
)


def flash(
    lower: tuple[float | None, ...] = CONFIGURED.position_min[:6],
    upper: tuple[float | None, ...] = CONFIGURED.position_max[:6],
    stroke: float | None = 0.07,
) -> FlashLimits:
    return FlashLimits(lower, upper, (3.0,) * 6, (5.0,) * 6, stroke, None, None)


class Robot:
    """A loop with these flashes over arms that obey at once."""

    def __init__(self, flashes: dict[str, FlashLimits], start: FloatArray) -> None:
        self.now = 10.0
        self.arms = PerfectArms(lambda: self.now)
        self.arms.position = start.copy()
        limits = fitted_limits(AS_SHIPPED, flashes.values())
        self.loop = ControlLoop(self.arms, 200.0, limits, clock=lambda: self.now, reach=Reach.of(flashes))
        self.loop.engage()

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.loop.tick()

    def follow(self, goal: FloatArray, seconds: float) -> None:
        for _ in range(round(seconds / 0.5)):
            self.loop.accept(ActionChunk(np.tile(goal, (8, 1)), self.now, 0.1))
            self.run(0.5)


angles = st.floats(-4.0, 4.0) | st.none() | st.just(0.0)
strokes = st.sampled_from((0.07, 0.1, 0.0, 0.255, None))


@settings(max_examples=60, deadline=None)
@given(
    lower=st.tuples(*[angles] * 6),
    upper=st.tuples(*[angles] * 6),
    stroke=strokes,
    start=st.lists(st.floats(-3.3, 3.3), min_size=12, max_size=12),
    openings=st.tuples(st.floats(-0.005, 0.105), st.floats(-0.005, 0.105)),
)
def test_between_enable_and_the_first_chunk_nothing_moves(
    lower: tuple[float | None, ...],
    upper: tuple[float | None, ...],
    stroke: float | None,
    start: list[float],
    openings: tuple[float, float],
) -> None:
    pose = np.array([*start[:6], openings[0], *start[6:], openings[1]])
    robot = Robot({"left": flash(lower, upper, stroke), "right": flash()}, pose)
    robot.run(0.3)
    np.testing.assert_array_equal(robot.arms.position, pose)
    robot.loop.hold("nothing is planned yet")
    robot.run(0.1)
    np.testing.assert_array_equal(robot.arms.position, pose)


@pytest.mark.parametrize(("joint", "beyond", "limit"), [(5, 2.44, 2.95), (4, 1.3, 1.4), (8, 3.3, 3.5)])
def test_a_joint_beyond_the_configuration_but_within_its_own_limits_moves_in_slowly(
    joint: int, beyond: float, limit: float
) -> None:
    upper = list(CONFIGURED.position_max[:6])
    upper[joint % 7] = limit
    start = START.copy()
    start[joint] = beyond
    robot = Robot({"left": flash(upper=tuple(upper)), "right": flash(upper=tuple(upper))}, start)
    robot.run(0.1)
    goal = start.copy()
    goal[joint] = CONFIGURED.upper[joint] - 0.3
    robot.follow(goal, 6.0)
    path = np.array(robot.arms.writes)[:, joint]
    speed = np.abs(np.diff(path)) / TICK
    assert speed[path[:-1] > CONFIGURED.upper[joint]].max() == pytest.approx(0.2)
    assert (np.diff(path) <= 1e-12).all()
    assert robot.arms.position[joint] == pytest.approx(goal[joint], abs=1e-3)
    assert robot.loop.state().reason == ""


def test_beyond_its_own_limits_too_it_is_not_believed() -> None:
    start = START.copy()
    start[5] = 2.44
    robot = Robot({"left": flash(), "right": flash()}, start)
    robot.follow(START, 0.5)
    assert robot.loop.state().reason == "implausible_measurement"
    assert robot.arms.writes == []


@pytest.mark.parametrize(
    ("stroke", "opening", "reached"), [(0.1, 0.095, 0.095), (0.07, 0.069, 0.07), (None, 0.06, 0.07)]
)
def test_grippers_open_as_far_as_their_own_stroke(stroke: float | None, opening: float, reached: float) -> None:
    start = START.copy()
    start[[6, 13]] = opening
    robot = Robot({"left": flash(stroke=stroke), "right": flash(stroke=stroke)}, start)
    robot.run(0.1)
    np.testing.assert_array_equal(robot.arms.position, start)
    goal = start.copy()
    goal[[6, 13]] = 0.095
    robot.follow(goal, 1.5)
    np.testing.assert_allclose(robot.arms.position[[6, 13]], reached, atol=1e-4)


def test_a_narrower_configuration_holds_and_an_open_gripper_closes_slowly() -> None:
    reach = Reach.of({"left": flash(stroke=0.1), "right": flash(stroke=0.1)})
    safety, position = SafetyFilter(CONFIGURED, reach=reach), START.copy()
    position[6] = 0.095
    goal = position.copy()
    goal[6] = 0.03
    path = [position[6]]
    for i in range(600):
        now = 1.0 + TICK * i
        decision = safety.step(now, goal, position, now)
        assert decision.target is not None
        position = decision.target
        path.append(position[6])
    speed = -np.diff(path) / TICK
    assert speed[np.array(path[:-1]) > 0.07].max() == pytest.approx(0.02)
    assert path[-1] == pytest.approx(0.03, abs=1e-4)


@pytest.mark.parametrize(("side", "first"), [("left", 0), ("right", 7)])
def test_targets_stay_within_the_arms_own_limits(side: str, first: int) -> None:
    """At both ends, of that arm alone; where it could go farther than configured, the configuration counts."""
    own = {"left": flash(), "right": flash()}
    own[side] = flash((-1.0, *CONFIGURED.position_min[1:5], -2.5), (1.0, *CONFIGURED.position_max[1:5], 2.5))
    lower, upper = Reach.of(own).narrow(CONFIGURED)
    expected_lower, expected_upper = CONFIGURED.lower.copy(), CONFIGURED.upper.copy()
    expected_lower[first], expected_upper[first] = -0.995, 0.995
    np.testing.assert_allclose(lower, expected_lower, atol=1e-12)
    np.testing.assert_allclose(upper, expected_upper, atol=1e-12)


@pytest.mark.parametrize(
    "own",
    [
        flash(stroke=0.255),
        flash(lower=(-9.0, *CONFIGURED.position_min[1:6])),
        flash(upper=(9.0, *CONFIGURED.position_max[1:6])),
        flash(lower=(0.5, *CONFIGURED.position_min[1:6]), upper=(0.505, *CONFIGURED.position_max[1:6])),
    ],
    ids=["stroke", "lower", "upper", "narrower than the margins"],
)
def test_limits_that_cannot_be_are_none(own: FlashLimits) -> None:
    """Neither do they allow a target, nor is anything believed that is measured there."""
    reach = Reach.of({"left": own, "right": flash()})
    np.testing.assert_array_equal(reach.narrow(CONFIGURED), (CONFIGURED.lower, CONFIGURED.upper))
    lower, upper = reach.widen(CONFIGURED)
    assert (lower >= np.tile(CONFIGURED.position_min, 2)).all()
    assert (upper <= np.tile(CONFIGURED.position_max, 2)).all()


@pytest.mark.parametrize("one", ["left", "right"])
def test_one_arm_alone(one: str) -> None:
    reach = Reach.of({one: flash(stroke=0.1)})
    assert np.isnan(reach.upper).sum() == 7
    np.testing.assert_array_equal(reach.narrow(CONFIGURED), (CONFIGURED.lower, CONFIGURED.upper))
