"""What the arms can be asked to do. A task brings its objects, its random layout, its predicate and its operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from wav_models.configuration import did_you_mean
from wav_models.types import FloatArray

if TYPE_CHECKING:
    import mujoco

    from wav_policy.sim.world import World


class Operator(Protocol):
    """Does a task with privileged state. Its action depends on the present state of the world and on nothing else."""

    def act(self, world: World) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m."""


class ScriptedFailure(Protocol):
    """One way to fail at a task: what a demonstrator does from some moment on instead of what is due.

    Attributes:
        name: as recorded with the episode.
    """

    name: str

    def begins(self, world: World) -> bool:
        """Whether the moment of the failure has come; asked once per action until it has."""

    def act(self, world: World) -> FloatArray:
        """Joint targets for the next 0.1 s, shape [14], rad and m; may depend on earlier calls."""


class Task(Protocol):
    """One task on the table.

    Attributes:
        name: as in `make_task`.
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

    def before_step(self, world: World) -> None:
        """Apply the task's own forces, before every physics step."""

    def is_done(self, world: World) -> bool:
        """Whether the goal is met at this moment."""

    def working_side(self, world: World) -> str:
        """The arm whose turn it is in the present state: "left" or "right"."""

    def make_operator(self) -> Operator:
        """A scripted operator of this task."""

    def make_failure(self, rng: np.random.Generator) -> ScriptedFailure:
        """A random way to fail."""


def _bowl() -> Task:
    from wav_policy.sim.tasks.single_bowl import SingleBowlTask

    return SingleBowlTask()


def _bowls() -> Task:
    from wav_policy.sim.tasks.bowl import BowlTask

    return BowlTask("bowls", "red_bowl")


def _green_bowl() -> Task:
    from wav_policy.sim.tasks.bowl import BowlTask

    return BowlTask("green_bowl", "green_bowl")


def _drawer() -> Task:
    from wav_policy.sim.tasks.drawer import DrawerTask

    return DrawerTask()


def _towel() -> Task:
    from wav_policy.sim.tasks.towel import TowelTask

    return TowelTask()


_MAKERS: dict[str, Callable[[], Task]] = {
    "bowl": _bowl,
    "bowls": _bowls,
    "green_bowl": _green_bowl,
    "drawer": _drawer,
    "towel": _towel,
}
TASKS = tuple(_MAKERS)


def make_task(name: str) -> Task:
    """The task called `name`.

    Raises:
        ValueError: there is no such task.
    """
    if name not in _MAKERS:
        raise ValueError(f"unknown task {name!r}{did_you_mean(name, TASKS)}")
    return _MAKERS[name]()
