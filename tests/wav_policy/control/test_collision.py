"""No target that leaves the filter lets the robot touch itself or the table, and nothing legitimate is held back."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav_models.types import FloatArray
from wav_policy.control.collision import CollisionChecker, make_checker
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.safety import Cause, SafetyFilter, SafetyLimits
from wav_policy.robot.joints import JOINT_DIM, SIDES, both_arms
from wav_policy.robot.kinematics import inverse
from wav_policy.robot.model import cell_xml, home_positions
from wav_policy.robot.physics import mujoco
from wav_policy.sim.demonstrate import CALM, NO_NOISE, Demonstration, Noise
from wav_policy.sim.tasks import make_task
from wav_policy.sim.world import World

LIMITS = SafetyLimits(max_step=(10.0,) * 7, command_tolerance=(10.0,) * 7)
"""Lets a command be anywhere: the look-ahead alone is at work."""

HOME = home_positions()
TICK = 0.01


def reaching(left: list[float], right: list[float]) -> FloatArray:
    """Both finger tips at a point in their own arm's base frame [m]; shape [14]."""
    q = HOME.copy()
    q[:6], q[7:13] = inverse(left, HOME[5]), inverse(right, HOME[12])
    return q


OUT = reaching([0.30, 0.0, 0.10], [0.30, 0.0, 0.10])
MEETING = reaching([0.28, -0.22, 0.10], [0.28, 0.22, 0.10])
ADJACENT = 2


class Judge:
    """Measures distances on the simulator's own cell, pair by pair and without the checker's code."""

    def __init__(self) -> None:
        self.model = mujoco.MjModel.from_xml_string(cell_xml(""))
        self.data = mujoco.MjData(self.model)
        self.pairs = [
            (a, b) for a in range(self.model.ngeom) for b in range(a + 1, self.model.ngeom) if self._counts(a, b)
        ]

    def _body(self, geom: int) -> tuple[str, int]:
        """Side and number of the link that a geom moves with; ("world", 0) for the table."""
        name = self.model.body(self.model.geom_bodyid[geom]).name
        side, _, part = name.partition("_")
        number = 0 if part == "base" else int(part[-1]) if part.startswith("link") else 7
        return side, number

    def _counts(self, a: int, b: int) -> bool:
        (side_a, link_a), (side_b, link_b) = self._body(a), self._body(b)
        if side_a == "world":
            return link_b >= 2
        if side_a != side_b:
            return max(link_a, link_b) > 1
        return abs(link_a - link_b) > ADJACENT and min(link_a, link_b) < 3

    def place(self, q: FloatArray) -> None:
        for i, side in enumerate(SIDES):
            for joint in range(6):
                self.data.joint(f"{side}_joint{joint + 1}").qpos = q[7 * i + joint]
            for finger in (1, 2):
                self.data.joint(f"{side}_finger{finger}").qpos = q[7 * i + 6] / 2
        mujoco.mj_kinematics(self.model, self.data)

    def nearest(self, q: FloatArray) -> float:
        """Distance of the nearest pair [m]; negative inside each other; at most 5 cm. Where no clearance is asked for
        (gripper, table) half a step of the look-ahead is granted."""
        self.place(q)
        ends = np.zeros(6)
        return min(
            mujoco.mj_geomDistance(self.model, self.data, a, b, 0.05, ends)
            + (LIMITS.collision.clearance / 2 if self._body(a)[0] == "world" and self._body(b)[1] >= 6 else 0.0)
            for a, b in self.pairs
        )


@cache
def judge() -> Judge:
    return Judge()


@cache
def checker() -> CollisionChecker:
    made = make_checker(LIMITS)
    assert made is not None
    return made


def drive(
    safety: SafetyFilter, start: FloatArray, command: FloatArray, ticks: int, now: float = 100.0
) -> tuple[FloatArray, list[str]]:
    """Targets [T, 14] while one command stands, and what the look-ahead said."""
    targets, said = [], []
    position = start
    for i in range(ticks):
        at = now + i * TICK
        decision = safety.step(at, command, position, at)
        assert decision.target is not None
        position = decision.target
        targets.append(position)
        said += [found.detail for found in decision.interventions if found.cause is Cause.COLLISION]
    return np.array(targets), said


# What must not happen

segments = st.tuples(
    st.integers(0, 2**31),  # seed of the command
    st.floats(0.1, 1.0),  # how far it is from home
    st.integers(1, 60),  # ticks it stands
    st.sampled_from([0.005, 0.01, 0.01, 0.02, 0.05, 0.049, 0.2]),  # length of the ticks
    st.sampled_from(["", "", "", "hold", "trip"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(segments, min_size=1, max_size=6))
def test_no_colliding_target_is_ever_sent(stream: list) -> None:
    """Any commands, any tick lengths, holds and stops between: nothing touches, and all limits hold."""
    safety = SafetyFilter(LIMITS, checker())
    now, position, velocity, last = 100.0, HOME, np.zeros(JOINT_DIM), 0.0
    acceleration = both_arms(LIMITS.acceleration)
    for seed, spread, ticks, length, event in stream:
        aim = HOME + spread * (np.random.default_rng(seed).uniform(LIMITS.lower, LIMITS.upper) - HOME)
        if event == "trip":
            safety.trip("test")
        for tick in range(ticks):
            now += length
            target = safety.step(now, None if event == "hold" else aim, position, now).target
            assert target is not None
            elapsed = min(length, LIMITS.max_tick)
            if length > LIMITS.max_tick:
                velocity, last = np.zeros(JOINT_DIM), 0.0
            moved = (target - position) / elapsed
            assert (target >= LIMITS.lower).all()
            assert (target <= LIMITS.upper).all()
            assert (np.abs(moved - velocity) <= acceleration * (elapsed + last) / 2.0 + 1e-6).all()
            position, velocity, last = target, moved, elapsed
            if tick % 3 == 0:
                assert judge().nearest(position) > 0.0
        if event == "trip":
            safety.reset()
            velocity = np.zeros(JOINT_DIM)


def test_an_arm_driven_into_the_table_stops_above_it_while_the_other_goes_on() -> None:
    down = reaching([0.30, 0.0, -0.10], [0.30, 0.0, 0.10])
    down[7] += 0.3
    targets, said = drive(SafetyFilter(LIMITS, checker()), OUT, down, 200)
    assert said[0].startswith("table and left gripper: would come within")
    assert "allowed 0.0000 m" in said[0]
    assert 0.0 < judge().nearest(targets[-1]) < 0.02
    np.testing.assert_allclose(targets[-1, :7], targets[-2, :7], atol=5e-3)
    assert targets[-1, 7] == pytest.approx(down[7], abs=0.01)


def test_arms_that_reach_for_each_other_stop_apart_and_can_part() -> None:
    safety = SafetyFilter(LIMITS, checker())
    targets, said = drive(safety, OUT, MEETING, 200)
    assert {side for side in SIDES if side in said[0]} == set(SIDES)
    nearest = judge().nearest(targets[-1])
    assert 0.005 < nearest < 0.05
    apart, said = drive(safety, targets[-1], HOME, 300, now=102.0)
    assert not said
    np.testing.assert_allclose(apart[-1], HOME, atol=1e-4)


def test_arms_that_touch_when_enabled_may_part_but_not_press() -> None:
    """Latched inside each other (somebody has pushed the limp arms together): out is free, further in is not."""
    touching = next(
        q for q in OUT + np.linspace(0.0, 1.0, 200)[:, None] * (MEETING - OUT) if judge().nearest(q) < -0.005
    )
    safety = SafetyFilter(LIMITS, checker())
    further = MEETING + 0.3 * (MEETING - OUT)
    pressed, said = drive(safety, touching, further, 100)
    assert said
    assert judge().nearest(pressed[-1]) > judge().nearest(touching) - 0.0025
    apart, _ = drive(safety, pressed[-1], HOME, 300, now=102.0)
    np.testing.assert_allclose(apart[-1], HOME, atol=1e-4)
    assert drive(safety, HOME, further, 200, now=106.0)[1], "parted arms have the full clearance again"


def test_a_joint_outside_its_limits_is_looked_ahead_from_where_it_is() -> None:
    """A folded arm rests outside the limits of joints 2 and 3, its links on each other: it must not fold further, can
    unfold, and stops before the other arm."""
    folded = HOME.copy()
    folded[[1, 2, 4]] = [LIMITS.lower[1] - 0.05, LIMITS.upper[2] + 0.05, 0.0]
    assert judge().nearest(folded) < 0.0
    pressing = folded.copy()
    pressing[4] += 0.5
    pressed, said = drive(SafetyFilter(LIMITS, checker()), folded, pressing, 100)
    assert said
    assert judge().nearest(pressed[-1]) > judge().nearest(folded) - 0.0025
    safety = SafetyFilter(LIMITS, checker())
    out, said = drive(safety, folded, OUT, 300)
    assert not said
    np.testing.assert_allclose(out[-1], OUT, atol=1e-4)
    met, said = drive(safety, out[-1], MEETING, 200, now=103.0)
    assert said
    assert judge().nearest(met[-1]) > 0.005


# What must not be held back


def test_the_scripted_operator_is_not_held_back() -> None:
    """Its motions, interpolated to the control rate as the arms would execute them."""
    world = World(make_task("bowl"))
    try:
        actions = np.array([step.action for step in Demonstration(world, 0, NO_NOISE).steps(images=False)])
        assert world.success()
    finally:
        world.close()
    assert not _said_about(actions)


@pytest.mark.parametrize("noise", [CALM, Noise()], ids=["calm", "usual"])
def test_disturbed_demonstrations_are_not_held_back(noise: Noise) -> None:
    """What training data are recorded from: the operator corrects what pushes, slips and drift did to the arms."""
    world = World(make_task("bowl"))
    try:
        actions = np.array([step.action for step in Demonstration(world, 1, noise).steps(images=False)])
    finally:
        world.close()
    assert len(actions) > 20
    assert not _said_about(actions)


def test_a_demonstration_through_the_arms_own_base_is_held_back() -> None:
    """The simulator does not mind, the filter does."""
    actions = HOME + np.linspace(0.0, 1.0, 30)[:, None] * (reaching([0.08, 0.0, 0.03], [0.3, 0.0, 0.1]) - HOME)
    said = _said_about(actions)
    assert said
    assert "left gripper" in said[0]


def _said_about(actions: FloatArray) -> list[str]:
    """What the look-ahead says when a recorded path is executed at the control rate."""
    from wav_models.types import ActionChunk
    from wav_policy.control.chunk_executor import ChunkExecutor

    executor = ChunkExecutor()
    executor.accept(ActionChunk(actions, 100.0, 0.1), 100.0, actions[0])
    safety, position, said = SafetyFilter(SafetyLimits(), checker()), actions[0], []
    for i in range(10 * len(actions)):
        now = 100.0 + i * TICK
        decision = safety.step(now, executor.sample(now), position, now)
        assert decision.target is not None
        position = decision.target
        said += [found.detail for found in decision.interventions if found.cause is Cause.COLLISION]
    return said


# The model


def test_distances_agree_with_mujocos_own() -> None:
    """The checker's own measurement against MuJoCo's distance function, at random configurations and between arms that
    come nearer and nearer: contact lists leave some kinds of pairs out before they touch."""
    rng = np.random.default_rng(0)
    scattered = rng.uniform(LIMITS.lower, LIMITS.upper, (300, JOINT_DIM))
    approaching = OUT + np.linspace(0.0, 1.2, 200)[:, None] * (MEETING - OUT) + rng.normal(0.0, 0.05, (200, JOINT_DIM))
    near = 0
    for q in np.clip(np.vstack([scattered, approaching]), LIMITS.lower, LIMITS.upper):
        found = checker().find(q, np.zeros(JOINT_DIM), TICK)
        nearest = judge().nearest(q)
        if nearest < 0.9 * LIMITS.collision.self_clearance:
            assert found is not None
        if found is not None and "table" not in found.bodies:  # the checker's table is endless
            near += nearest > 0.0
            assert nearest < LIMITS.collision.clearance + 0.001
    assert near > 5


def test_bases_and_table_are_where_the_configuration_says() -> None:
    """The same poses collide or not as the right arm and the table move."""
    acceleration = both_arms(LIMITS.acceleration)
    still = np.zeros(JOINT_DIM)
    assert checker().find(HOME, still, TICK) is None
    high = CollisionChecker(CollisionLimits(table_height=0.15), acceleration)
    assert "table" in high.find(HOME, still, TICK).bodies
    near = CollisionChecker(CollisionLimits(right_base=(0.0, 0.2, 0.05, 0.0)), acceleration)
    assert {body.split()[0] for body in near.find(HOME, still, TICK).bodies} == set(SIDES)
    facing = CollisionLimits(right_base=(0.34, 0.22, 0.05, math.pi))
    assert CollisionChecker(facing, acceleration).find(HOME, still, TICK) is not None
    assert make_checker(SafetyLimits(collision=CollisionLimits(check=False))) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clearance", 0.0),
        ("self_clearance", 0.1),
        ("left_base", (0.0, 0.0, 0.0)),
        ("table_height", math.nan),
        ("gripper_table_clearance", 1.0),
    ],
)
def test_impossible_configurations_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        CollisionLimits(**{field: value})


def test_a_moving_start_is_braked_in_time_from_any_speed() -> None:
    """The way on which the arms would brake is looked at, not only the next target."""
    speeding = np.zeros(JOINT_DIM)
    speeding[1] = 2.5
    assert checker().find(OUT, np.zeros(JOINT_DIM), TICK) is None
    found = checker().find(OUT, speeding, TICK)
    assert found is not None
    assert found.bodies == ("table", "left gripper")
