"""Scripted operator of the drawer task: a feedback law over the present state, without clock and memory.

Arm and part of the task follow from the state: the arm on the far side of the block opens the drawer, the other puts
the block in, and the arm nearer to the tray, which is the one that has just been there, closes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.sim.operator import (
    GAIN,
    MAX_STEP,
    Intent,
    arm_part,
    descend,
    go_home,
    limited,
    outward,
    raised,
    ramp,
    targets_of_both,
)
from wav_policy.sim.task import Cell
from wav_policy.sim.tasks.contacts import gripped
from wav_policy.sim.tasks.drawer_scene import BLOCK, CLOSED, FLOOR, FRONT_HEIGHT, TRAVEL, DrawerState, drawer_state

OPEN_ENOUGH: Final = 0.100
"""Opening at which the block may go in [m]."""

PULLED: Final = TRAVEL - 0.006
"""Opening at which pulling ends [m]."""

PUSHED: Final = 0.004
"""Opening at which pushing ends [m]."""

BAR_Y: Final = 0.045
"""Where an arm takes the bar, from its middle to the arm's side [m]."""

STRADDLE_HEIGHT: Final = 0.030
"""Of the finger tips while they drag the drawer [m]."""

PASS_HEIGHT: Final = 0.115
"""Of empty finger tips above handle, drawer and blocks [m]."""

GRASP_HEIGHT: Final = 0.024
HOVER_HEIGHT: Final = 2 * BLOCK[2] + 0.030
CARRY_CLEARANCE: Final = FRONT_HEIGHT + 0.022
"""Of the block's foot above the table on its way [m]."""

DROP_CLEARANCE: Final = FLOOR + 0.020
WIDE: Final = 0.055
"""Stroke of a gripper that is open [m]."""


@dataclass(frozen=True)
class DrawerBelief:
    """What a demonstrator takes for granted instead of looking; None where it looks.

    Attributes:
        block: the block to put away.
        opened: the drawer is open.
        stored: the block is in the drawer.
        done: nothing is left to do.
        goal: where the block goes [2], m.
    """

    block: str = "yellow_block"
    opened: bool | None = None
    stored: bool | None = None
    done: bool = False
    goal: FloatArray | None = None


class DrawerOperator:
    """See the module.

    Args:
        belief: the truth if None.
    """

    def __init__(self, belief: DrawerBelief | None = None):
        self._belief = belief or DrawerBelief()

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        with world.lock:
            measured = world.joint_positions
            working, stage = self.turn(world)
            state = drawer_state(world, self._belief.block)
            intents = {}
            for side in SIDES:
                due, stroke = stage if side == working else "leave", float(arm_part(measured, side)[-1])
                intents[side] = self._intent(due, world, state, side, world.tip(side), stroke)
        return targets_of_both(measured, intents)

    def turn(self, world: Cell) -> tuple[str, str]:
        """Which arm works, and at what: "open", "store", "close" or "leave"."""
        state, belief = drawer_state(world, self._belief.block), self._belief
        nearer = min(SIDES, key=lambda side: float(np.linalg.norm((world.tip(side) - state.front)[:2])))
        if belief.done:
            return nearer, "leave"
        if state.inside if belief.stored is None else belief.stored:
            return nearer, "leave" if _pushed(world.tip(nearer), state) else "close"
        own = "left" if state.block[1] > state.front[1] else "right"
        other = "right" if own == "left" else "left"
        if belief.opened is None and not gripped(world, own, belief.block) and not _opened(world.tip(other), state):
            return other, "open"
        return own, "store"

    def _intent(self, stage: str, world: Cell, state: DrawerState, side: str, tip: FloatArray, stroke: float) -> Intent:
        if stage == "leave":
            return go_home(side, tip, PASS_HEIGHT)
        if stage == "store":
            return self._store(world, state, side, tip, stroke)
        return _drag(state, side, tip, -1.0 if stage == "open" else 1.0)

    def _store(self, world: Cell, state: DrawerState, side: str, tip: FloatArray, stroke: float) -> Intent:
        held = stroke < WIDE and gripped(world, side, self._belief.block)
        grasp = raised(state.block, GRASP_HEIGHT - BLOCK[2])
        if held:
            return self._carry(state, tip, side)
        error = tip - grasp
        slack = 0.012 if stroke > WIDE else 0.022
        if np.linalg.norm(error[:2]) < slack and abs(error[2]) < slack:
            return Intent(tip + GAIN * (grasp - tip), 0.0)
        hover = state.block[2] - BLOCK[2] + HOVER_HEIGHT
        if stroke < WIDE - 0.005:
            grasp[2] = hover
        return Intent(descend(tip, grasp, hover, 0.008, 0.024), MAX_STROKE)

    def _carry(self, state: DrawerState, tip: FloatArray, side: str) -> Intent:
        """Lift, move over the tray, lower, let go; steers by the block, which hangs where it hangs."""
        goal = self._belief.goal
        over = state.tray if goal is None else goal
        foot = state.block[2] - BLOCK[2]
        offset = over - state.block[:2]
        distance = float(np.linalg.norm(offset))
        low = DROP_CLEARANCE if goal is None else 0.004
        if distance < 0.022 and foot < low + 0.008:
            return Intent(tip, MAX_STROKE)
        wanted = low + (CARRY_CLEARANCE - low) * ramp(distance, 0.010, 0.030)
        near = 1.0 - ramp(distance, 0.020, 0.032)
        lifted = ramp(foot, CARRY_CLEARANCE - 0.025, CARRY_CLEARANCE - 0.008)
        level = GAIN * limited(offset, MAX_STEP) * max(lifted, near)
        climb = GAIN * np.clip(wanted - foot, -MAX_STEP, MAX_STEP)
        return Intent(tip + np.append(level, climb), 0.0)


def _straddles(tip: FloatArray, state: DrawerState) -> bool:
    """Whether the bar is between the open fingers."""
    return bool(abs(tip[0] - state.bar[0]) < 0.036 and tip[2] < state.bar[2] - 0.015)


def _opened(tip: FloatArray, state: DrawerState) -> bool:
    """Whether the arm with finger tips `tip` has opened the drawer: all the way while it still pulls."""
    return state.opening > (PULLED if _straddles(tip, state) else OPEN_ENOUGH)


def _pushed(tip: FloatArray, state: DrawerState) -> bool:
    """Whether the arm has closed the drawer: all the way while it still pushes."""
    return state.opening < (PUSHED if _straddles(tip, state) else CLOSED - 0.001)


def _drag(state: DrawerState, side: str, tip: FloatArray, direction: float) -> Intent:
    """Straddle the bar from above with the gripper open, then move along x."""
    goal = np.array([state.bar[0], state.front[1] + outward(side) * BAR_Y, STRADDLE_HEIGHT])
    if not _straddles(tip, state):
        return Intent(descend(tip, goal, PASS_HEIGHT, 0.010, 0.026), MAX_STROKE)
    step = np.array([direction * MAX_STEP, GAIN * np.clip(goal[1] - tip[1], -0.01, 0.01), goal[2] - tip[2]])
    step[2] = GAIN * np.clip(step[2], -MAX_STEP, MAX_STEP)
    return Intent(tip + step, MAX_STROKE)
