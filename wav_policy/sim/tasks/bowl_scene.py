"""Bowls and plate: sizes, where they are laid out, their MJCF, and where they are now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.model import OBJECT_CLASS
from wav_policy.sim.task import Cell

if TYPE_CHECKING:
    import mujoco

BOWL_HEIGHT: Final = 0.056
FOOT_RADIUS: Final = 0.050
WALL_RADIUS_BOTTOM: Final = 0.053
WALL_RADIUS_TOP: Final = 0.057
WALL_THICKNESS: Final = 0.007
NUM_WALL_SEGMENTS: Final = 16
PLATE_RADIUS: Final = 0.090
PLATE_HEIGHT: Final = 0.006
PLACING_TOLERANCE: Final = PLATE_RADIUS - FOOT_RADIUS
"""Largest distance of bowl and plate centres with the whole foot on the plate [m]."""

BOWL_X: Final = (0.22, 0.31)
BOWL_ABS_Y: Final = (0.16, 0.26)
PLATE_X: Final = (0.22, 0.28)
PLATE_Y: Final = (-0.025, 0.025)
MIN_CLEARANCE: Final = 0.160
"""Between the centres of bowl and plate at the start [m]."""

HELD_OUT_X: Final = (0.25, 0.28)
HELD_OUT_ABS_Y: Final = (0.19, 0.23)
"""Where one of the bowls or both stand in held-out layouts, and none in training layouts [m]."""

BOWLS: Final = ("red_bowl", "green_bowl")
_COLOURS: Final = {"red_bowl": "0.95 0.08 0.08 1", "green_bowl": "0.10 0.60 0.15 1"}
_FOOT_MASS: Final = 0.02
_WALL_MASS: Final = 0.03


@dataclass(frozen=True)
class BowlState:
    """Where bowl and plate are, in the world.

    Attributes:
        bowl: centre of the bowl's foot [3], m.
        up: the bowl's axis [3].
        plate: centre of the plate's top [3], m.
    """

    bowl: FloatArray
    up: FloatArray
    plate: FloatArray

    @property
    def offset(self) -> FloatArray:
        """From the bowl's centre to the plate's, horizontally [2], m."""
        return (self.plate - self.bowl)[:2]

    @property
    def clearance(self) -> float:
        """Height of the lowest point of the bowl's foot above the table [m]."""
        return float(self.bowl[2] - FOOT_RADIUS * np.hypot(self.up[0], self.up[1]))


def bowl_state(world: Cell, name: str) -> BowlState:
    """Present state of the bowl called `name`."""
    bowl = world.data.body(name)
    plate = world.data.body("plate").xpos + np.array([0.0, 0.0, PLATE_HEIGHT])
    return BowlState(bowl.xpos.copy(), bowl.xmat.reshape(3, 3)[:, 2].copy(), plate)


def put_down(data: mujoco.MjData, name: str, position: FloatArray, yaw: float) -> None:
    """Stand a bowl on the table at `position` [2], m, turned by `yaw` [rad]."""
    data.joint(name).qpos[:] = [*position, 0.0005, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]


def nearer_side(world: Cell, bowl: str) -> str:
    """The arm whose finger tips are nearer to a bowl: "left" or "right"."""
    position = bowl_state(world, bowl).bowl
    return min(SIDES, key=lambda side: float(np.linalg.norm(world.tip(side) - position)))


def bowl_position(side: float, rng: np.random.Generator) -> FloatArray:
    """A random place of a bowl on one side (1: left, -1: right), shape [2], m."""
    return np.array([rng.uniform(*BOWL_X), side * rng.uniform(*BOWL_ABS_Y)])


def in_held_out_region(position: FloatArray) -> bool:
    """Whether a bowl at `position` [2] (m) stands where none stands in training layouts."""
    x, y = position
    return bool(HELD_OUT_X[0] <= x <= HELD_OUT_X[1] and HELD_OUT_ABS_Y[0] <= abs(y) <= HELD_OUT_ABS_Y[1])


def bowl_mjcf(name: str) -> str:
    """A ring of boxes around a foot."""
    collision = f'contype="{OBJECT_CLASS[0]}" conaffinity="{OBJECT_CLASS[1]}"'
    return f"""
    <body name="{name}" pos="0.3 {0.3 * BOWLS.index(name)} 0">
      <freejoint name="{name}"/>
      <geom type="cylinder" size="{FOOT_RADIUS} 0.003" pos="0 0 0.003" mass="{_FOOT_MASS}" rgba="1.0 0.75 0.10 1"
            {collision} friction="0.8 0.005 0.0001"/>
      {"".join(_wall_segment(index, _COLOURS[name], collision) for index in range(NUM_WALL_SEGMENTS))}
    </body>"""


def _wall_segment(index: int, colour: str, collision: str) -> str:
    """One of the boxes that make the wall, leaning outwards; its x axis points outwards, its z axis up the wall."""
    angle = 2 * np.pi * index / NUM_WALL_SEGMENTS
    radius = (WALL_RADIUS_BOTTOM + WALL_RADIUS_TOP) / 2
    lean = np.arctan2(WALL_RADIUS_TOP - WALL_RADIUS_BOTTOM, BOWL_HEIGHT)
    outward = np.array([np.cos(angle), np.sin(angle), 0.0])
    normal = np.cos(lean) * outward - np.sin(lean) * np.array([0.0, 0.0, 1.0])
    along = np.array([-np.sin(angle), np.cos(angle), 0.0])
    half_length = BOWL_HEIGHT / 2 / np.cos(lean)
    half_width = (WALL_RADIUS_TOP + WALL_THICKNESS / 2) * np.tan(np.pi / NUM_WALL_SEGMENTS)
    position = " ".join(f"{value:.6g}" for value in [*(radius * outward[:2]), BOWL_HEIGHT / 2])
    axes = " ".join(f"{value:.6g}" for value in [*normal, *along])
    return f"""
      <geom type="box" size="{WALL_THICKNESS / 2} {half_width:.6g} {half_length:.6g}" pos="{position}" xyaxes="{axes}"
            mass="{_WALL_MASS / NUM_WALL_SEGMENTS}" rgba="{colour}" {collision} friction="1.0 0.01 0.0005"
            condim="4" solref="0.01 1"/>"""
