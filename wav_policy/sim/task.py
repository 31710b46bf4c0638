"""What a task brings: its objects, its random layout, its predicate, its operator and ways to fail."""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from wav_models.types import FloatArray
from wav_policy.sim.plant import ArmPlant

if TYPE_CHECKING:
    import mujoco


class Cell(Protocol):
    """What a task, its operators and its failures know of the `World` they are in.

    Attributes:
        model, data: of the physics.
        lock: held by whoever reads several of these together.
        task: the one on the table.
        arm_bodies: by side, all bodies of the arm.
    """

    model: mujoco.MjModel
    data: mujoco.MjData
    lock: RLock
    task: Task
    arm_bodies: dict[str, frozenset[int]]

    @property
    def time(self) -> float:
        """Simulated time since the reset [s]."""

    @property
    def joint_positions(self) -> FloatArray:
        """Measured joint angles and strokes, shape [14], rad and m."""

    def arm(self, side: str) -> ArmPlant:
        """The motors of the "left" or "right" arm."""

    def tip(self, side: str) -> FloatArray:
        """Point between the finger tips of one arm in the world, shape [3], m."""


class Operator(Protocol):
    """Does a task with privileged state. Its action depends on the present state of the world and on nothing else."""

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""


class ScriptedFailure(Protocol):
    """One way to fail at a task: what a demonstrator does from some moment on instead of what is due.

    Attributes:
        name: as recorded with the episode.
    """

    name: str

    def begins(self, world: Cell) -> bool:
        """Whether the moment of the failure has come; asked once per action until it has."""

    def act(self, world: Cell) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m; may depend on earlier calls."""


class Task(Protocol):
    """One task on the table.

    Attributes:
        name: as in `wav_policy.sim.tasks.make_task`.
        settings: MJCF sections beside the world body: assets, or solver options of its own.
        hold_time: how long `is_done` must hold for success [s].
        time_limit: an episode without success by then has failed [s].
        instructions: phrasings of the command, of which a reset draws one.
        held_out_instructions: further phrasings, never in training data.
    """

    name: str
    settings: str
    hold_time: float
    time_limit: float
    instructions: tuple[str, ...]
    held_out_instructions: tuple[str, ...]

    def objects(self) -> str:
        """MJCF elements for the world body."""

    def lay_out(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, held_out: bool) -> None:
        """Place the objects at random; held-out layouts come from a region that the others leave out."""

    def before_step(self, world: Cell) -> None:
        """Apply the task's own forces, before every physics step."""

    def is_done(self, world: Cell) -> bool:
        """Whether the goal is met at this moment."""

    def working_side(self, world: Cell) -> str:
        """The arm whose turn it is in the present state: "left" or "right"."""

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""
