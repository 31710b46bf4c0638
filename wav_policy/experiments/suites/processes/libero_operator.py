"""A scripted operator of LIBERO's pick-and-place tasks.

It grasps an object across its narrowest side, carries it over the container and lets go; where it is to fail, it takes
another object, loses it on the way, or misses and never notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from operating import Phases  # type: ignore[import-not-found]
from scipy.spatial.transform import Rotation

POSITION_SCALE, ROTATION_SCALE = 0.05, 0.5
"""Motion of a full command of one step [m], [rad]."""
GAIN = 4.0
SLOW = 0.6
"""Largest command where the tool nears something, and of rotations."""
ABOVE = 0.09
"""Height over an object from which it is approached [m]."""
FAILURES, FAILURE_SHARES = ("another object", "loses it", "misses"), (0.6, 0.2, 0.2)
MESH = 7
"""MuJoCo's type of a geom that is a mesh."""


@dataclass(frozen=True)
class LiberoPhase:
    """A part of the motion.

    Attributes:
        target: where the tool goes [m], shape [3].
        closed: the gripper.
        slow: near something.
        tolerance: largest error at its end: across, along the vertical [m].
        at_least, at_most: steps.
    """

    target: np.ndarray
    closed: bool
    slow: bool = False
    tolerance: tuple[float, float] = (0.02, 0.03)
    at_least: int = 0
    at_most: int = 80


class PickAndPlace:
    """Puts one object into, or onto, another, from wherever the robot is: what it holds already it carries on.

    Args:
        env: LIBERO's environment.
        item, container: names of the objects.
        quality: "skilled", "hesitant", "recovering" or "failing".
        rng: of small differences between episodes.
        hold: steps of the environment that a command is held for.

    Attributes:
        phases: where it is in its motion; None before the first command.
    """

    def __init__(
        self, env: Any, item: str, container: str, quality: str, rng: np.random.Generator, hold: int = 1
    ) -> None:
        self._env, self._item, self._container, self._quality, self._rng = env, item, container, quality, rng
        self._hold = hold
        self.phases: Phases | None = None

    def act(self, seen: dict[str, Any]) -> np.ndarray:
        """The command of one step, shape [7], in [-1, 1]."""
        position = np.asarray(seen["robot0_eef_pos"])
        rotation = Rotation.from_quat(seen["robot0_eef_quat"]).as_matrix()
        if self.phases is None:
            phases, num_missed = self._plan(position, rotation)
            self.phases = Phases(phases, num_missed, self._quality == "hesitant", self._rng, self._hold)
        turn = Rotation.from_matrix(self._rotation @ rotation.T).as_rotvec()

        def arrived(phase: LiberoPhase) -> bool:
            across, along = phase.tolerance
            error = phase.target - position
            turned = phase.closed or np.abs(turn).max() < 0.06
            return bool(turned and np.abs(error[:2]).max() < across and abs(error[2]) < along)

        phase = self.phases.take(arrived)
        grip = 1.0 if phase.closed else -1.0
        if self.phases.pauses():
            return np.array([0.0] * 6 + [grip])
        limit = SLOW if phase.slow else 1.0
        gain = GAIN / self._hold
        motion = np.clip(gain * (phase.target - position) / POSITION_SCALE, -limit, limit)
        return np.concatenate([motion, np.clip(gain * turn / ROTATION_SCALE, -SLOW, SLOW), [grip]])

    def _plan(self, position: np.ndarray, rotation: np.ndarray) -> tuple[list[LiberoPhase], int]:
        """Phases, and how many of them grasp beside the object and will be made good."""
        failure = self._rng.choice(FAILURES, p=FAILURE_SHARES) if self._quality == "failing" else None
        name = self._another() if failure == "another object" else self._item
        item = self._cloud(name)
        container = self._cloud(self._container)
        bottom, top = item[:, 2].min(), item[:, 2].max()
        yaw = _narrowest(item[:, :2], float(np.arctan2(rotation[1, 1], rotation[0, 1])))
        self._rotation = Rotation.from_euler("z", yaw).as_matrix() @ _upright(rotation)
        middle = (item[:, :2].min(axis=0) + item[:, :2].max(axis=0)) / 2
        height = max(bottom + 0.018, top - min(0.035, 0.55 * (top - bottom)))
        rim, hanging = container[:, 2].max(), height - bottom
        cruise = max(rim + hanging + 0.06, top + 0.08)
        inside = (container[:, :2].min(axis=0) + container[:, :2].max(axis=0)) / 2 + self._rng.uniform(-0.01, 0.01, 2)
        release = rim + hanging - 0.03
        carry = [
            LiberoPhase(np.append(inside, cruise), closed=True),
            LiberoPhase(np.append(inside, release), closed=True, slow=True, tolerance=(0.02, 0.015), at_most=25),
            LiberoPhase(np.append(inside, release), closed=False, at_least=8, at_most=8),
            LiberoPhase(np.append(inside, cruise), closed=False, at_most=1000),
        ]
        grasp = self._grasp(middle, height, top, cruise)
        if self._holds(name):
            grasp = [LiberoPhase(np.append(position[:2], cruise), closed=True, tolerance=(np.inf, 0.03))]
        elif position[2] < top + 0.5 * ABOVE:  # something may be in the way
            grasp = [LiberoPhase(np.append(position[:2], top + ABOVE), closed=False, tolerance=(np.inf, 0.03)), *grasp]
        if failure == "loses it":
            way = np.append(middle + self._rng.uniform(0.3, 0.6) * (inside - middle), cruise)
            lost = [LiberoPhase(way, closed=True), LiberoPhase(way, closed=False, at_least=8, at_most=8)]
            return [*grasp, *lost, LiberoPhase(np.append(inside, cruise), closed=False, at_most=1000)], 0
        if failure != "misses" and self._quality != "recovering":
            return [*grasp, *carry], 0
        angle = self._rng.uniform(0.0, 2 * np.pi)
        beside = middle + self._rng.uniform(0.05, 0.08) * np.array([np.cos(angle), np.sin(angle)])
        missed = self._grasp(beside, top + 0.01, top, cruise)
        if failure:
            return [*missed, *carry], 0
        return [*missed, *grasp, *carry], len(missed) - 1  # it notices as it rises with nothing between its fingers

    def _another(self) -> str:
        """An object that the task is not about."""
        others = sorted(set(self._env.env.objects_dict) - {self._item, self._container})
        return str(self._rng.choice(others))

    def _holds(self, name: str) -> bool:
        """Whether both fingers touch the object of that name."""
        env = self._env.env
        return bool(env._check_grasp(env.robots[0].gripper, env.objects_dict[name]))

    def _grasp(self, place: np.ndarray, height: float, top: float, cruise: float) -> list[LiberoPhase]:
        at = np.append(place, height)
        return [
            LiberoPhase(np.append(place, top + ABOVE), closed=False, tolerance=(0.008, 0.03)),
            LiberoPhase(at, closed=False, slow=True, tolerance=(0.02, 0.012), at_most=40),
            LiberoPhase(at, closed=True, at_least=10, at_most=10),
            LiberoPhase(np.append(place, cruise), closed=True, tolerance=(np.inf, 0.03)),
        ]

    def _cloud(self, name: str) -> np.ndarray:
        """Points of an object's collision geometry in the world, shape [N, 3], m."""
        model, data = self._env.sim.model._model, self._env.sim.data._data
        root, corners = self._env.env.obj_body_id[name], 2 * np.array(list(np.ndindex(2, 2, 2))) - 1
        clouds = []
        for geom in range(model.ngeom):
            of_object = model.body_rootid[model.geom_bodyid[geom]] == model.body_rootid[root]
            if not of_object or not model.geom_contype[geom] + model.geom_conaffinity[geom]:
                continue
            if model.geom_type[geom] == MESH:
                mesh = model.geom_dataid[geom]
                first = model.mesh_vertadr[mesh]
                points = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
            else:
                points = model.geom_aabb[geom][:3] + model.geom_aabb[geom][3:] * corners
            clouds.append(points @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
        return np.concatenate(clouds)


def _narrowest(points: np.ndarray, fingers: float) -> float:
    """Turn of the tool [rad] after which the fingers, now along that angle, close across the narrowest side; of sides
    that are nearly as narrow, the one that needs less turning."""
    turns = np.deg2rad(np.arange(-90, 90, 5))
    axes = np.stack([np.cos(fingers + turns), np.sin(fingers + turns)])
    return float(turns[np.argmin(np.ptp(points @ axes, axis=0) + 0.004 * np.abs(turns))])


def _upright(rotation: np.ndarray) -> np.ndarray:
    """The rotation that points straight down, with the fingers along the same direction as seen from above."""
    fingers = np.append(rotation[:2, 1], 0.0) / np.linalg.norm(rotation[:2, 1])
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([np.cross(fingers, down), fingers, down], axis=1)
