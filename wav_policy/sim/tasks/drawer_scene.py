"""Cabinet, drawer and blocks: sizes, where they are laid out, their MJCF, and where they are now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.model import OBJECT_CLASS, TABLE_CLASS
from wav_policy.sim.task import Cell

TRAVEL: Final = 0.130
"""How far the drawer opens [m]."""

FRONT_X: Final = (0.390, 0.405)
FRONT_Y: Final = (-0.025, 0.025)
"""Where the closed drawer's front is [m]."""

BAR_OFFSET: Final = -0.075
"""From the front to the middle of the handle's bar [m]; the gap between them takes a finger."""

BAR_HEIGHT: Final = 0.065
HALF_BAR: Final = 0.090
FRONT_HEIGHT: Final = 0.070
TRAY_DEPTH: Final = 0.135
HALF_TRAY: Final = 0.080
FLOOR: Final = 0.008
_CEILING: Final = 0.080
_WALL: Final = 0.006
_CABINET_DEPTH: Final = 0.150
BLOCK: Final = np.array([0.019, 0.028, 0.030])
"""Half sizes of a block [m]: along the gripper's opening, across it, up."""

BLOCKS: Final = ("yellow_block", "cyan_block")
_COLOURS: Final = {"yellow_block": "1.0 0.85 0.0 1", "cyan_block": "0.0 0.75 0.85 1"}
BLOCK_X: Final = (0.19, 0.28)
BLOCK_ABS_Y: Final = (0.18, 0.26)
BLOCK_TURN: Final = 0.17
"""Largest turn of a block against the line to its arm's base [rad]."""

HELD_OUT_X: Final = (0.22, 0.25)
HELD_OUT_ABS_Y: Final = (0.205, 0.24)
"""Where the yellow block stands in held-out layouts, and never in training layouts [m]."""

CLOSED: Final = 0.008
"""Largest opening of a closed drawer [m]."""


@dataclass(frozen=True)
class DrawerState:
    """Where things are, in the world.

    Attributes:
        block: the centre of the block looked at [3], m.
        front: centre of the foot of the drawer's front [3], m; the tray lies behind it, towards +x.
        opening: how far the drawer is open [m].
    """

    block: FloatArray
    front: FloatArray
    opening: float

    @property
    def bar(self) -> FloatArray:
        """Middle of the handle's bar, on its upper edge [3], m."""
        return self.front + np.array([BAR_OFFSET, 0.0, BAR_HEIGHT])

    @property
    def tray(self) -> FloatArray:
        """Middle of the open part of the tray [2], m."""
        return self.front[:2] + np.array([self.opening / 2 + 0.004, 0.0])

    @property
    def inside(self) -> bool:
        """Whether the block is in the tray."""
        x, y, z = self.block - self.front
        return bool(0.0 < x < TRAY_DEPTH and abs(y) < HALF_TRAY and z < FLOOR + 1.5 * BLOCK[2])


def drawer_state(world: Cell, block: str) -> DrawerState:
    """Present state of the drawer and of the block called `block`."""
    data = world.data
    opening = -float(data.joint("drawer").qpos[0])
    return DrawerState(data.body(block).xpos.copy(), data.body("drawer").xpos.copy(), opening)


def in_held_out_region(position: FloatArray) -> bool:
    """Whether a yellow block at `position` [2] (m) stands where it never does in training layouts."""
    x, y = position
    return bool(HELD_OUT_X[0] <= x <= HELD_OUT_X[1] and HELD_OUT_ABS_Y[0] <= abs(y) <= HELD_OUT_ABS_Y[1])


def _box(low: tuple[float, float, float], high: tuple[float, float, float], rgba: str, mass: float = 0.02) -> str:
    """A box between two corners; what is fixed to the table collides with objects and arms, not with itself."""
    centre = " ".join(f"{(a + b) / 2:.6g}" for a, b in zip(low, high, strict=True))
    size = " ".join(f"{(b - a) / 2:.6g}" for a, b in zip(low, high, strict=True))
    return f"""
      <geom type="box" pos="{centre}" size="{size}" rgba="{rgba}" mass="{mass}" contype="{TABLE_CLASS[0]}"
            conaffinity="{TABLE_CLASS[1]}" friction="0.6 0.005 0.0001"/>"""


def cabinet_mjcf() -> str:
    """The cabinet's frame is the foot of the closed drawer's front; the drawer slides along its x axis."""
    wood, tray, red = "0.35 0.20 0.10 1", "0.95 0.95 0.95 1", "0.90 0.10 0.10 1"
    half, outer = HALF_TRAY + _WALL, HALF_TRAY + 0.022
    inner = outer - 0.012
    back = _WALL + _CABINET_DEPTH
    frame = [
        _box((_WALL, -outer, _CEILING), (back, outer, _CEILING + 0.010), wood),
        _box((_WALL, inner, 0.0), (back, outer, _CEILING), wood),
        _box((_WALL, -outer, 0.0), (back, -inner, _CEILING), wood),
        _box((back - 0.008, -inner, 0.0), (back, inner, _CEILING), wood),
    ]
    bar = BAR_OFFSET
    drawer = [
        _box((-_WALL, -outer, 0.002), (_WALL, outer, FRONT_HEIGHT), red, 0.10),
        _box((_WALL, -half, 0.002), (TRAY_DEPTH, half, FLOOR), tray, 0.10),
        _box((_WALL, HALF_TRAY, FLOOR), (TRAY_DEPTH, half, 0.060), tray),
        _box((_WALL, -half, FLOOR), (TRAY_DEPTH, -HALF_TRAY, 0.060), tray),
        _box((TRAY_DEPTH, -half, FLOOR), (TRAY_DEPTH + _WALL, half, 0.060), tray),
        _box((bar - 0.007, -HALF_BAR, 0.035), (bar + 0.007, HALF_BAR, BAR_HEIGHT), red),
        _box((bar + 0.007, HALF_BAR - 0.012, 0.040), (-_WALL, HALF_BAR, BAR_HEIGHT - 0.005), red),
        _box((bar + 0.007, -HALF_BAR, 0.040), (-_WALL, -HALF_BAR + 0.012, BAR_HEIGHT - 0.005), red),
    ]
    return f"""
    <body name="cabinet">
      {"".join(frame)}
      <body name="drawer">
        <joint name="drawer" type="slide" axis="1 0 0" range="{-TRAVEL} 0" damping="6" frictionloss="0.8"
               armature="0.2"/>
        {"".join(drawer)}
      </body>
    </body>"""


def block_mjcf(name: str) -> str:
    """A block that moves freely."""
    size = " ".join(f"{value:.6g}" for value in BLOCK)
    return f"""
    <body name="{name}" pos="0.2 {0.2 * BLOCKS.index(name)} 0.1">
      <freejoint name="{name}"/>
      <geom type="box" size="{size}" mass="0.05" rgba="{_COLOURS[name]}" contype="{OBJECT_CLASS[0]}"
            conaffinity="{OBJECT_CLASS[1]}" friction="0.8 0.01 0.0005" condim="4"/>
    </body>"""
