"""Where the project's own configuration and checkpoints lie, in a checkout and in an installation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

SHARE: Final = "share/wav_policy"
"""Of an installation's prefix."""


class ProjectFileError(FileNotFoundError):
    """A file of the project is in none of the places it may be in; the message names them."""


def data_roots() -> tuple[Path, ...]:
    """Directories that hold `config/`, `launch/` and `checkpoints/`, best first.

    A checkout (also an editable or `--symlink-install` one), then the ament share of every prefix in
    `AMENT_PREFIX_PATH`, then the share of this Python environment.
    """
    checkout = Path(__file__).resolve().parents[1]
    shares = [prefix / SHARE for prefix in (*ament_prefixes(), Path(sys.prefix))]
    candidates = [checkout] if (checkout / "pyproject.toml").is_file() else []
    return tuple(root for root in (*candidates, *shares) if root.is_dir())


def ament_prefixes() -> list[Path]:
    """Of the ROS 2 installations that are sourced."""
    return [Path(prefix) for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix]


def find(relative: str) -> Path:
    """The project's file or directory of that relative path, e.g. "config/piper.yaml".

    Raises:
        ProjectFileError: it is in none of `data_roots()`.
    """
    for root in data_roots():
        if (root / relative).exists():
            return root / relative
    places = ", ".join(str(root) for root in data_roots()) or "no installation found"
    raise ProjectFileError(f"{relative} not found (looked in: {places}). Reinstall with `pip install -e .`")


def resolve(path: str | Path) -> Path:
    """A path the user gave: relative to the working directory if it exists there, else one of the project's."""
    given = Path(path).expanduser()
    if given.is_absolute() or given.exists():
        return given.absolute()
    try:
        return find(str(path))
    except ProjectFileError:
        return given.absolute()
