"""Where configuration, checkpoints, run-time files and executables lie, in a checkout and in an installation."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from wav_models.configuration import ConfigurationError

PACKAGE = "wav_policy"


class DataFileError(FileNotFoundError):
    """A file of the project is in none of the places it may be in; the message names them."""


class ExecutableError(RuntimeError):
    """A node of another package cannot be started here."""


def data_roots() -> tuple[Path, ...]:
    """Directories that hold `config/`, `launch/` and `checkpoints/`, best first.

    A checkout (also an editable or `--symlink-install` one), then the ament share of every prefix in
    `AMENT_PREFIX_PATH`, then the share of this Python environment.
    """
    checkout = Path(__file__).resolve().parents[2]
    shares = [prefix / "share" / PACKAGE for prefix in (*_prefixes(), Path(sys.prefix))]
    candidates = [checkout] if (checkout / "pyproject.toml").is_file() else []
    return tuple(root for root in (*candidates, *shares) if root.is_dir())


def _prefixes() -> list[Path]:
    """Of the ROS 2 installations that are sourced."""
    return [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]


def find(relative: str) -> Path:
    """The project's file or directory of that relative path, e.g. "config/piper.yaml".

    Raises:
        DataFileError: it is in none of `data_roots()`.
    """
    for root in data_roots():
        if (root / relative).exists():
            return root / relative
    places = ", ".join(str(root) for root in data_roots()) or "no installation found"
    raise DataFileError(f"{relative} not found (looked in: {places}). Reinstall with `pip install -e .`")


def resolve(path: str) -> Path:
    """A path the user gave: relative to the working directory if it exists there, else one of the project's."""
    given = Path(path).expanduser()
    if given.is_absolute() or given.exists():
        return given.absolute()
    try:
        return find(path)
    except DataFileError:
        return given.absolute()


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint directory of that path, as `resolve` finds it; looked at before anything dear begins.

    Raises:
        ConfigurationError: there is none.
    """
    directory = resolve(str(path))
    if not (directory / "config.json").is_file():
        fault = "has no config.json" if directory.is_dir() else "does not exist"
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
    for prefix in _prefixes():
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
