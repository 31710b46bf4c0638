"""Bowl organisation: put one of two bowls, which stand at the left and the right, on the plate in the middle.

The instruction says which: in task `bowls` the red one, in task `green_bowl`, which lays out the same scene for the
same seed, the green one. The other bowl is a distractor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from wav_policy.robot.model import TABLE_CLASS
from wav_policy.sim.task import Cell, Operator, ScriptedFailure
from wav_policy.sim.tasks.bowl_failures import make_failure
from wav_policy.sim.tasks.bowl_operator import BowlOperator
from wav_policy.sim.tasks.bowl_scene import (
    BOWL_HEIGHT,
    BOWLS,
    MIN_CLEARANCE,
    PLACING_TOLERANCE,
    PLATE_HEIGHT,
    PLATE_RADIUS,
    PLATE_X,
    PLATE_Y,
    WALL_RADIUS_TOP,
    BowlState,
    bowl_mjcf,
    bowl_position,
    bowl_state,
    in_held_out_region,
    nearer_side,
    put_down,
)
from wav_policy.sim.tasks.contacts import touching

if TYPE_CHECKING:
    import mujoco

_MAX_SPEED: Final = 0.02  # m/s, at rest
_MAX_SPIN: Final = 0.3  # rad/s, at rest
_MIN_UPRIGHT: Final = float(np.cos(np.radians(8.0)))
_MIN_OPEN_STROKE: Final = 0.03
_MIN_TIP_DISTANCE: Final = 0.03


class BowlTask:
    """See the module. The bowls are light and thin-walled, so that a gripper across the rim holds them.

    Args:
        target: the bowl that the instruction names.
    """

    settings = ""
    hold_time = 0.3
    time_limit = 20.0
    bowls: tuple[str, ...] = BOWLS

    def __init__(self, name: str, target: str):
        self.name = name
        self.target = target
        colour = target.removesuffix("_bowl")
        self.instructions: tuple[str, ...] = (
            f"put the {colour} bowl on the plate",
            f"place the {colour} bowl on the blue plate",
            f"pick up the {colour} bowl and set it down on the plate",
            f"move the {colour} bowl onto the plate in the middle",
            f"tidy up: the {colour} bowl belongs on the plate",
        )
        self.held_out_instructions: tuple[str, ...] = (
            f"set the {colour} dish onto the blue disc",
            f"get the {colour} bowl to the plate, please",
        )

    def objects(self) -> str:
        """MJCF of the bowls (a ring of boxes around a foot) and the plate (fixed to the table)."""
        return f"""
    <body name="plate">
      <geom name="plate" type="cylinder" size="{PLATE_RADIUS} {PLATE_HEIGHT / 2}" pos="0 0 {PLATE_HEIGHT / 2}"
            contype="{TABLE_CLASS[0]}" conaffinity="{TABLE_CLASS[1]}" friction="0.8 0.005 0.0001"
            rgba="0.05 0.25 0.95 1"/>
    </body>
    {"".join(bowl_mjcf(name) for name in self.bowls)}"""

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Place the bowls on either side and the plate between them, at random and clear of each other."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        while True:
            plate = np.array([rng.uniform(*PLATE_X), rng.uniform(*PLATE_Y)])
            red, green = bowl_position(side, rng), bowl_position(-side, rng)
            clear = min(np.linalg.norm(red - plate), np.linalg.norm(green - plate)) >= MIN_CLEARANCE
            if clear and (in_held_out_region(red) or in_held_out_region(green)) == held_out:
                break
        model.body("plate").pos[:] = [*plate, 0.0]
        for name, position in zip(BOWLS, (red, green), strict=True):
            put_down(data, name, position, rng.uniform(-np.pi, np.pi))

    def before_step(self, world: Cell) -> None:
        """Nothing: contacts do it all."""

    def is_done(self, world: Cell) -> bool:
        """The bowl stands with its whole foot on the plate, upright and at rest, borne by the plate alone, and the
        nearer gripper is open and has drawn back."""
        state = bowl_state(world, self.target)
        if np.linalg.norm(state.offset) > PLACING_TOLERANCE or state.up[2] < _MIN_UPRIGHT:
            return False
        velocity = world.data.joint(self.target).qvel
        if np.linalg.norm(velocity[:3]) > _MAX_SPEED or np.linalg.norm(velocity[3:]) > _MAX_SPIN:
            return False
        if touching(world, world.model.body(self.target).id) != {world.model.body("plate").id}:
            return False
        return self._released(world, state)

    def _released(self, world: Cell, state: BowlState) -> bool:
        """Whether the gripper nearer to the bowl is open, its tips above the rim or beside the bowl by 3 cm."""
        nearer = self.working_side(world)
        tip = world.tip(nearer)
        above = tip[2] - (state.bowl[2] + BOWL_HEIGHT)
        beside = np.linalg.norm(tip[:2] - state.bowl[:2]) - WALL_RADIUS_TOP
        return world.arm(nearer).read().stroke > _MIN_OPEN_STROKE and max(above, beside) > _MIN_TIP_DISTANCE

    def working_side(self, world: Cell) -> str:
        """The arm whose finger tips are nearer to the bowl."""
        return nearer_side(world, self.target)

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""
        return BowlOperator(self.target)

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""
        return make_failure(self.target, self.bowls, rng)
