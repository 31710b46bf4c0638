"""What the arms can be asked to do, by name."""

from __future__ import annotations

from collections.abc import Callable

from wav_models.configuration import check_choice
from wav_policy.sim.task import Task


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
    check_choice("task", name, TASKS)
    return _MAKERS[name]()
