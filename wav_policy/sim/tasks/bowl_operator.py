"""Scripted operator of the bowl task: a feedback law over the present state, so that it recovers from anything.

It has no clock and no memory. Which part of the task is due follows from where gripper, bowl and plate are, and every
target height is a funnel over the remaining horizontal distance, so that the motion is smooth and can be cloned.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.kinematics import MAX_STROKE
from wav_policy.robot.model import BASE_POSITIONS
from wav_policy.sim.operator import (
    GAIN,
    MAX_STEP,
    Intent,
    arm_part,
    descend,
    home_tip,
    limited,
    ramp,
    targets_of_both,
)
from wav_policy.sim.task import Cell
from wav_policy.sim.tasks.bowl_scene import (
    BOWL_HEIGHT,
    PLATE_HEIGHT,
    WALL_RADIUS_TOP,
    BowlState,
    bowl_state,
    nearer_side,
)
from wav_policy.sim.tasks.contacts import gripped

GRASP_RADIUS: Final = 0.0557
"""Of the wall, half-way up the closed fingers [m]."""

GRASP_HEIGHT: Final = 0.026
"""Of the finger tips above the bowl's foot when they close [m]: 30 mm below the rim."""

HOVER_HEIGHT: Final = BOWL_HEIGHT + 0.022
CARRY_HEIGHT: Final = 0.045
MAX_CARRY_STEP: Final = 0.018
OPEN_ENOUGH: Final = 0.050
CLOSED: Final = 0.025


@dataclass(frozen=True)
class _Scene:
    """What the law looks at: the working arm's tips and stroke, its grasp point, whether it holds the bowl."""

    tip: FloatArray
    stroke: float
    grasp: FloatArray
    held: bool
    objects: BowlState


class BowlOperator:
    """Takes the bowl at the rim point nearest to the arm's base, one finger inside, and puts it on the plate.

    Args:
        target: the bowl to move.
        goal: where to put it down [2], m; the plate if None.
    """

    def __init__(self, target: str, goal: FloatArray | None = None):
        self._target = target
        self._goal = goal

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""
        with world.lock:
            measured, side = world.joint_positions, nearer_side(world, self._target)
            intent = self._intent(self._observe(world, side, arm_part(measured, side)), side)
        return targets_of_both(measured, {side: intent})

    def _observe(self, world: Cell, side: str, arm: FloatArray) -> _Scene:
        objects = bowl_state(world, self._target)
        if self._goal is not None:
            objects = replace(objects, plate=np.append(self._goal, objects.plate[2]))
        inward = BASE_POSITIONS[side][:2] - objects.bowl[:2]
        inward /= np.linalg.norm(inward)
        grasp = objects.bowl + np.append(GRASP_RADIUS * inward, GRASP_HEIGHT)
        held = arm[-1] < CLOSED and gripped(world, side, self._target)
        return _Scene(world.tip(side), float(arm[-1]), grasp, held, objects)

    def _intent(self, scene: _Scene, side: str) -> Intent:
        objects = scene.objects
        distance = float(np.linalg.norm(objects.offset))
        on_plate = objects.clearance < PLATE_HEIGHT + 0.004
        if scene.held:
            return Intent(scene.tip, MAX_STROKE) if on_plate and distance < 0.018 else self._carry(scene)
        if on_plate and distance < 0.035:
            return self._leave(scene, side)
        if self._captured(scene):
            return Intent(scene.tip + GAIN * (scene.grasp - scene.tip), 0.0)
        return self._approach(scene)

    @staticmethod
    def _captured(scene: _Scene) -> bool:
        """Whether the rim is between the fingers, so that they should close (or go on closing)."""
        error = scene.tip - scene.grasp
        slack = 0.010 if scene.stroke > OPEN_ENOUGH else 0.020
        return bool(np.linalg.norm(error[:2]) < slack and abs(error[2]) < slack)

    @staticmethod
    def _approach(scene: _Scene) -> Intent:
        """Over the rim, then down a funnel; up first where the fingers are beside the wall or not open."""
        hover = scene.objects.bowl[2] + HOVER_HEIGHT
        goal = scene.grasp.copy()
        if scene.stroke < OPEN_ENOUGH:
            goal[2] = hover
        return Intent(descend(scene.tip, goal, hover), MAX_STROKE)

    @staticmethod
    def _carry(scene: _Scene) -> Intent:
        """Lift, move over the plate, lower down a funnel; the bowl hangs where it hangs, so steer by the bowl."""
        objects = scene.objects
        distance = float(np.linalg.norm(objects.offset))
        wanted = PLATE_HEIGHT - 0.004 + CARRY_HEIGHT * ramp(distance, 0.006, 0.040)
        lifted = ramp(objects.clearance, 0.010, 0.030)
        near = 1.0 - ramp(distance, 0.020, 0.040)
        level = GAIN * limited(objects.offset, MAX_CARRY_STEP) * max(lifted, near)
        climb = GAIN * np.clip(wanted - objects.clearance, -0.020, MAX_CARRY_STEP)
        return Intent(scene.tip + np.append(level, climb), 0.0)

    @staticmethod
    def _leave(scene: _Scene, side: str) -> Intent:
        """Open, rise out of the bowl, then home."""
        hover = scene.objects.bowl[2] + HOVER_HEIGHT
        beside = float(np.linalg.norm(scene.tip[:2] - scene.objects.bowl[:2])) - WALL_RADIUS_TOP
        clear = max(ramp(scene.tip[2], hover - 0.015, hover + 0.005), ramp(beside, 0.045, 0.060))
        opened = max(ramp(scene.stroke, 0.030, OPEN_ENOUGH), clear)
        home = home_tip(side)
        level = GAIN * limited((home - scene.tip)[:2], MAX_STEP) * clear
        climb = GAIN * np.clip(max(home[2], hover + 0.01) - scene.tip[2], -MAX_STEP, MAX_STEP) * opened
        return Intent(scene.tip + np.append(level, climb), MAX_STROKE)
