"""How the bowl task goes wrong: the wrong bowl, a drop, a place beside the plate, an empty hand, no hand at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.sim.failures import Choice, Tour, draw_failure, home_stop
from wav_policy.sim.operator import Intent, arm_part, outward, raised
from wav_policy.sim.task import Cell, Operator, ScriptedFailure
from wav_policy.sim.tasks.bowl_operator import CLOSED, HOVER_HEIGHT, BowlOperator
from wav_policy.sim.tasks.bowl_scene import BOWLS, bowl_state, nearer_side
from wav_policy.sim.tasks.contacts import gripped

_BESIDE_X: Final = -0.145
"""From the plate's centre to where a bowl is put down on the bases' side of it [m]."""

_PUT_BACK_ABS_Y: Final = (0.17, 0.24)
_PASS_HEIGHT: Final = 0.11
"""Of empty finger tips on their way [m]."""

_CHOICES: Final[tuple[Choice, ...]] = (
    ("wrong_bowl", "start", 0.20),
    ("wander", "start", 0.10),
    ("wander", "reach", 0.08),
    ("empty", "reach", 0.12),
    ("beside", "carry", 0.15),
    ("put_back", "carry", 0.10),
    ("drop", "carry", 0.10),
    ("freeze", "carry", 0.05),
    ("beside", "place", 0.10),
)
"""ScriptedFailure, decision point and weight."""


_LATEST: Final = {"reach": 2, "carry": 5, "place": 2}
"""Most actions between a decision point and the failure."""


def make_failure(target: str, bowls: tuple[str, ...], rng: np.random.Generator) -> ScriptedFailure:
    """A random failure at a random decision point of the task that moves bowl `target` among `bowls`."""
    choices = [choice for choice in _CHOICES if choice[0] != "wrong_bowl" or len(bowls) > 1]
    return draw_failure(choices, _LATEST, _MOMENTS, _IDEAS, (target,), rng)


def _reaching(target: str, world: Cell) -> bool:
    """The finger tips have come near the bowl and are above it, open."""
    side, state = nearer_side(world, target), bowl_state(world, target)
    error = world.tip(side) - state.bowl
    return bool(np.linalg.norm(error[:2]) < 0.11 and error[2] > 0.05 and not _holding(target, world))


def _carrying(target: str, world: Cell) -> bool:
    state = bowl_state(world, target)
    return _holding(target, world) and state.clearance > 0.020 and float(np.linalg.norm(state.offset)) > 0.08


def _placing(target: str, world: Cell) -> bool:
    state = bowl_state(world, target)
    return _holding(target, world) and state.clearance > 0.012 and float(np.linalg.norm(state.offset)) < 0.07


_MOMENTS: Final = {"reach": _reaching, "carry": _carrying, "place": _placing}


def _holding(target: str, world: Cell) -> bool:
    side = nearer_side(world, target)
    return float(arm_part(world.joint_positions, side)[-1]) < CLOSED and gripped(world, side, target)


def _wrong_bowl(target: str, rng: np.random.Generator, world: Cell) -> Operator:
    (other,) = (name for name in BOWLS if name != target)
    return BowlOperator(other)


def _beside(target: str, rng: np.random.Generator, world: Cell) -> Operator:
    """Put it down between the plate and the bases."""
    state = bowl_state(world, target)
    y = outward(nearer_side(world, target)) * rng.uniform(0.02, 0.06)
    goal = state.plate[:2] + np.array([_BESIDE_X, y])
    return BowlOperator(target, goal=goal)


def _put_back(target: str, rng: np.random.Generator, world: Cell) -> Operator:
    """Put it down on the side it came from."""
    goal = np.array([rng.uniform(0.20, 0.30), outward(nearer_side(world, target)) * rng.uniform(*_PUT_BACK_ABS_Y)])
    return BowlOperator(target, goal=goal)


def _go_through_the_motion(target: str, world: Cell, stroke: float) -> Operator:
    """Open (drop the bowl) or close (above it), and then the rest of the motion with nothing in hand."""
    side, state = nearer_side(world, target), bowl_state(world, target)
    tip = world.tip(side)
    plate = state.plate + np.array([-0.04, outward(side) * 0.02, 0.0])
    over, low = raised(plate, _PASS_HEIGHT), raised(plate, HOVER_HEIGHT)
    first = [Intent(tip, stroke), Intent(tip, 0.0)]
    rest = [Intent(over, 0.0), Intent(low, 0.0), Intent(low, MAX_STROKE), Intent(over, MAX_STROKE)]
    return Tour(side, [*first, *rest, home_stop(side)])


_IDEAS: Final[Mapping[str, Callable[[str, np.random.Generator, Cell], Operator]]] = {
    "wrong_bowl": _wrong_bowl,
    "beside": _beside,
    "put_back": _put_back,
    "drop": lambda target, rng, world: _go_through_the_motion(target, world, MAX_STROKE),
    "empty": lambda target, rng, world: _go_through_the_motion(target, world, 0.0),
}
