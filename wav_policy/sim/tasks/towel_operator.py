"""Scripted operator of the towel task: every arm takes the corners of its own side back to their places.

A feedback law over the present state, without clock and memory; both arms may work at the same time.
"""

from __future__ import annotations

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
    ramp,
    targets_of_both,
)
from wav_policy.sim.task import Cell
from wav_policy.sim.tasks.towel_cloth import Towel
from wav_policy.sim.tasks.towel_scene import CORNERS, COVERAGE, GRIP_STROKE, SPACING

IN_PLACE: Final = 0.045
"""Largest distance of a corner from its place at which it is left alone [m]; `NEARLY_IN_PLACE` while the towel does not
cover enough."""

NEARLY_IN_PLACE: Final = 0.018

OVERSHOOT: Final = 0.012
"""How far beyond its place a held corner is taken, to draw out wrinkles [m]."""

INWARD: Final = 0.25 * SPACING
"""From the corner to where it is taken, along both edges [m]."""

GRASP_HEIGHT: Final = 0.016
HOVER_HEIGHT: Final = 0.075
CARRY_HEIGHT: Final = 0.055
PLACE_HEIGHT: Final = 0.024
PASS_HEIGHT: Final = 0.085
WIDE: Final = 0.055


class TowelOperator:
    """See the module.

    Args:
        task: knows the towel.
        goals: where a corner is taken instead of to its place [2], m, by its name.
    """

    def __init__(self, task: Towel, goals: dict[str, FloatArray] | None = None):
        self._task = task
        self._goals = goals or {}

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        with world.lock:
            measured = world.joint_positions
            strokes = {side: float(arm_part(measured, side)[-1]) for side in SIDES}
            intents = {side: self._intent(world, side, world.tip(side), strokes[side]) for side in SIDES}
        return targets_of_both(measured, intents)

    def corner_of(self, world: Cell, side: str) -> str | None:
        """The corner that an arm works at: one that it holds, else the one furthest from its goal; None when done."""
        own = [name for name in CORNERS if side in name]
        held = set(self._task.grips[side].vertices)
        for name in own:
            if self._task.corner_vertices[name] in held:
                return name
        name = max(own, key=lambda name: self._missing(world, name))
        flat = bool(self._goals) or self._task.coverage(world) > COVERAGE + 0.01
        return name if self._missing(world, name) > (IN_PLACE if flat else NEARLY_IN_PLACE) else None

    def _goal(self, name: str) -> FloatArray:
        return self._goals.get(name, self._task.flat_corner(name)[:2])

    def _missing(self, world: Cell, name: str) -> float:
        return float(np.linalg.norm(self._task.corner(world, name)[:2] - self._goal(name)))

    def _intent(self, world: Cell, side: str, tip: FloatArray, stroke: float) -> Intent:
        name = self.corner_of(world, side)
        if name is None:
            return go_home(side, tip, PASS_HEIGHT)
        corner, goal = self._task.corner(world, name), self._goal(name)
        if len(self._task.grips[side].vertices):
            return self._carry(tip, corner, goal)
        inward = np.sign(self._task.vertices(world)[:, :2].mean(axis=0) - corner[:2])
        grasp = np.append(corner[:2] + INWARD * inward, GRASP_HEIGHT)
        error = tip - grasp
        slack = 0.014 if stroke > WIDE else 0.022
        if np.linalg.norm(error[:2]) < slack and error[2] < slack and stroke > GRIP_STROKE:
            return Intent(tip + GAIN * (grasp - tip), 0.0)
        if stroke < WIDE - 0.005:
            grasp[2] = HOVER_HEIGHT
        return Intent(descend(tip, grasp, HOVER_HEIGHT, 0.010, 0.026), MAX_STROKE)

    @staticmethod
    def _carry(tip: FloatArray, corner: FloatArray, goal: FloatArray) -> Intent:
        """Lift the corner, take it to its goal and a little beyond, lower it, let go."""
        offset = goal - corner[:2]
        distance = float(np.linalg.norm(offset))
        if distance < 0.016 and tip[2] < PLACE_HEIGHT + 0.012:
            return Intent(tip, MAX_STROKE)
        wanted = PLACE_HEIGHT + (CARRY_HEIGHT - PLACE_HEIGHT) * ramp(distance, 0.012, 0.060)
        lifted = max(ramp(tip[2], 0.025, 0.045), 1.0 - ramp(distance, 0.040, 0.070))
        level = GAIN * limited(offset * (1.0 + OVERSHOOT / max(distance, OVERSHOOT)), MAX_STEP) * lifted
        climb = GAIN * np.clip(wanted - tip[2], -MAX_STEP, MAX_STEP)
        return Intent(tip + np.append(level, climb), 0.0)
