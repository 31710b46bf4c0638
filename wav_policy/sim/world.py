"""The simulated cell: physics, the two arms as the firmware sees them, cameras and the task on the table."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from wav_models.configuration import check_choice
from wav_models.types import FloatArray, ImageArray, IndexArray
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES, REVOLUTE, SIDES, arm_slice, both_arms
from wav_policy.robot.kinematics import JOINT_LIMITS, MAX_JOINT_VELOCITY, MAX_STROKE, NUM_ARM_JOINTS
from wav_policy.robot.model import TIME_STEP, build_model, home_positions
from wav_policy.robot.physics import mujoco
from wav_policy.sim.cameras import Cameras
from wav_policy.sim.plant import ArmPlant, ArmReading
from wav_policy.sim.task import Task

MAX_STROKE_VELOCITY: Final = 0.20
"""Of the gripper's set-point [m/s]."""

LOWEST_POSITIONS: Final = both_arms(np.append(JOINT_LIMITS[:, 0], 0.0))
HIGHEST_POSITIONS: Final = both_arms(np.append(JOINT_LIMITS[:, 1], MAX_STROKE))
"""Limits of the 14 joint values [rad, m]."""

_MAX_VELOCITY: Final = both_arms([MAX_JOINT_VELOCITY] * NUM_ARM_JOINTS + [MAX_STROKE_VELOCITY])

SPLITS: Final = ("train", "held_out")
_MOTION: Final = ("_setpoint", "_target", "_rate", "_remainder", "_steps", "_success_since")
_SUCCESS_CHECK_STEPS: Final = 5
_MAX_STEPS_PER_LOCK: Final = 5


@dataclass(frozen=True)
class SavedWorld:
    """A moment of a `World`: physics, set-points and clocks, and what the task remembers."""

    data: mujoco.MjData
    motion: dict[str, Any]
    task: dict[str, Any]


class World:
    """One cell with one task. Safe to use from several threads; `render` only from one (see `snapshot`).

    Args:
        task: what is on the table, see `wav_policy.sim.tasks.make_task`; of this world alone, for it may remember.
        split: "train" or "held_out" layouts; no layout is in both.
        phrasing: "train" or "held_out" phrasings of the instruction.
    """

    def __init__(self, task: Task, split: str = "train", phrasing: str = "train"):
        for name in (split, phrasing):
            check_choice("split", name, SPLITS)
        self.task = task
        self._held_out_layout = split == "held_out"
        self._phrasings = self.task.instructions if phrasing == "train" else self.task.held_out_instructions
        self.lock = threading.RLock()
        self.model = build_model(self.task.objects(), self.task.settings)
        self.data = mujoco.MjData(self.model)
        self.instruction = ""
        self._cameras: Cameras | None = None
        self._index_model()
        self._arms = {side: SimulatedPlant(self, side) for side in SIDES}
        self.reset(0)

    def _index_model(self) -> None:
        """Addresses of the 14 joint values; a gripper's stroke is the sum of its two fingers."""
        model = self.model
        joints = [JOINT_NAMES[joint] for joint in REVOLUTE]
        self._is_joint = np.isin(np.arange(JOINT_DIM), REVOLUTE)
        self._joint_qpos = np.array([model.joint(name).qposadr[0] for name in joints])
        self._joint_dof = np.array([model.joint(name).dofadr[0] for name in joints])
        fingers = [[f"{side}_finger{number}" for number in (1, 2)] for side in SIDES]
        self._finger_qpos = np.array([[model.joint(name).qposadr[0] for name in pair] for pair in fingers])
        self._finger_dof = np.array([[model.joint(name).dofadr[0] for name in pair] for pair in fingers])
        self._actuators = np.array([model.actuator(name).id for name in JOINT_NAMES])
        self._gains = model.actuator_gainprm.copy(), model.actuator_biasprm.copy(), model.body_gravcomp.copy()
        roots = {side: model.body(f"{side}_base").id for side in SIDES}
        self.arm_bodies = {
            side: frozenset(body for body in range(model.nbody) if self._descends(body, root))
            for side, root in roots.items()
        }

    def _descends(self, body: int, root: int) -> bool:
        while body not in (0, root):
            body = int(self.model.body_parentid[body])
        return body == root

    def reset(self, seed: int, start: ArrayLike | None = None) -> None:
        """Lay out the task at random and put the arms at `start` [14] (home if None), at rest; power stays as it is."""
        with self.lock:
            rng = np.random.default_rng(seed)
            mujoco.mj_resetData(self.model, self.data)
            self.set_joints(home_positions() if start is None else start)
            self.task.lay_out(self.model, self.data, rng, self._held_out_layout)
            self.instruction = str(rng.choice(self._phrasings))
            mujoco.mj_forward(self.model, self.data)
            self._remainder = 0.0
            self._steps = 0
            self._success_since: float | None = None

    def set_joints(self, positions: ArrayLike) -> None:
        """Teleport both arms to `positions` [14], at rest."""
        with self.lock:
            wanted = np.clip(np.asarray(positions, dtype=np.float64), LOWEST_POSITIONS, HIGHEST_POSITIONS)
            self.data.qpos[self._joint_qpos] = wanted[self._is_joint]
            self.data.qpos[self._finger_qpos] = wanted[~self._is_joint][:, None] / 2
            self.data.qvel[self._joint_dof] = 0.0
            self.data.qvel[self._finger_dof] = 0.0
            self._setpoint = wanted.copy()
            self._target = wanted.copy()
            self._rate = _MAX_VELOCITY.copy()
            mujoco.mj_forward(self.model, self.data)

    @property
    def time(self) -> float:
        """Simulated time since the reset [s]."""
        return float(self.data.time)

    @property
    def joint_positions(self) -> FloatArray:
        """Measured joint angles and strokes, shape [14], rad and m."""
        with self.lock:
            return self._gather(self.data.qpos, self._joint_qpos, self._finger_qpos)

    @property
    def joint_velocities(self) -> FloatArray:
        """Shape [14], rad/s and m/s."""
        with self.lock:
            return self._gather(self.data.qvel, self._joint_dof, self._finger_dof)

    @property
    def joint_efforts(self) -> FloatArray:
        """Actuator torques and grip forces, shape [14], N m and N."""
        with self.lock:
            return np.array(self.data.actuator_force[self._actuators])

    def _gather(self, values: FloatArray, joints: IndexArray, fingers: IndexArray) -> FloatArray:
        gathered = np.empty(JOINT_DIM)
        gathered[self._is_joint] = values[joints]
        gathered[~self._is_joint] = values[fingers].sum(axis=1)
        return gathered

    def set_targets(self, targets: ArrayLike, duration: float = 0.0) -> None:
        """Move the set-points in a straight line to `targets` [14] (clipped to the limits) within `duration` [s].

        Set-points never move faster than the motors' velocity limit.

        Raises:
            ValueError: wrong shape or non-finite values.
        """
        wanted = np.asarray(targets, dtype=np.float64)
        if wanted.shape != (JOINT_DIM,) or not np.isfinite(wanted).all():
            raise ValueError(f"targets must be {JOINT_DIM} finite values, got shape {wanted.shape}: {wanted}")
        self._set_targets(slice(0, JOINT_DIM), wanted, duration)

    def _set_targets(self, where: slice, wanted: FloatArray, duration: float) -> None:
        with self.lock:
            self._target[where] = np.clip(wanted, LOWEST_POSITIONS[where], HIGHEST_POSITIONS[where])
            needed = np.abs(self._target[where] - self._setpoint[where]) / max(duration, TIME_STEP)
            self._rate[where] = np.minimum(needed, _MAX_VELOCITY[where])

    def step(self, duration: float) -> None:
        """Advance physics by `duration` [s]; what does not fill a physics step is carried to the next call."""
        with self.lock:
            self._remainder += duration
            count = int(self._remainder / TIME_STEP + 1e-6)
            self._remainder -= count * TIME_STEP
        while count > 0:
            with self.lock:
                for _ in range(min(count, _MAX_STEPS_PER_LOCK)):
                    self._substep()
            count -= _MAX_STEPS_PER_LOCK

    def _substep(self) -> None:
        reach = self._rate * TIME_STEP
        self._setpoint += np.clip(self._target - self._setpoint, -reach, reach)
        self.data.ctrl[self._actuators] = self._setpoint
        self.task.before_step(self)
        mujoco.mj_step(self.model, self.data)
        self._steps += 1
        if self._steps % _SUCCESS_CHECK_STEPS == 0:
            if not self.task.is_done(self):
                self._success_since = None
            elif self._success_since is None:
                self._success_since = self.time

    def success(self) -> bool:
        """Whether the task's predicate has held without a break for the task's hold time."""
        with self.lock:
            return self._success_since is not None and self.time - self._success_since >= self.task.hold_time - 1e-9

    def arm(self, side: str) -> ArmPlant:
        """The motors of the "left" or "right" arm."""
        if side not in self._arms:
            raise KeyError(f"unknown arm {side!r}; choose from {', '.join(SIDES)}")
        return self._arms[side]

    def tip(self, side: str) -> FloatArray:
        """Point between the finger tips of one arm in the world, shape [3], m."""
        return self.data.site(f"{side}_tip").xpos.copy()

    def render(self, view: str) -> ImageArray:
        """Image of one view, uint8 RGB [H, W, 3]; the first call's thread owns the renderer (else use `snapshot`)."""
        if self._cameras is None:
            self._cameras = Cameras(self.model)
        return self._cameras.render(view, self.data)

    def render_all(self) -> dict[str, ImageArray]:
        """All three views."""
        return {view: self.render(view) for view in VIEWS}

    def snapshot(self, into: mujoco.MjData | None = None) -> mujoco.MjData:
        """Copy of the state, for a `Cameras` in another thread; `into` is reused when given."""
        copy = mujoco.MjData(self.model) if into is None else into
        with self.lock:
            mujoco.mj_copyData(copy, self.model, self.data)
        return copy

    def save(self) -> SavedWorld:
        """Everything that decides what happens next, until the next reset; see `restore`."""
        with self.lock:
            motion = {name: copy.deepcopy(getattr(self, name)) for name in _MOTION}
            return SavedWorld(self.snapshot(), motion, copy.deepcopy(vars(self.task)))

    def restore(self, saved: SavedWorld) -> None:
        """Go back to a moment of this layout: from here on the same targets have the same consequences."""
        with self.lock:
            mujoco.mj_copyData(self.data, self.model, saved.data)
            vars(self).update(copy.deepcopy(saved.motion))
            vars(self.task).update(copy.deepcopy(saved.task))

    def close(self) -> None:
        """Free the renderer."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None

    def _set_gains(self, side: str, on: bool) -> None:
        """Motors on or limp; a limp arm keeps its friction and loses its gravity compensation."""
        gain, bias, gravity = self._gains
        actuators = self._actuators[arm_slice(side)]
        bodies = sorted(self.arm_bodies[side])
        self.model.actuator_gainprm[actuators] = gain[actuators] * on
        self.model.actuator_biasprm[actuators] = bias[actuators] * on
        self.model.body_gravcomp[bodies] = gravity[bodies] * on


class SimulatedPlant:
    """One arm of a `World` as an `ArmPlant`."""

    def __init__(self, world: World, side: str):
        self._world = world
        self._side = side
        self._slice = arm_slice(side)

    def read(self) -> ArmReading:
        """Measured state now."""
        world = self._world
        with world.lock:
            position = world.joint_positions[self._slice]
            velocity = world.joint_velocities[self._slice]
            effort = world.joint_efforts[self._slice]
        return ArmReading(position[:-1], velocity[:-1], effort[:-1], float(position[-1]), float(effort[-1]))

    def command(self, position: ArrayLike | None, stroke: float | None) -> None:
        """Set joint targets [6] (rad) and stroke (m); None leaves that set-point alone.

        Raises:
            ValueError: wrong shape or non-finite values.
        """
        with self._world.lock:
            wanted = self._world._target[self._slice].copy()
            if position is not None:
                wanted[:-1] = np.asarray(position, dtype=np.float64)
            if stroke is not None:
                wanted[-1] = stroke
            if not np.isfinite(wanted).all():
                raise ValueError(f"{self._side} arm: targets must be finite, got {wanted}")
            self._world._set_targets(self._slice, wanted, 0.0)

    def set_power(self, on: bool) -> None:
        """Motors on (holding the present position) or limp."""
        world = self._world
        with world.lock:
            world._set_gains(self._side, on)
            measured = world.joint_positions[self._slice]
            world._setpoint[self._slice] = measured
            world._set_targets(self._slice, measured, 0.0)
