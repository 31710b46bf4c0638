"""Where checkpoints, run-time files and executables lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TextIO

from wav_models.configuration import ConfigurationError
from wav_models.project_files import ament_prefixes, resolve

PACKAGE = "wav_policy"


class ExecutableError(RuntimeError):
    """A node of another package cannot be started here."""


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint directory of that path, as `resolve` finds it; looked at before anything dear begins.

    Raises:
        ConfigurationError: there is none.
    """
    directory = resolve(path)
    if not (directory / "config.json").is_file():
        there = "is no directory" if directory.exists() else "does not exist"
        fault = "has no config.json" if directory.is_dir() else there
        raise ConfigurationError(f"{directory} {fault}; give a checkpoint directory (`wav train` writes one)")
    return directory


def runtime_directory(namespace: str = "") -> Path:
    """Private directory (mode 0700) of this user for pseudo-terminal links, logs, locks and parameter files.

    Args:
        namespace: of the system, which has one for itself in its ROS domain; "" for the root.
    """
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    directory = base / f"wav-{os.getuid()}-domain{domain}{namespace.replace('/', '-')}"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if directory.stat().st_uid != os.getuid():
        raise PermissionError(f"{directory} belongs to another user; set XDG_RUNTIME_DIR to a directory of yours")
    return directory


def open_log(name: str, namespace: str = "") -> TextIO:
    """A new file (mode 0600, for what nodes print may hold a token) in `runtime_directory`, written line by line."""
    path = runtime_directory(namespace) / name
    path.unlink(missing_ok=True)  # an older one may have another mode
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8", buffering=1)


def find_executable(package: str, executable: str) -> str:
    """The file to run for a node of another ROS package: `lib/<package>` of a sourced installation, else on PATH.

    Raises:
        ExecutableError: it is not installed, or no installation is sourced.
    """
    for prefix in ament_prefixes():
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
