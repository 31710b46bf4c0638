"""What the arms can be asked to do. A task brings its objects, its random layout, its predicate and its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from wav_models.types import FloatArray

if TYPE_CHECKING:
    import mujoco

    from wav_policy.sim.world import World


class Operator(Protocol):
    """Does a task with privileged state. Its action depends on the present state of the world and on nothing else."""

    def act(self, world: World) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""


class Task(Protocol):
    """One task on the table.

    Attributes:
        name: as in `make_task`.
        hold_time: how long `is_done` must hold for success [s].
    """

    name: str
    hold_time: float

    def objects(self) -> str:
        """MJCF elements for the world body."""

    def reset(self, model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator) -> str:
        """Place the objects at random; returns the instruction in words."""

    def is_done(self, world: World) -> bool:
        """Whether the goal is met at this moment."""

    def working_side(self, world: World) -> str:
        """The arm whose turn it is in the present state: "left" or "right"."""

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""


TASKS = ("bowl",)


def make_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        ValueError: there is no such task.
    """
    if name == "bowl":
        from wav_policy.sim.tasks.bowl import BowlTask

        return BowlTask()
    raise ValueError(f"unknown task {name!r}; choose from {', '.join(TASKS)}")
