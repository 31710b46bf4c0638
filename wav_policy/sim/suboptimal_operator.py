"""An operator who hesitates: stands still, creeps, or makes a detour, and then goes on with the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES, arm_slice
from wav_policy.sim.failures import gripping_stroke
from wav_policy.sim.operator import ACTION_PERIOD, Intent, arm_part, joint_targets
from wav_policy.sim.task import Cell, Operator

_KINDS: Final = ("pause", "creep", "detour")
_DURATIONS: Final = {"pause": (0.8, 2.4), "creep": (1.0, 2.5), "detour": (0.6, 1.1)}
"""Shortest and longest of each kind [s]."""

_RATE: Final = 0.3
"""Hesitations per second of work."""

_CREEP: Final = 0.35
"""Share of the skilled step."""

_DETOUR_STEP: Final = 0.022
"""[m] per action, upwards and to a side."""


@dataclass
class _Episode:
    kind: str
    steps_left: int
    start: FloatArray
    direction: FloatArray


class SuboptimalOperator:
    """Wraps an operator.

    Args:
        operator: knows what to do.
        rng: draws when and how to hesitate.
    """

    def __init__(self, operator: Operator, rng: np.random.Generator):
        self._operator = operator
        self._rng = rng
        self._current: _Episode | None = None

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        action = self._operator.act(world)
        if self._current is None and self._rng.random() < _RATE * ACTION_PERIOD:
            self._current = self._begin(world)
        current = self._current
        if current is None:
            return action
        current.steps_left -= 1
        if current.steps_left <= 0:
            self._current = None
        return self._hesitate(current, action, world)

    def _begin(self, world: Cell) -> _Episode:
        kind = str(self._rng.choice(_KINDS))
        steps = round(self._rng.uniform(*_DURATIONS[kind]) / ACTION_PERIOD)
        sideways = self._rng.uniform(-np.pi, np.pi)
        direction = np.array([np.cos(sideways), np.sin(sideways), 1.0]) / np.sqrt(2)
        return _Episode(kind, steps, world.joint_positions, direction)

    def _hesitate(self, current: _Episode, action: FloatArray, world: Cell) -> FloatArray:
        """The action in place of the skilled one; grippers go on with what they do."""
        measured = world.joint_positions
        hesitant = action.copy()
        for side in SIDES:
            arm, goal = arm_part(measured, side), arm_part(hesitant, side)
            if current.kind == "pause":
                goal[:-1] = arm_part(current.start, side)[:-1]
            elif current.kind == "creep":
                goal[:-1] = arm[:-1] + _CREEP * (goal[:-1] - arm[:-1])
        if current.kind == "detour":
            side = world.task.working_side(world)
            arm = arm_part(measured, side)
            intent = Intent(world.tip(side) + _DETOUR_STEP * current.direction, gripping_stroke(float(arm[-1])))
            hesitant[arm_slice(side)] = joint_targets(side, intent, float(arm[5]), arm)
        return hesitant
