"""How the towel task goes wrong: the wrong corner or way, a drop, a block instead of the towel, an empty hand."""

from __future__ import annotations

from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.sim.failures import Choice, Tour, draw_failure, home_stop
from wav_policy.sim.operator import Intent
from wav_policy.sim.task import Cell, Operator, ScriptedFailure
from wav_policy.sim.tasks.towel_cloth import Towel
from wav_policy.sim.tasks.towel_operator import HOVER_HEIGHT, PASS_HEIGHT, TowelOperator
from wav_policy.sim.tasks.towel_scene import CORNERS

_CHOICES: Final[tuple[Choice, ...]] = (
    ("wrong_corner", "start", 0.16),
    ("takes_block", "start", 0.14),
    ("wander", "start", 0.08),
    ("wander", "reach", 0.06),
    ("empty", "reach", 0.12),
    ("folds_further", "carry", 0.16),
    ("drop", "carry", 0.18),
    ("freeze", "carry", 0.10),
)
"""ScriptedFailure, decision point and weight."""

_LATEST: Final = {"reach": 2, "carry": 2}
"""Most actions between a decision point and the failure."""

_SHORT: Final = 0.3
"""Share of its way at which a corner is dropped."""


def make_failure(task: Towel, rng: np.random.Generator) -> ScriptedFailure:
    """A random failure at a random decision point."""
    return draw_failure(_CHOICES, _LATEST, _MOMENTS, _IDEAS, (task,), rng)


def _reaching(task: Towel, world: Cell) -> bool:
    """The finger tips of the working arm are near its corner, above it, empty."""
    side = task.working_side(world)
    error = world.tip(side) - task.corner(world, _worst(task, world, side))
    return bool(np.linalg.norm(error[:2]) < 0.10 and error[2] > 0.03) and not len(task.grips[side].vertices)


def _carrying(task: Towel, world: Cell) -> bool:
    side = task.working_side(world)
    return len(task.grips[side].vertices) > 0 and bool(world.tip(side)[2] > 0.025)


_MOMENTS: Final = {"reach": _reaching, "carry": _carrying}


def _worst(task: Towel, world: Cell, side: str) -> str:
    return max((name for name in CORNERS if side in name), key=lambda name: task.misplacement(world, name))


def _as_they_are(task: Towel, world: Cell) -> dict[str, FloatArray]:
    return {name: task.corner(world, name)[:2] for name in CORNERS}


def _wrong_corner(task: Towel, rng: np.random.Generator, world: Cell) -> Operator:
    """Fold the corner that lies opposite over as well."""
    worst = _worst(task, world, task.working_side(world))
    depth, side = worst.split("_")
    other = f"{'near' if depth == 'far' else 'far'}_{'left' if side == 'right' else 'right'}"
    centre = task.vertices(world)[:, :2].mean(axis=0)
    return TowelOperator(task, {**_as_they_are(task, world), other: centre})


def _folds_further(task: Towel, rng: np.random.Generator, world: Cell) -> Operator:
    """Take every held corner further over the towel instead of back."""
    goals = _as_they_are(task, world)
    for name, where in goals.items():
        way = where - task.flat_corner(name)[:2]
        if np.linalg.norm(way) > 0.06:
            goals[name] = where + 0.08 * way / np.linalg.norm(way)
    return TowelOperator(task, goals)


def _drop(task: Towel, rng: np.random.Generator, world: Cell) -> Operator:
    """Put every corner down a short way from where it lay."""
    goals = _as_they_are(task, world)
    for name, where in goals.items():
        goals[name] = where + _SHORT * (task.flat_corner(name)[:2] - where)
    return TowelOperator(task, goals)


def _takes_block(task: Towel, rng: np.random.Generator, world: Cell) -> Operator:
    """Pick up the block beside the towel and keep it."""
    side = task.working_side(world)
    block = task.decoy(world, side)
    over, at = np.append(block[:2], HOVER_HEIGHT), np.append(block[:2], 0.022)
    up = np.append(block[:2], 0.15)
    return Tour(side, [Intent(over, MAX_STROKE), Intent(at, MAX_STROKE), Intent(at, 0.0), Intent(up, 0.0)])


def _empty(task: Towel, rng: np.random.Generator, world: Cell) -> Operator:
    """Close the gripper above the corner and go through the rest of the motion."""
    side = task.working_side(world)
    tip, goal = world.tip(side), task.flat_corner(_worst(task, world, side))
    above, over = np.array([tip[0], tip[1], PASS_HEIGHT]), np.append(goal[:2], PASS_HEIGHT)
    stops = [Intent(tip, 0.0), Intent(above, 0.0), Intent(over, 0.0), Intent(over, MAX_STROKE)]
    return Tour(side, [*stops, home_stop(side)])


_IDEAS: Final = {
    "wrong_corner": _wrong_corner,
    "takes_block": _takes_block,
    "folds_further": _folds_further,
    "drop": _drop,
    "empty": _empty,
}
