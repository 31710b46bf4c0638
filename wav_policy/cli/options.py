"""What options have in common: flags, and checks in words before anything is loaded or moved."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav_models.command_line import option
from wav_models.configuration import ConfigurationError, check_choice
from wav_models.engines.names import ENGINES
from wav_policy.bringup.paths import find_checkpoint
from wav_policy.cli.json_output import require_writable

if TYPE_CHECKING:
    from wav_models.embodiment import Embodiment

NEEDED = ((".rrd", "rerun", "Rerun", "rerun-sdk>=0.24"), (".mcap", "rosbags", "rosbags", "rosbags>=0.10"))
"""Of films: suffix, package, its name, and what installs it."""


def checkpoint_to_load(path: Path, engine: str = "auto", dtype: str = "auto") -> Path:
    """`find_checkpoint`, and a word on what takes the next seconds.

    Raises:
        ConfigurationError: there is no such checkpoint, engine or number format.
    """
    checkpoint = find_checkpoint(path)
    from wav_models.engines.precision import PRECISIONS

    check_choice("engine", engine, ENGINES)
    check_choice("dtype", dtype, PRECISIONS)
    print(f"loading {checkpoint}", file=sys.stderr, flush=True)
    return checkpoint


def typed() -> str:
    """What calls this program in the terminal it runs in: `wav`, where it lies, or its module."""
    if shutil.which("wav"):
        return "wav"
    return sys.argv[0] if Path(sys.argv[0]).name == "wav" else f"{sys.executable} -m wav_policy.cli"


def check_film(file: Path | None) -> None:
    """ConfigurationError for a film that nothing here can write."""
    if file is None:
        return
    from wav_policy.monitor.film import SUFFIXES

    if file.suffix not in SUFFIXES:
        raise ConfigurationError(f"--video {file}: a film ends in one of {', '.join(SUFFIXES)}")
    require_writable("--video", file)
    for suffix, package, what, requirement in NEEDED:
        if file.suffix == suffix and importlib.util.find_spec(package) is None:
            raise ConfigurationError(f"--video {file}: {what} is not installed: pip install {requirement!r}")


def mapped_robot(name: str | None, mapping: Path | None) -> Embodiment:
    """Whose data a mapping makes: the robot of that name, this project's own when None.

    Raises:
        ConfigurationError: there is no such robot, or no mapping.
    """
    from wav_models.embodiments import EMBODIMENTS
    from wav_policy.robot.joints import ROBOT

    if name is None:
        return ROBOT
    check_choice("robot", name, EMBODIMENTS)
    if mapping is None:
        raise ConfigurationError("--robot goes with --mapping; a dataset of this project's layout says whose it is")
    return EMBODIMENTS[name]


def refuse_idle(arguments: Any, names: Iterable[str], who: str) -> None:
    """ConfigurationError for options that are not as they are by default, though nothing would look at them.

    Args:
        arguments: of a command, parsed.
        names: of the fields that nothing looks at.
        who: has no use for them.
    """
    defaults = {field.name: field.default for field in fields(arguments)}
    if idle := [option(name) for name in names if getattr(arguments, name) != defaults[name]]:
        raise ConfigurationError(f"{who} has no use for {', '.join(idle)}")


def require_tasks(given: Iterable[str]) -> None:
    """ConfigurationError for a task that the simulator does not have."""
    from wav_policy.sim.tasks import TASKS

    for task in given:
        check_choice("task", task, TASKS)


def require_within_time_limit(max_steps: int, tasks: Iterable[str]) -> None:
    """ConfigurationError for a task that ends before that many steps."""
    from wav_policy.sim.operator import ACTION_PERIOD
    from wav_policy.sim.tasks import make_task

    for task in tasks:
        limit = round(make_task(task).time_limit / ACTION_PERIOD)
        if max_steps > limit:
            raise ConfigurationError(f"--max-steps is {max_steps}; an episode of {task!r} ends after {limit}")
