"""The towel on the table: how it is laid out, moves and is held, and when it lies flat.

The cloth is a MuJoCo flex of 10 x 10 vertices with stiff edges. It does not collide with itself, which would cost many
times the rest of the simulation; instead a vertex that lies on the cloth is kept one layer higher. Grippers do not
touch it either: fingers that close at the cloth hold the vertices between them by damped springs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray, IndexArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.model import TABLE_CLASS
from wav_policy.sim.operator import outward
from wav_policy.sim.task import Cell
from wav_policy.sim.tasks.towel_scene import (
    CENTRE_X,
    CENTRE_Y,
    CORNERS,
    COUNT,
    COVERAGE,
    FOLDS,
    GRIP_STROKE,
    HELD_OUT_FOLDS,
    LAYER,
    MASS,
    MAX_YAW,
    RADIUS,
    SIZE,
    SPACING,
    covered_area,
    decoy_mjcf,
    direction,
    fold,
)

if TYPE_CHECKING:
    import mujoco

GRIP_RADIUS: Final = 0.032
GRIP_HEIGHT: Final = 0.035
"""From the finger tips to vertices that closing fingers catch: horizontally and upwards or downwards [m]."""

_TURNED: Final = ("near_right", "far_left")
"""Corner folds for which the towel is laid out turned by 90 degrees: its triangles have edges along one diagonal, and
only folds along that diagonal leave all lengths as they are."""

_STIFFNESS: Final = 15.0  # N/m for every vertex; explicit integration of 1 g at 4 ms allows 60
_DAMPING: Final = 0.12
_MAX_MEAN_SPEED: Final = 0.01  # m/s, at rest
_CLEAR_HEIGHT: Final = 0.06
_DECOY_ABS_Y: Final = (0.235, 0.285)
_DECOY_X: Final = (0.16, 0.30)


@dataclass(frozen=True)
class Grip:
    """What one gripper holds: vertices and where they are from the finger tips [K, 3], m."""

    vertices: IndexArray
    offsets: FloatArray


_NOTHING: Final = Grip(np.zeros(0, dtype=np.int_), np.zeros((0, 3)))


class Towel:
    """All of the task but who does it. Keeps where the flat towel was laid out, and what the grippers hold."""

    name = "towel"
    settings = """
  <option noslip_iterations="0"/>
  <asset>
    <texture name="towel" type="2d" builtin="flat" rgb1="1.0 0.40 0.0" mark="edge" markrgb="0.35 0.0 0.55" width="12"
             height="12"/>
    <material name="towel" texture="towel" specular="0"/>
  </asset>"""
    hold_time = 0.3
    time_limit = 16.0
    instructions: tuple[str, ...] = (
        "flatten the towel",
        "unfold the towel and lay it flat",
        "spread the orange towel out on the table",
        "smooth out the towel until it is flat",
        "lay the folded towel flat",
    )
    held_out_instructions: tuple[str, ...] = (
        "open the folded cloth out",
        "please make the towel lie flat on the table",
    )

    def __init__(self) -> None:
        self._flat = np.zeros((COUNT**2, 3))
        self.corner_vertices: dict[str, int] = {}
        self._bodies: IndexArray = np.zeros(0, dtype=np.int_)
        self._open = dict.fromkeys(SIDES, True)
        self.grips = dict.fromkeys(SIDES, _NOTHING)

    def objects(self) -> str:
        """MJCF of the towel and of a block on either side of it, which are distractors."""
        return f"""
    <flexcomp name="towel" type="grid" count="{COUNT} {COUNT} 1" spacing="{SPACING} {SPACING} {SPACING}" dim="2"
              pos="0.25 0 {RADIUS}" mass="{MASS}" radius="{RADIUS}" material="towel">
      <edge equality="true" damping="0.01"/>
      <contact selfcollide="none" contype="16" conaffinity="{TABLE_CLASS[0]}" friction="1.2 0.005 0.0001"/>
    </flexcomp>
    {"".join(decoy_mjcf(index) for index in range(2))}"""

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Lay the towel down somewhere, fold one edge or corner over, and put the blocks beside it."""
        self._bodies = np.array([model.body(f"towel_{index}").id for index in range(COUNT**2)])
        centre, yaw = [rng.uniform(*CENTRE_X), rng.uniform(*CENTRE_Y)], rng.uniform(-MAX_YAW, MAX_YAW)
        choices = [choice for choice in FOLDS if (choice in HELD_OUT_FOLDS) == held_out]
        kind, rows = choices[rng.integers(len(choices))]
        line = np.arange(COUNT) * SPACING - SIZE / 2
        grid: FloatArray = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
        if kind in _TURNED or (kind not in CORNERS and rng.random() < 0.5):
            grid = np.column_stack([-grid[:, 1], grid[:, 0]])
        self.corner_vertices = {name: int(np.argmax(grid @ direction(name))) for name in CORNERS}
        rotation = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        self._flat = np.column_stack([grid @ rotation.T + centre, np.full(COUNT**2, RADIUS)])
        folded, over = fold(grid, kind, rows)
        heights = RADIUS + LAYER * over
        vertices = np.column_stack([folded @ rotation.T + centre, heights])
        for index, position in enumerate(vertices):
            body = self._bodies[index]
            address = model.jnt_qposadr[model.body_jntadr[body]]
            data.qpos[address : address + 3] = position - model.body_pos[body]
        for index, side in enumerate(rng.permutation([1.0, -1.0])):
            position = [rng.uniform(*_DECOY_X), side * rng.uniform(*_DECOY_ABS_Y), 0.0205]
            data.joint(f"decoy{index}").qpos[:] = [*position, 1.0, 0.0, 0.0, 0.0]
        self._open = dict.fromkeys(SIDES, True)
        self.grips = dict.fromkeys(SIDES, _NOTHING)

    def before_step(self, world: Cell) -> None:
        """Forces of the grippers on what they hold, and of the towel on what lies on it."""
        data = world.data
        positions, velocities = self.vertices(world), self._velocities(world)
        forces = np.zeros_like(positions)
        over = np.linalg.norm((positions - self._flat)[:, :2], axis=1) > 1.5 * SPACING
        forces[over] = -_DAMPING * velocities[over]
        forces[over, 2] += np.clip(_STIFFNESS * (LAYER - positions[over, 2]), 0.0, 0.05)
        for side in SIDES:
            tip = data.site(f"{side}_tip").xpos
            self._update_grip(world, side, tip, positions)
            held = self.grips[side]
            pull = _STIFFNESS * (tip + held.offsets - positions[held.vertices]) - _DAMPING * velocities[held.vertices]
            forces[held.vertices] += pull
        data.xfrc_applied[self._bodies, :3] = forces

    def _update_grip(self, world: Cell, side: str, tip: FloatArray, positions: FloatArray) -> None:
        """Catch vertices of the uppermost layer when the fingers close, let them go when they open."""
        is_open = world.arm(side).read().stroke > GRIP_STROKE
        if is_open:
            self.grips[side] = _NOTHING
        elif self._open[side]:
            offset = positions - tip
            near = (np.linalg.norm(offset[:, :2], axis=1) < GRIP_RADIUS) & (np.abs(offset[:, 2]) < GRIP_HEIGHT)
            top = positions[near, 2].max(initial=0.0)
            caught = np.flatnonzero(near & (positions[:, 2] > top - LAYER / 2))
            self.grips[side] = Grip(caught, np.zeros((len(caught), 3)) + offset[caught] * [1.0, 1.0, 0.3])
        self._open[side] = is_open

    def vertices(self, world: Cell) -> FloatArray:
        """Positions of all vertices [100, 3], m."""
        return np.array(world.data.xpos[self._bodies])

    def _velocities(self, world: Cell) -> FloatArray:
        """Of all vertices [100, 3], m/s."""
        first = world.model.jnt_dofadr[world.model.body_jntadr[self._bodies[0]]]
        return np.array(world.data.qvel[first : first + 3 * COUNT**2]).reshape(-1, 3)

    def corner(self, world: Cell, name: str) -> FloatArray:
        """Where a corner is [3], m."""
        return np.array(world.data.xpos[self._bodies[self.corner_vertices[name]]])

    def flat_corner(self, name: str) -> FloatArray:
        """Where a corner of the flat towel was when it was laid out [3], m."""
        return self._flat[self.corner_vertices[name]].copy()

    def coverage(self, world: Cell) -> float:
        """Area of the table that the towel covers, as a share of its own."""
        return covered_area(self.vertices(world)[:, :2]) / covered_area(self._flat[:, :2])

    def is_done(self, world: Cell) -> bool:
        """The towel covers its area, lies still, and both grippers have let go and risen."""
        if any(len(self.grips[side].vertices) or world.tip(side)[2] < _CLEAR_HEIGHT for side in SIDES):
            return False
        if np.linalg.norm(self._velocities(world), axis=1).mean() > _MAX_MEAN_SPEED:
            return False
        return self.coverage(world) >= COVERAGE

    def working_side(self, world: Cell) -> str:
        """The arm whose side of the towel has the corner that is furthest from its place."""
        return max(SIDES, key=lambda side: max(self.misplacement(world, name) for name in CORNERS if side in name))

    def misplacement(self, world: Cell, name: str) -> float:
        """Horizontal distance of a corner from its place in the flat towel [m]."""
        return float(np.linalg.norm((self.corner(world, name) - self.flat_corner(name))[:2]))

    def decoy(self, world: Cell, side: str) -> FloatArray:
        """Where the block on one side is [3], m."""
        blocks = [world.data.body(f"decoy{index}").xpos for index in range(2)]
        return np.array(max(blocks, key=lambda position: outward(side) * position[1]))
