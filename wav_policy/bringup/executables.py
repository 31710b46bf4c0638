"""Where the executables of other ROS packages are, without the `launch` package."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from wav_policy.bringup import paths
from wav_policy.bringup.node_table import NodeLaunch


class ExecutableError(RuntimeError):
    """A node of another package cannot be started here."""


def find_executable(node: NodeLaunch) -> str:
    """The file to run for a node of another ROS package: `lib/<package>` of a sourced installation, else on PATH.

    Raises:
        ExecutableError: it is not installed, or no installation is sourced.
    """
    prefixes = [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]
    for prefix in prefixes:
        candidate = prefix / "lib" / node.package / node.executable
        if candidate.is_file():
            return str(candidate)
    if (found := shutil.which(node.executable)) is not None:
        return found
    raise ExecutableError(
        f"{node.executable} (ROS package {node.package}) is not installed here: it needs a full ROS 2 Jazzy "
        f"(apt install ros-jazzy-{node.package.replace('_', '-')}, then source /opt/ros/jazzy/setup.bash). "
        "Leave out rviz:=true, or use monitor:=true, which needs a browser only"
    )


def require(nodes: Iterable[NodeLaunch]) -> None:
    """Check that all nodes of other packages are there, before any node is started.

    Raises:
        ExecutableError: names the first that is missing.
    """
    for node in nodes:
        if node.package != paths.PACKAGE:
            find_executable(node)
