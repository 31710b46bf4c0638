"""Would the commanded motion make the arms hit each other, themselves or the table? Asked before it is sent.

The robot model is the simulator's own: the bodies and primitives of `wav_policy.robot.model`, without objects, so the
grippers may touch whatever the task is about. Pairs of bodies are watched that can meet at all: every body of one arm
with every body of the other, links at least three joints apart, and everything beyond the shoulder with the table.

A motion is a tick at some velocity and the way on which the arms go on when every joint brakes as hard as it may, which
is the same for ticks of any length (`wav_policy.control.braking`). It is clear when no watched pair comes nearer than
its clearance anywhere on that way. Looking at points of it is enough: between two points no body moves farther than
sum |dq_j| x reach_j, so from a point with spare room s the next one may lie s further on. Only where less than the
pair's clearance is spare are points that far apart, and there it may come nearer than was seen by half of that: half
the clearance always remains.

Pairs that are already too near when the arms are switched on may move apart but not closer.
"""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.braking import braking_distance, end_speed
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.control.look_ahead import Approach
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_NAMES, REVOLUTE, both_arms

if TYPE_CHECKING:
    import mujoco

_KINDS: Final = ("between arms", "left, moved by joint 1", "left", "right, moved by joint 1", "right")
"""What moves a pair of parts: both arms, or joints of one. Turning joint 1 changes no height, and nothing between
links beyond it."""

_RANGE: Final = np.array([0.12, 0.04, 0.04, 0.04, 0.04])
"""Pairs of a kind farther apart than their clearance plus this are not measured [m]. Long for the pairs that seldom
come near and whose motions add up, short for those that are always near."""

_SMALLEST_SWEEP: Final = 1e-9
"""[m]"""

_SHORTEST: Final = 1e-6
"""Takes the place of shorter times of braking [s]."""

_TOLERANCE: Final = 1e-4
"""Of distances between convex shapes [m]."""

_SLACK: Final = 2e-3
"""A pair that started too near may come nearer by this: an arm that slides off what it leans on never does so evenly,
and must not be stuck for ever [m]."""

_FIRST_MOBILE_LINK: Final = 2
"""Base and link 1 stand on the table; beyond them the arm can hit it."""

_ADJACENT: Final = 2
"""Links up to so many joints apart overlap or are kept apart by the joint limits."""

_WRIST: Final = 3
"""From this link on, joint limits alone keep the parts of one arm apart."""

_REACH: Final = np.tile([0.80, 0.80, 0.52, 0.25, 0.25, 0.06, 0.5], 2)
"""Farthest any point of the arm is from each joint's axis [m]; a finger moves half the stroke. Rounded up."""


def make_checker(limits: SafetyLimits) -> CollisionChecker | None:
    """The checker for these limits; None where they switch it off. Takes about a second."""
    if not limits.collision.check:
        return None
    return CollisionChecker(limits.collision, both_arms(limits.acceleration))


class _Part(NamedTuple):
    """A shape of the model: geom, arm ("left", "right"; "table") and number of the link it moves with (7: fingers)."""

    geom: str
    owner: str
    link: int

    @property
    def label(self) -> str:
        if self.owner == "table":
            return "table"
        return f"{self.owner} " + ("base" if self.link == 0 else "gripper" if self.link >= 6 else f"link{self.link}")


class CollisionChecker:
    """Checks motions of both arms ahead. One thread at a time.

    Args:
        limits: clearances and where things stand.
        acceleration: with which every joint brakes, shape [14], rad/s^2 and m/s^2.
    """

    def __init__(self, limits: CollisionLimits, acceleration: FloatArray) -> None:
        from wav_policy.robot.physics import mujoco

        self._acceleration = acceleration
        self._mujoco = mujoco
        self._model, parts = _build(limits)
        self._data = mujoco.MjData(self._model)
        self._index_joints()
        self._parts = {self._model.geom(part.geom).id: part for part in parts}
        self._allowed = np.full((self._model.ngeom, self._model.ngeom), -np.inf)
        self._kind = np.zeros(self._allowed.shape, dtype=int)
        self._step = np.full(self._allowed.shape, limits.clearance)
        for first, second in _watched(parts):
            a, b = self._model.geom(first.geom).id, self._model.geom(second.geom).id
            self._allowed[a, b] = self._allowed[b, a] = _clearance(first, second, limits)
            self._kind[a, b] = self._kind[b, a] = _kind(first, second)
            if first.owner == second.owner:
                self._step[a, b] = self._step[b, a] = limits.self_clearance
        self._floor = self._allowed
        self._is_too_near = False

    def start_at(self, position: FloatArray) -> None:
        """The arms are here, at rest, shape [14]: pairs that are too near now may stay, and move apart."""
        self._floor = self._reachable_from(position)
        self._is_too_near = bool((self._floor < self._allowed).any())

    def arrived_at(self, position: FloatArray) -> None:
        """A target was sent, shape [14]: pairs that moved apart must not come near again."""
        if self._is_too_near:
            self._floor = np.maximum(self._floor, self._reachable_from(position))
            self._is_too_near = bool((self._floor < self._allowed).any())

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        """The first pair that would come too near in a tick or while braking after it; None if clear.

        Args:
            position: at the beginning of the tick, shape [14], rad and m.
            velocity: in the tick, shape [14], rad/s and m/s.
            tick: its length [s].
        """
        braking = float((np.abs(velocity) / self._acceleration).max())
        duration = tick + braking  # the speed of every joint stays below speed * (duration - t) / braking
        sweeps = _sweeps(velocity, duration**2 / max(braking, _SHORTEST))
        speed = end_speed(velocity, self._acceleration, tick)
        left = 1.0  # share of the sweeps that lies ahead: (1 - t / duration)^2
        while True:
            time = duration * (1.0 - math.sqrt(left))
            moved = velocity * min(time, tick)
            moved += np.copysign(braking_distance(speed, self._acceleration, max(time - tick, 0.0)), velocity)
            clear, step, approach = self._look(position + moved, sweeps)
            if approach is not None or clear >= left:
                return approach
            left = max(0.0, left - step)

    def _reachable_from(self, position: FloatArray) -> FloatArray:
        """Nearest permitted distance of every pair for arms that are at `position`, shape [num_geoms, num_geoms]."""
        floor = self._allowed.copy()
        geoms, distances = self._measure(position)
        for (a, b), distance in zip(geoms, distances, strict=True):
            floor[a, b] = floor[b, a] = min(floor[a, b], distance - _SLACK)
        return floor

    def _look(self, position: FloatArray, sweeps: FloatArray) -> tuple[float, float, Approach | None]:
        """Share of the sweeps that is certainly clear from one configuration on, share after which to look again, and
        the pair that is too near at it."""
        share = float((_RANGE / sweeps).min())
        geoms, distances = self._measure(position)
        if not len(distances):
            return share, share, None
        first, second = geoms.T
        spare = distances - self._floor[first, second]
        worst = int(spare.argmin())
        if spare[worst] < 0.0:
            a, b = int(first[worst]), int(second[worst])
            bodies = self._parts[a].label, self._parts[b].label
            return 0.0, 0.0, Approach(bodies, float(distances[worst]), float(self._floor[a, b]))
        sweep = sweeps[self._kind[first, second]]
        step = np.maximum(spare, self._step[first, second]) / sweep
        return min(share, float((spare / sweep).min())), min(share, float(step.min())), None

    def _measure(self, position: FloatArray) -> tuple[np.ndarray, FloatArray]:
        """Watched pairs within range, as geom ids [n, 2], and their distances [n]."""
        data = self._data
        data.qpos[self._joint_qpos] = position[self._joint_columns]
        data.qpos[self._finger_qpos] = 0.5 * position[self._finger_columns]
        self._mujoco.mj_kinematics(self._model, data)
        self._mujoco.mj_collision(self._model, data)
        contact = data.contact
        return contact.geom, contact.dist

    def _index_joints(self) -> None:
        joints = [(JOINT_NAMES[i], i) for i in REVOLUTE]
        grippers = [(JOINT_NAMES[i], i) for i in GRIPPERS]
        fingers = [(name.replace("gripper", f"finger{number}"), i) for name, i in grippers for number in (1, 2)]
        self._joint_qpos = np.array([self._model.joint(name).qposadr[0] for name, _ in joints])
        self._joint_columns = np.array([i for _, i in joints])
        self._finger_qpos = np.array([self._model.joint(name).qposadr[0] for name, _ in fingers])
        self._finger_columns = np.array([i for _, i in fingers])


def _build(limits: CollisionLimits) -> tuple[mujoco.MjModel, list[_Part]]:
    """The simulated cell without objects: its shapes named, its arms mounted as configured, an endless table."""
    from wav_policy.robot.joints import SIDES
    from wav_policy.robot.model import cell_xml
    from wav_policy.robot.physics import mujoco

    spec = mujoco.MjSpec.from_string(cell_xml(objects=""))
    spec.delete(spec.geom("table"))
    parts = [_add_table(spec, limits.table_height)]
    for side in SIDES:
        x, y, z, yaw = getattr(limits, f"{side}_base")
        base = spec.body(f"{side}_base")
        base.pos = [x, y, z]
        base.quat = [math.cos(yaw / 2.0), 0.0, 0.0, math.sin(yaw / 2.0)]
        parts += _name_parts(base, side, 0)
    for geom in spec.geoms:
        geom.contype = geom.conaffinity = 0  # only the watched pairs are looked at
        if geom.type == mujoco.mjtGeom.mjGEOM_BOX:
            _make_mesh(spec, geom)
    for first, second in _watched(parts):
        clearance = _clearance(first, second, limits)
        margin = clearance + _RANGE[_kind(first, second)]
        spec.add_pair(geomname1=first.geom, geomname2=second.geom, margin=margin, gap=0.0)
    model = spec.compile()
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_MULTICCD)  # one point of a pair is enough
    model.opt.ccd_tolerance = _TOLERANCE
    return model, parts


def _add_table(spec: mujoco.MjSpec, height: float) -> _Part:
    from wav_policy.robot.physics import mujoco

    spec.worldbody.add_geom(name="table_plane", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0, 0, 1], pos=[0, 0, height])
    return _Part("table_plane", "table", -1)


def _make_mesh(spec: mujoco.MjSpec, box: mujoco.MjsGeom) -> None:
    """The same shape as a convex mesh: MuJoCo measures no distance between boxes that are apart."""
    from wav_policy.robot.physics import mujoco

    mesh = spec.add_mesh(name=box.name)
    mesh.uservert = [
        sign * half for signs in product((-1, 1), repeat=3) for sign, half in zip(signs, box.size, strict=True)
    ]
    box.type = mujoco.mjtGeom.mjGEOM_MESH
    box.meshname = box.name


def _name_parts(body: mujoco.MjsBody, side: str, link: int) -> list[_Part]:
    """Shapes of a body and of those it carries, each with a name."""
    parts = []
    for number, geom in enumerate(body.geoms):
        geom.name = f"{body.name}_{number}"
        parts.append(_Part(geom.name, side, link))
    for child in body.bodies:
        parts += _name_parts(child, side, link + 1)
    return parts


def _watched(parts: list[_Part]) -> list[tuple[_Part, _Part]]:
    """The pairs that can meet: see the head of this file."""
    pairs = []
    for i, first in enumerate(parts):
        for second in parts[i + 1 :]:
            low, high = sorted((first.link, second.link))
            if first.owner == "table":
                can_meet = second.link >= _FIRST_MOBILE_LINK
            elif first.owner == second.owner:
                can_meet = high - low > _ADJACENT and low < _WRIST
            else:
                can_meet = high > 1  # bases and first links stay where they are
            if can_meet:
                pairs.append((first, second))
    return pairs


def _clearance(first: _Part, second: _Part, limits: CollisionLimits) -> float:
    if first.owner == second.owner:
        return limits.self_clearance
    return limits.gripper_table_clearance if first.owner == "table" and second.link >= 6 else limits.clearance


def _kind(first: _Part, second: _Part) -> int:
    """Index into `_KINDS`."""
    if first.owner != "table" and first.owner != second.owner:
        return 0
    moved_by_joint_1 = min(first.link, second.link) == 0
    return (1 if second.owner == "left" else 3) + (0 if moved_by_joint_1 else 1)


def _sweeps(velocity: FloatArray, duration: float) -> FloatArray:
    """Per kind of pair, the farthest its parts can move relative to each other [m]; never zero.

    Args:
        velocity: at the beginning, shape [14], rad/s and m/s.
        duration: in which it falls to zero evenly [s].
    """
    moved = (0.5 * duration) * np.abs(velocity) * _REACH
    left, right = float(moved[:ARM_DOF].sum()), float(moved[ARM_DOF:].sum())
    sweeps = np.array([left + right, left, left - moved[0], right, right - moved[ARM_DOF]])
    return np.maximum(sweeps, _SMALLEST_SWEEP)
