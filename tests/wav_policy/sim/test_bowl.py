"""The bowl task: its predicate, its operator, its tolerance, and demonstrations of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.robot.model import home_positions
from wav_policy.sim.demonstrate import NO_NOISE, SETTLING_STEPS, Demonstration, Noise
from wav_policy.sim.task import Cell
from wav_policy.sim.tasks import make_task
from wav_policy.sim.tasks.bowl_operator import GRASP_RADIUS, BowlOperator
from wav_policy.sim.tasks.bowl_scene import PLACING_TOLERANCE, PLATE_HEIGHT, BowlState, bowl_state
from wav_policy.sim.world import HIGHEST_POSITIONS, LOWEST_POSITIONS, World

pytestmark = pytest.mark.sim

BOWL = "red_bowl"


@pytest.fixture(scope="module")
def world() -> World:
    return World(make_task("bowls"))


def operate(world: World, operator: BowlOperator, max_steps: int = 150) -> bool:
    """Let the operator work on the present state until success."""
    for _ in range(max_steps):
        world.set_targets(operator.act(world), 0.1)
        world.step(0.1)
        if world.success():
            return True
    return False


def put_bowl(world: World, offset: tuple[float, float, float], tilt: float = 0.0) -> None:
    """Put the bowl at rest at `offset` [m] from the plate's top, turned by `tilt` [rad] about x."""
    plate = bowl_state(world, BOWL).plate
    joint = world.data.joint(BOWL)
    joint.qpos[:] = [*(plate + offset), np.cos(tilt / 2), np.sin(tilt / 2), 0.0, 0.0]
    joint.qvel[:] = 0.0


def test_both_sides_and_all_instructions_occur(world: World) -> None:
    sides, instructions = set(), set()
    for seed in range(60):
        world.reset(seed)
        sides.add(world.task.working_side(world))
        instructions.add(world.instruction)
    assert sides == set(SIDES)
    assert instructions == set(world.task.instructions)


@pytest.mark.parametrize("offset", [(0.0, 0.0, 0.001), (0.0, 0.9 * PLACING_TOLERANCE, 0.001)])
def test_a_bowl_at_rest_on_the_plate_succeeds_after_the_hold_time(
    world: World, offset: tuple[float, float, float]
) -> None:
    world.reset(0)
    put_bowl(world, offset)
    world.step(0.1)
    assert not world.success()
    world.step(0.6)
    assert world.success()


@pytest.mark.parametrize(
    ("offset", "tilt"),
    [((0.0, 1.1 * PLACING_TOLERANCE, 0.001), 0.0), ((0.0, 0.16, -PLATE_HEIGHT), 0.0), ((0.0, 0.0, 0.06), np.pi)],
    ids=["off centre", "beside the plate", "upside down"],
)
def test_a_misplaced_bowl_does_not_succeed(world: World, offset: tuple[float, float, float], tilt: float) -> None:
    world.reset(0)
    put_bowl(world, offset, tilt)
    world.step(1.5)
    assert not world.success()


def _about_to_stand(state: BowlState) -> bool:
    return bool(np.linalg.norm(state.offset) < 0.01 and state.clearance < PLATE_HEIGHT + 0.004)


def test_a_bowl_still_in_the_grip_does_not_succeed(world: World) -> None:
    world.reset(1)
    operator = world.task.make_operator()
    while (
        np.linalg.norm(bowl_state(world, BOWL).offset) > 0.01
        or bowl_state(world, BOWL).clearance > PLATE_HEIGHT + 0.004
    ):
        world.set_targets(operator.act(world), 0.1)
        world.step(0.1)
        assert world.time < 15
    grip = world.joint_positions
    grip[[6, 13]] = np.where(grip[[6, 13]] < 0.02, 0.0, MAX_STROKE)
    world.set_targets(grip, 0.1)
    world.step(1.0)
    assert not world.success()
    assert operate(world, operator)


def test_success_is_lost_when_the_bowl_is_taken_away(world: World) -> None:
    world.reset(0)
    put_bowl(world, (0.0, 0.0, 0.001))
    world.step(0.7)
    assert world.success()
    put_bowl(world, (0.0, 0.2, 0.0))
    world.step(0.1)
    assert not world.success()


def succeeded(world: World, seeds: range, noise: Noise) -> list[bool]:
    outcomes = []
    for seed in seeds:
        for _ in Demonstration(world, seed, noise).steps(images=False):
            pass
        outcomes.append(world.success())
    return outcomes


@pytest.mark.parametrize("noise", [NO_NOISE, Noise()], ids=["clean", "disturbed"])
def test_operator_succeeds(world: World, noise: Noise) -> None:
    outcomes = succeeded(world, range(2000, 2010), noise)
    assert sum(outcomes) >= 9, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("noise", [NO_NOISE, Noise()], ids=["clean", "disturbed"])
def test_operator_succeeds_in_95_of_100_seeds(world: World, noise: Noise) -> None:
    outcomes = succeeded(world, range(100), noise)
    assert sum(outcomes) >= 95, [seed for seed, success in enumerate(outcomes) if not success]


def test_operator_has_no_memory(world: World) -> None:
    """A used operator and a fresh one agree in every state along an episode."""
    world.reset(3)
    used = world.task.make_operator()
    for _ in range(60):
        action = used.act(world)
        assert np.array_equal(action, world.task.make_operator().act(world))
        assert (action >= LOWEST_POSITIONS - 0.05).all()
        assert (action <= HIGHEST_POSITIONS + 0.05).all()
        world.set_targets(action, 0.1)
        world.step(0.1)


def test_operator_tries_again_after_losing_the_bowl(world: World) -> None:
    world.reset(4)
    start = bowl_state(world, BOWL)
    operator = world.task.make_operator()
    while bowl_state(world, BOWL).clearance < 0.04:
        world.set_targets(operator.act(world), 0.1)
        world.step(0.1)
        assert world.time < 10
    put_bowl(world, tuple(start.bowl - start.plate))
    assert operate(world, operator)


@pytest.mark.parametrize("axis", ["depth", "radial", "tangential"])
@pytest.mark.parametrize("error", [-0.02, 0.02])
def test_a_grasp_off_by_two_centimetres_still_holds(
    world: World, axis: str, error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe = BowlOperator._observe

    def observe_wrongly(self: BowlOperator, cell: Cell, side: str, arm: FloatArray) -> Any:
        scene = observe(self, cell, side, arm)
        radial = (scene.grasp - scene.objects.bowl)[:2] / GRASP_RADIUS
        along = {"radial": [*radial, 0.0], "tangential": [-radial[1], radial[0], 0.0], "depth": [0.0, 0.0, 1.0]}
        return replace(scene, grasp=scene.grasp + error * np.array(along[axis]))

    monkeypatch.setattr(BowlOperator, "_observe", observe_wrongly)
    operator = BowlOperator(BOWL)
    world.reset(0)
    assert operate(world, operator)


def test_demonstrations_record_intent_and_end_on_the_way_home(world: World) -> None:
    steps = list(Demonstration(world, 7, Noise()).steps(images=False))
    assert world.success()
    states = np.array([step.state for step in steps])
    actions = np.array([step.action for step in steps])
    times = np.array([step.time for step in steps])
    assert np.allclose(np.diff(times), 0.1, atol=0.005)
    from_home = np.abs(states - home_positions()).max(axis=1)
    assert from_home[-1] < 0.5 * from_home[-SETTLING_STEPS - 1]
    executed_differs = np.abs(states[1:-SETTLING_STEPS] - actions[: -SETTLING_STEPS - 1]).max()
    assert executed_differs > 0.02
    again = np.array([step.state for step in Demonstration(world, 7, Noise()).steps(images=False)])
    assert np.array_equal(states, again)
    other = np.array([step.state for step in Demonstration(world, 8, Noise()).steps(images=False)])
    assert not np.array_equal(states[0], other[0])


def test_demonstrations_carry_images(world: World) -> None:
    step = next(Demonstration(world, 0).steps())
    assert {view: image.shape for view, image in step.images.items()} == {
        "head": (240, 424, 3),
        "left_wrist": (240, 320, 3),
        "right_wrist": (240, 320, 3),
    }
