"""Drawer: open it with one arm, put the yellow block into it with the other, close it.

The drawer opens towards the bases. A gripper that straddles the handle's wide bar, open, drags the drawer out and
pushes it in without closing on it. The cyan block is a distractor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.model import BASE_POSITIONS
from wav_policy.sim.operator import outward
from wav_policy.sim.task import Cell, Operator, ScriptedFailure
from wav_policy.sim.tasks.contacts import touching
from wav_policy.sim.tasks.drawer_failures import make_failure
from wav_policy.sim.tasks.drawer_operator import DrawerOperator
from wav_policy.sim.tasks.drawer_scene import (
    BLOCK,
    BLOCK_ABS_Y,
    BLOCK_TURN,
    BLOCK_X,
    BLOCKS,
    CLOSED,
    FRONT_X,
    FRONT_Y,
    DrawerState,
    block_mjcf,
    cabinet_mjcf,
    drawer_state,
    in_held_out_region,
)

if TYPE_CHECKING:
    import mujoco

_MAX_SPEED: Final = 0.02  # m/s, at rest
_CLEAR_HEIGHT: Final = 0.095
_CLEAR_DISTANCE: Final = 0.04


class DrawerTask:
    """See the module."""

    name = "drawer"
    settings = ""
    hold_time = 0.3
    time_limit = 24.0
    instructions: tuple[str, ...] = (
        "put the yellow block in the drawer and close it",
        "open the drawer, put the yellow block inside and close the drawer",
        "store the yellow block in the drawer",
        "place the yellow block into the drawer, then shut it",
        "tidy up: the yellow block belongs in the closed drawer",
    )
    held_out_instructions: tuple[str, ...] = (
        "pull the drawer open, drop the yellow brick in and push it shut",
        "please put the yellow block away in the drawer",
    )

    def objects(self) -> str:
        """MJCF of the cabinet with its drawer and of the two blocks."""
        return cabinet_mjcf() + "".join(block_mjcf(name) for name in BLOCKS)

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Place the cabinet, the yellow block on one side of it and the cyan one on the other, at random."""
        model.body("cabinet").pos[:] = [rng.uniform(*FRONT_X), rng.uniform(*FRONT_Y), 0.0]
        sides = rng.permutation(SIDES)
        for name, side in zip(BLOCKS, sides, strict=True):
            while True:
                position = np.array([rng.uniform(*BLOCK_X), outward(side) * rng.uniform(*BLOCK_ABS_Y)])
                if name != "yellow_block" or in_held_out_region(position) == held_out:
                    break
            to_base = position - BASE_POSITIONS[side][:2]
            yaw = np.arctan2(to_base[1], to_base[0]) + rng.uniform(-BLOCK_TURN, BLOCK_TURN)
            data.joint(name).qpos[:] = [*position, BLOCK[2] + 0.0005, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]

    def before_step(self, world: Cell) -> None:
        """Nothing: contacts do it all."""

    def is_done(self, world: Cell) -> bool:
        """The drawer is closed and at rest with the yellow block in it and the cyan one not; no arm touches either or
        is within 4 cm of the handle."""
        state = drawer_state(world, "yellow_block")
        if not state.inside or state.opening > CLOSED or drawer_state(world, "cyan_block").inside:
            return False
        if abs(float(world.data.joint("drawer").qvel[0])) > _MAX_SPEED:
            return False
        arms = world.arm_bodies["left"] | world.arm_bodies["right"]
        if any(arms & touching(world, world.model.body(name).id) for name in ("drawer", "yellow_block")):
            return False
        return all(_clear(world.tip(side), state) for side in SIDES)

    def working_side(self, world: Cell) -> str:
        """The arm whose turn it is."""
        return DrawerOperator().turn(world)[0]

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""
        return DrawerOperator()

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""
        return make_failure(rng)


def _clear(tip: FloatArray, state: DrawerState) -> bool:
    return bool(tip[2] > _CLEAR_HEIGHT or tip[0] < state.bar[0] - _CLEAR_DISTANCE)
