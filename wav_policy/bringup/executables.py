"""Where the executables of other ROS packages are, without the `launch` package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wav_policy.bringup import paths

if TYPE_CHECKING:
    from wav_policy.bringup.node_table import NodeLaunch


class ExecutableError(RuntimeError):
    """A node of another package cannot be started here."""


def find_executable(package: str, executable: str) -> str:
    """The file to run for a node of another ROS package: `lib/<package>` of a sourced installation, else on PATH.

    Raises:
        ExecutableError: it is not installed, or no installation is sourced.
    """
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    for prefix in prefixes:
        candidate = prefix / "lib" / package / executable
        if candidate.is_file():
            return str(candidate)
    if (found := shutil.which(executable)) is not None:
        return found
    raise ExecutableError(
        f"{executable} (ROS package {package}) is not installed here: it needs a full ROS 2 Jazzy "
        f"(apt install ros-jazzy-{package.replace('_', '-')}, then source /opt/ros/jazzy/setup.bash). "
        "Leave out rviz:=true, or use monitor:=true, which needs a browser only"
    )


def is_installed(package: str, executable: str) -> bool:
    """Whether a node of another ROS package can be started here."""
    try:
        find_executable(package, executable)
    except ExecutableError:
        return False
    return True


def require(nodes: Iterable[NodeLaunch]) -> None:
    """Check that all nodes of other packages are there, before any node is started.

    Raises:
        ExecutableError: names the first that is missing.
    """
    for node in nodes:
        if node.package != paths.PACKAGE:
            find_executable(node.package, node.executable)
