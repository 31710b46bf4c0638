"""Bowl organisation: put one of two bowls, which stand at the left and the right, on the plate in the middle.

The instruction says which: in task `bowls` the red one, in task `green_bowl`, which lays out the same scene for the
same seed, the green one. The other bowl is a distractor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.model import OBJECT_CLASS, TABLE_CLASS
from wav_policy.sim.tasks.contacts import touching

if TYPE_CHECKING:
    import mujoco

    from wav_policy.sim.tasks import Operator, ScriptedFailure
    from wav_policy.sim.world import World

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

_MAX_SPEED: Final = 0.02  # m/s, at rest
_MAX_SPIN: Final = 0.3  # rad/s, at rest
_MIN_UPRIGHT: Final = float(np.cos(np.radians(8.0)))
_MIN_OPEN_STROKE: Final = 0.03
_MIN_TIP_DISTANCE: Final = 0.03
_FOOT_MASS: Final = 0.02
_WALL_MASS: Final = 0.03

_INSTRUCTIONS: Final = {
    "red_bowl": (
        "put the red bowl on the plate",
        "place the red bowl on the blue plate",
        "pick up the red bowl and set it down on the plate",
        "move the red bowl onto the plate in the middle",
        "tidy up: the red bowl belongs on the plate",
    ),
    "green_bowl": (
        "put the green bowl on the plate",
        "place the green bowl on the blue plate",
        "pick up the green bowl and set it down on the plate",
        "move the green bowl onto the plate in the middle",
        "tidy up: the green bowl belongs on the plate",
    ),
}
_HELD_OUT_INSTRUCTIONS: Final = {
    "red_bowl": ("set the red dish onto the blue disc", "get the red bowl to the plate, please"),
    "green_bowl": ("set the green dish onto the blue disc", "get the green bowl to the plate, please"),
}


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


def bowl_state(world: World, name: str) -> BowlState:
    """Present state of the bowl called `name`."""
    bowl = world.data.body(name)
    plate = world.data.body("plate").xpos + np.array([0.0, 0.0, PLATE_HEIGHT])
    return BowlState(bowl.xpos.copy(), bowl.xmat.reshape(3, 3)[:, 2].copy(), plate)


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
        self.instructions: tuple[str, ...] = _INSTRUCTIONS[target]
        self.held_out_instructions: tuple[str, ...] = _HELD_OUT_INSTRUCTIONS[target]

    def objects(self) -> str:
        """MJCF of the bowls (a ring of boxes around a foot) and the plate (fixed to the table)."""
        return f"""
    <body name="plate">
      <geom name="plate" type="cylinder" size="{PLATE_RADIUS} {PLATE_HEIGHT / 2}" pos="0 0 {PLATE_HEIGHT / 2}"
            contype="{TABLE_CLASS[0]}" conaffinity="{TABLE_CLASS[1]}" friction="0.8 0.005 0.0001"
            rgba="0.05 0.25 0.95 1"/>
    </body>
    {"".join(_bowl(name) for name in self.bowls)}"""

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Place the bowls on either side and the plate between them, at random and clear of each other."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        while True:
            plate = np.array([rng.uniform(*PLATE_X), rng.uniform(*PLATE_Y)])
            red, green = _bowl_position(side, rng), _bowl_position(-side, rng)
            clear = min(np.linalg.norm(red - plate), np.linalg.norm(green - plate)) >= MIN_CLEARANCE
            if clear and (_in_held_out_region(red) or _in_held_out_region(green)) == held_out:
                break
        model.body("plate").pos[:] = [*plate, 0.0]
        for name, position in zip(BOWLS, (red, green), strict=True):
            put_down(data, name, position, rng.uniform(-np.pi, np.pi))

    def before_step(self, world: World) -> None:
        """Nothing: contacts do it all."""

    def is_done(self, world: World) -> bool:
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

    def _released(self, world: World, state: BowlState) -> bool:
        """Whether the gripper nearer to the bowl is open, its tips above the rim or beside the bowl by 3 cm."""
        nearer = self.working_side(world)
        tip = world.tip(nearer)
        above = tip[2] - (state.bowl[2] + BOWL_HEIGHT)
        beside = np.linalg.norm(tip[:2] - state.bowl[:2]) - WALL_RADIUS_TOP
        return world.arm(nearer).read().stroke > _MIN_OPEN_STROKE and max(above, beside) > _MIN_TIP_DISTANCE

    def working_side(self, world: World) -> str:
        """The arm whose finger tips are nearer to the bowl."""
        return nearer_side(world, self.target)

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""
        from wav_policy.sim.tasks.bowl_operator import BowlOperator

        return BowlOperator(self.target)

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""
        from wav_policy.sim.tasks.bowl_failures import make_failure

        return make_failure(self.target, self.bowls, rng)


def put_down(data: mujoco.MjData, name: str, position: FloatArray, yaw: float) -> None:
    """Stand a bowl on the table at `position` [2], m, turned by `yaw` [rad]."""
    data.joint(name).qpos[:] = [*position, 0.0005, np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]


def nearer_side(world: World, bowl: str) -> str:
    """The arm whose finger tips are nearer to a bowl: "left" or "right"."""
    position = bowl_state(world, bowl).bowl
    return min(SIDES, key=lambda side: float(np.linalg.norm(world.tip(side) - position)))


def _bowl_position(side: float, rng: np.random.Generator) -> FloatArray:
    return np.array([rng.uniform(*BOWL_X), side * rng.uniform(*BOWL_ABS_Y)])


def _in_held_out_region(position: FloatArray) -> bool:
    x, y = position
    return bool(HELD_OUT_X[0] <= x <= HELD_OUT_X[1] and HELD_OUT_ABS_Y[0] <= abs(y) <= HELD_OUT_ABS_Y[1])


def _bowl(name: str) -> str:
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
