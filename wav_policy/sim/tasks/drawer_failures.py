"""How the drawer task goes wrong: a false belief about what is there or done, or an arm that strays or gives up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.sim.failures import Choice, Tour, draw_failure, home_stop
from wav_policy.sim.operator import Intent, outward
from wav_policy.sim.task import Cell, Operator, ScriptedFailure
from wav_policy.sim.tasks.contacts import gripped
from wav_policy.sim.tasks.drawer_operator import HOVER_HEIGHT, PASS_HEIGHT, DrawerBelief, DrawerOperator
from wav_policy.sim.tasks.drawer_scene import BLOCK, drawer_state

_CHOICES: Final[tuple[Choice, ...]] = (
    ("skips_opening", "start", 0.36),
    ("stops_early", "pull", 0.04),
    ("wrong_block", "opened", 0.36),
    ("closes_empty", "opened", 0.08),
    ("wander", "reach", 0.02),
    ("empty", "reach", 0.03),
    ("beside", "carry", 0.02),
    ("drop", "carry", 0.02),
    ("freeze", "carry", 0.01),
    ("leaves_open", "stored", 0.06),
)
"""Failure, decision point and weight. The two heaviest are choices of what to do next, and with which arm, that cannot
be taken back: they happen often enough at the same two moments for a small model to learn that there is a choice."""

_IN_FRONT: Final = np.array([-0.150, 0.05])
"""From the closed drawer's front to where a block is put down outside it, the second to the arm's side [m]."""


_LATEST: Final = {"pull": 3, "reach": 2, "carry": 5}
"""Most actions between a decision point and the failure."""


def make_failure(rng: np.random.Generator) -> ScriptedFailure:
    """A random failure at a random decision point."""
    return draw_failure(_CHOICES, _LATEST, _MOMENTS, _IDEAS, (), rng)


def _turn(world: Cell) -> tuple[str, str]:
    return DrawerOperator().turn(world)


def _pulling(world: Cell) -> bool:
    return _turn(world)[1] == "open" and 0.03 < drawer_state(world, DrawerBelief.block).opening < 0.08


def _reaching(world: Cell) -> bool:
    """The finger tips have come near the block and are above it."""
    side, stage = _turn(world)
    error = world.tip(side) - drawer_state(world, DrawerBelief.block).block
    return stage == "store" and bool(np.linalg.norm(error[:2]) < 0.10 and error[2] > 0.03) and not _carrying(world)


def _carrying(world: Cell) -> bool:
    side, stage = _turn(world)
    lifted = drawer_state(world, DrawerBelief.block).block[2] > BLOCK[2] + 0.03
    return stage == "store" and gripped(world, side, DrawerBelief.block) and bool(lifted)


_MOMENTS: Final[Mapping[str, Callable[[Cell], bool]]] = {
    "pull": _pulling,
    "opened": lambda world: _turn(world)[1] == "store",
    "reach": _reaching,
    "carry": _carrying,
    "stored": lambda world: _turn(world)[1] == "close",
}


def _skips_opening(rng: np.random.Generator, world: Cell) -> Operator:
    """Take the block at once and put it down in front of the closed drawer."""
    state = drawer_state(world, DrawerBelief.block)
    sign = 1.0 if state.block[1] > state.front[1] else -1.0
    return DrawerOperator(DrawerBelief(opened=True, goal=state.front[:2] + _IN_FRONT * [1.0, sign]))


def _beside(rng: np.random.Generator, world: Cell) -> Operator:
    """Put the block back on the table, on its own side."""
    side, _ = _turn(world)
    goal = np.array([rng.uniform(0.20, 0.27), outward(side) * rng.uniform(0.19, 0.25)])
    return DrawerOperator(DrawerBelief(opened=True, goal=goal))


def _go_through_the_motion(world: Cell, stroke: float) -> Operator:
    """Open (drop the block) or close (above it), and then the rest of the motion with nothing in hand."""
    side, _ = _turn(world)
    state, tip = drawer_state(world, DrawerBelief.block), world.tip(side)
    over, low = np.append(state.tray, PASS_HEIGHT + 0.01), np.append(state.tray, HOVER_HEIGHT)
    first = [Intent(tip, stroke), Intent(tip, 0.0), Intent(np.array([tip[0], tip[1], over[2]]), 0.0)]
    rest = [Intent(over, 0.0), Intent(low, 0.0), Intent(low, MAX_STROKE), Intent(over, MAX_STROKE)]
    return Tour(side, [*first, *rest, home_stop(side)])


_IDEAS: Final[Mapping[str, Callable[[np.random.Generator, Cell], Operator]]] = {
    "skips_opening": _skips_opening,
    "stops_early": lambda rng, world: DrawerOperator(DrawerBelief(done=True)),
    "wrong_block": lambda rng, world: DrawerOperator(DrawerBelief(block="cyan_block")),
    "closes_empty": lambda rng, world: DrawerOperator(DrawerBelief(stored=True)),
    "leaves_open": lambda rng, world: DrawerOperator(DrawerBelief(done=True)),
    "beside": _beside,
    "drop": lambda rng, world: _go_through_the_motion(world, MAX_STROKE),
    "empty": lambda rng, world: _go_through_the_motion(world, 0.0),
}
