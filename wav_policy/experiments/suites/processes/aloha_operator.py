"""A scripted operator of gym-aloha's cube transfer.

The right arm picks the cube up and holds it out; the left one takes it, its fingers turned by 90 degrees. Joint targets
are found by inverse kinematics on a copy of the simulator's state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from operating import Phases  # type: ignore[import-not-found]
from scipy.spatial.transform import Rotation

SIDES = ("left", "right")
ARM_JOINTS, SIDE_JOINTS = 6, 8
"""Of an arm, and with both of its fingers."""
REACH = 0.12
"""From the link of a gripper to where it holds things [m]."""
MEETING = np.array([0.0, 0.5, 0.25])
"""Where the cube is handed over [m]; differs by up to `SPREAD`."""
SPREAD = 0.02
ABOVE = 0.10
"""Over the cube, from where it is approached [m]."""
DOWN = np.deg2rad(60.0)
"""How far the right hand points downwards when it grasps."""
SPEED, TURN = 0.35, 2.0
"""Of a tool [m/s], [rad/s]."""
CARRYING = 0.4
"""Share of the speed with the cube, which the weak grippers would lose."""
AHEAD = 0.1
"""How far ahead of the measured tool its target is [s]: servos follow."""
LEVER = 0.05
"""Error of position that one of rotation counts as [m/rad]."""
OPEN, CLOSED = 1.0, 0.0
FAILURES = ("loses it", "misses")


@dataclass(frozen=True)
class ToolGoal:
    """Of one arm.

    Attributes:
        position: of the tool [m], shape [3].
        rotation: of the hand, shape [3, 3].
        grip: 0 closed to 1 open.
    """

    position: np.ndarray
    rotation: np.ndarray
    grip: float

    def gripping(self, grip: float) -> ToolGoal:
        """The same place."""
        return ToolGoal(self.position, self.rotation, grip)


@dataclass(frozen=True)
class AlohaPhase:
    """A part of the motion.

    Attributes:
        left, right: where the tools go.
        tolerance: largest error at its end [m].
        pace: share of the speed.
        at_least, at_most: steps.
    """

    left: ToolGoal
    right: ToolGoal
    tolerance: float = 0.01
    pace: float = 1.0
    at_least: int = 0
    at_most: int = 120


class CubeTransfer:
    """Picks the cube up with the right arm, from wherever both are, and hands it over.

    Args:
        physics: gym-aloha's.
        quality: "skilled", "hesitant", "recovering" or "failing".
        rng: of small differences between episodes.
        hold: steps of the environment that a command is held for.

    Attributes:
        phases: where it is in its motion.
    """

    def __init__(self, physics: Any, quality: str, rng: np.random.Generator, hold: int = 1) -> None:
        self._model, self._data = physics.model._model, physics.data._data
        self._scratch = mujoco.MjData(self._model)
        phases, num_missed = self._plan(quality, rng)
        self.phases = Phases(phases, num_missed, quality == "hesitant", rng, hold)

    def act(self) -> np.ndarray:
        """Joint targets [rad] and grippers of the next step, shape [14]."""
        phase = self.phases.take(self._arrived)
        pace = 0.0 if self.phases.pauses() else phase.pace
        return np.concatenate([self._command(side, getattr(phase, side), pace) for side in SIDES])

    def _arrived(self, phase: AlohaPhase) -> bool:
        for side in SIDES:
            goal = getattr(phase, side)
            position, rotation = self._tool(self._data, side)
            turn = Rotation.from_matrix(goal.rotation @ rotation.T).as_rotvec()
            if max(np.abs(goal.position - position).max(), LEVER * np.abs(turn).max()) >= phase.tolerance:
                return False
        return True

    def _plan(self, quality: str, rng: np.random.Generator) -> tuple[list[AlohaPhase], int]:
        """Phases, and how many of them grasp beside the cube and will be made good."""
        rest = ToolGoal(*self._tool(self._data, "left"), OPEN)
        offered = MEETING + rng.uniform(-SPREAD, SPREAD, 3)
        turned = _facing(1.0) @ Rotation.from_euler("x", np.pi / 2).as_matrix()
        ready, taking = ToolGoal(offered - np.array([0.1, 0.0, 0.0]), turned, OPEN), ToolGoal(offered, turned, OPEN)
        held = ToolGoal(offered + np.array([0.01, 0.0, 0.0]), _facing(-1.0), CLOSED)
        aside = ToolGoal(held.position + np.array([0.12, 0.0, 0.0]), held.rotation, OPEN)
        hand_over = [
            AlohaPhase(ready, held, pace=CARRYING),
            AlohaPhase(taking, held, tolerance=0.008, pace=CARRYING),
            AlohaPhase(taking.gripping(CLOSED), held, at_least=25, at_most=25),
            AlohaPhase(taking.gripping(CLOSED), held.gripping(OPEN), at_least=15, at_most=15),
            AlohaPhase(taking.gripping(CLOSED), aside, at_most=1000),
        ]
        cube = self._data.body("box").xpos.copy()
        grasp = [] if self._holds() else _grasp(rest, cube)
        failure = rng.choice(FAILURES) if quality == "failing" else None
        if failure == "loses it":
            way = ToolGoal(cube + rng.uniform(0.3, 0.6) * (offered - cube), _facing(-1.0, DOWN), CLOSED)
            lost = AlohaPhase(rest, way.gripping(OPEN), at_least=10, at_most=10)
            return [*grasp, AlohaPhase(rest, way, pace=CARRYING), lost, *hand_over], 0
        if failure is None and quality != "recovering":
            return [*grasp, *hand_over], 0
        angle = rng.uniform(0.0, 2 * np.pi)
        beside = _grasp(rest, cube + np.array([0.06 * np.cos(angle), 0.06 * np.sin(angle), 0.01]))
        if failure:
            return [*beside, *hand_over], 0
        return [*beside, *grasp, *hand_over], len(beside) - 1  # it notices as it rises with nothing between its fingers

    def _holds(self) -> bool:
        """Whether both fingers of the right arm touch the cube."""
        touching = set()
        for contact in self._data.contact[: self._data.ncon]:
            touching.add(frozenset(self._model.geom(geom).name for geom in (contact.geom1, contact.geom2)))
        return all({"red_box", f"vx300s_right/10_{side}_gripper_finger"} in touching for side in SIDES)

    def _command(self, side: str, goal: ToolGoal, pace: float) -> np.ndarray:
        position, rotation = self._tool(self._data, side)
        step, turn = goal.position - position, Rotation.from_matrix(goal.rotation @ rotation.T).as_rotvec()
        seconds = max(np.linalg.norm(step) / SPEED, np.linalg.norm(turn) / TURN)
        share = min(1.0, pace * AHEAD / max(seconds, 1e-9))
        joints = self._solve(side, position + share * step, Rotation.from_rotvec(share * turn).as_matrix() @ rotation)
        return np.append(joints, goal.grip)

    def _solve(self, side: str, position: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Joints [6] that put a tool to a pose near its present one, by damped Gauss-Newton steps."""
        scratch, model = self._scratch, self._model
        first = SIDE_JOINTS * SIDES.index(side)
        joints = slice(first, first + ARM_JOINTS)
        low, high = model.jnt_range[joints].T
        scratch.qpos[:] = self._data.qpos
        jacobian = np.zeros((6, model.nv))
        for _ in range(20):
            mujoco.mj_kinematics(model, scratch)
            mujoco.mj_comPos(model, scratch)
            at, turned = self._tool(scratch, side)
            error = np.concatenate([position - at, Rotation.from_matrix(rotation @ turned.T).as_rotvec()])
            if np.abs(error).max() < 1e-5:
                break
            mujoco.mj_jac(model, scratch, jacobian[:3], jacobian[3:], at, model.body(_hand(side)).id)
            part = jacobian[:, joints]
            moved = scratch.qpos[joints] + part.T @ np.linalg.solve(part @ part.T + 1e-6 * np.eye(6), error)
            scratch.qpos[joints] = np.clip(moved, low, high)
        return scratch.qpos[joints].copy()

    def _tool(self, data: Any, side: str) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] and rotation [3, 3]."""
        hand = data.body(_hand(side))
        rotation = hand.xmat.reshape(3, 3).copy()
        return hand.xpos + REACH * rotation[:, 0], rotation


def _grasp(rest: ToolGoal, place: np.ndarray) -> list[AlohaPhase]:
    at = ToolGoal(place, _facing(-1.0, DOWN), OPEN)
    above = ToolGoal(place + np.array([0.0, 0.0, ABOVE]), at.rotation, OPEN)
    return [
        AlohaPhase(rest, above),
        AlohaPhase(rest, at, tolerance=0.005, at_most=60),
        AlohaPhase(rest, at.gripping(CLOSED), at_least=20, at_most=20),
        AlohaPhase(rest, above.gripping(CLOSED), tolerance=0.03, pace=CARRYING),
    ]


def _hand(side: str) -> str:
    return f"vx300s_{side}/gripper_link"


def _facing(direction: float, down: float = 0.0) -> np.ndarray:
    """Rotation of a hand that points along x, 1 or -1, and downwards by an angle [rad]; its fingers close along y."""
    x = np.array([direction * np.cos(down), 0.0, -np.sin(down)])
    y = np.array([0.0, direction, 0.0])
    return np.stack([x, y, np.cross(x, y)], axis=1)
