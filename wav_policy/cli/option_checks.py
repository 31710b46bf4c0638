"""What is wrong with the options of commands that run trials, in words; checked before anything is loaded or moved."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from wav_models.configuration import did_you_mean


def option(field: str) -> str:
    """How a field of the arguments is called on the command line."""
    return f"--{field.replace('_', '-')}"


def unknown_task(given: Iterable[str], tasks: Collection[str]) -> str | None:
    """The first task that there is none of."""
    for task in given:
        if task not in tasks:
            return f"no task {task!r}{did_you_mean(task, tasks)}"
    return None


def below_one(arguments: Any, fields: Iterable[str]) -> str | None:
    """The first of these numbers, where given, that is not at least 1."""
    for name in fields:
        if (number := getattr(arguments, name)) is not None and number < 1:
            return f"{option(name)} is {number}; it must be at least 1"
    return None


def beyond_time_limit(max_steps: int | None, tasks: Iterable[str]) -> str | None:
    """The first task that ends before that many steps."""
    if max_steps is None:
        return None
    from wav_policy.sim.operator import ACTION_PERIOD
    from wav_policy.sim.tasks import make_task

    for task in tasks:
        limit = round(make_task(task).time_limit / ACTION_PERIOD)
        if max_steps > limit:
            return f"--max-steps is {max_steps}; an episode of {task!r} ends after {limit}"
    return None
