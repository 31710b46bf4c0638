"""Lemma 4.1 and Proposition 4.2, measured: how often is a sequence of actions feasible, as its horizon grows?

A sequence is feasible up to step h if until then, in the simulator,
- every commanded position is within the joint limits and was reached to `TRACKING_TOLERANCE`: the arm can do it;
- no part of an arm touched the other arm, itself beyond its own joints, or the table;
- no object fell below where it stood at the start of the episode, or moves faster than `THROWN`: dropped or thrown.
Sequences are drawn from the same states uniformly over the joint limits (the lemma's), uniformly over what a share of
the motors' speed reaches in each step (kinder to the lemma), and decoded from latent samples of the model (the
proposition's). What the task demands is not part of the definition, so the uniform ones are judged mildly.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import JOINT_DIM, REVOLUTE
from wav_policy.robot.kinematics import MAX_JOINT_VELOCITY
from wav_policy.sim.operator import ACTION_PERIOD
from wav_policy.sim.world import HIGHEST_POSITIONS, LOWEST_POSITIONS, MAX_STROKE_VELOCITY, World

TRACKING_TOLERANCE: Final = 0.12
"""Between commanded and measured joint angle at the end of a step [rad]; heavy motion lags by less."""
SUNK: Final = 0.02
"""An object this much below where it stood has fallen off the table [m]."""
THROWN: Final = 1.0
"""[m/s]"""

_ANGLES: Final = np.isin(np.arange(JOINT_DIM), REVOLUTE)
_REACH: Final = np.where(_ANGLES, MAX_JOINT_VELOCITY, MAX_STROKE_VELOCITY) * ACTION_PERIOD


def draw_uniform(joints: FloatArray, horizon: int, rng: np.random.Generator) -> FloatArray:
    """Every action anywhere within the joint limits."""
    return rng.uniform(LOWEST_POSITIONS, HIGHEST_POSITIONS, (horizon, JOINT_DIM))


def draw_steps(share: float, joints: FloatArray, horizon: int, rng: np.random.Generator) -> FloatArray:
    """Every action anywhere that this share of the motors' speed reaches from the one before, within the limits."""
    actions, last, reach = [], joints, share * _REACH
    for _ in range(horizon):
        low, high = np.maximum(last - reach, LOWEST_POSITIONS), np.minimum(last + reach, HIGHEST_POSITIONS)
        last = rng.uniform(np.minimum(low, high), high)
        actions.append(last)
    return np.array(actions)


class FeasibilityTest:
    """Runs sequences from states of one episode; made right after its reset."""

    def __init__(self, world: World) -> None:
        from wav_policy.robot.physics import mujoco

        self._world = world
        model = world.model
        self._free = [j for j in range(model.njnt) if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE]
        self._standing = self._heights()
        self._arm = {body: side for side, bodies in world.arm_bodies.items() for body in bodies}

    def feasible_steps(self, actions: FloatArray) -> tuple[int, str]:
        """How many actions [H, 14] of a sequence are feasible before the first that is not, and why it is not."""
        for step, action in enumerate(actions):
            self._world.set_targets(action, ACTION_PERIOD)
            self._world.step(ACTION_PERIOD)
            error = np.abs(self._world.joint_positions - action)[_ANGLES].max()
            if error > TRACKING_TOLERANCE:
                return step, "not reached"
            if self._collides():
                return step, "collision"
            if self._loses():
                return step, "object lost"
        return len(actions), "feasible"

    def _heights(self) -> FloatArray:
        model, data = self._world.model, self._world.data
        return np.array([data.qpos[model.jnt_qposadr[j] + 2] for j in self._free])

    def _loses(self) -> bool:
        model, data = self._world.model, self._world.data
        speeds = [np.linalg.norm(data.qvel[model.jnt_dofadr[j] : model.jnt_dofadr[j] + 3]) for j in self._free]
        return bool((self._heights() < self._standing - SUNK).any() or (np.array(speeds) > THROWN).any())

    def _collides(self) -> bool:
        """Whether an arm touches the other arm, another part of itself, or what is fixed to the world."""
        world = self._world
        for geoms in world.data.contact.geom:
            first, second = (int(world.model.geom_bodyid[g]) for g in geoms)
            sides = self._arm.get(first), self._arm.get(second)
            if None not in sides and first != second and not self._same_gripper(first, second):
                return True
            if sides.count(None) == 1 and 0 in (first, second):
                return True
        return False

    def _same_gripper(self, first: int, second: int) -> bool:
        """Fingers that close on nothing touch each other: that is no collision."""
        names = [self._world.model.body(body).name for body in (first, second)]
        return all("finger" in name for name in names) and self._arm[first] == self._arm[second]


def survival(steps: list[int], horizon: int) -> list[float]:
    """Share of the sequences that are feasible up to step h, for h = 1 .. horizon."""
    counts = np.asarray(steps)
    return [float((counts >= h).mean()) for h in range(1, horizon + 1)]
