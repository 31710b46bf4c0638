"""Virtual environments of the suites: their pins do not touch ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from wav_policy.experiments.suites.catalogue import Package

PLACE: Final = "WAV_SUITES"
"""Environment variable: where the suites are installed, if not under the user's data directory."""
_MARK: Final = "wav-suite-complete"
_PYTHON: Final = "bin/python"


class SuiteError(RuntimeError):
    """A suite is not installed, or its environment failed; the message says what to do."""


def directory_of(package: Package) -> Path:
    """Where a package's virtual environment is, or would be."""
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return Path(os.environ.get(PLACE) or data / "wav_policy/suites") / package.name


def is_installed(package: Package) -> bool:
    """Whether an installation was completed, and the Python that it was made with is still there."""
    return all((directory_of(package) / name).is_file() for name in (_MARK, _PYTHON))


def python_of(package: Package) -> Path:
    """Its interpreter.

    Raises:
        SuiteError: it is not installed.
    """
    if not is_installed(package):
        raise SuiteError(
            f"{package.name} is not installed: `wav suite install {package.name}` does it ({package.size})"
        )
    return directory_of(package) / _PYTHON


def own_environment() -> dict[str, str]:
    """Environment variables of what runs there: without those that put packages of ours on its path."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def install(package: Package) -> Path:
    """Make the virtual environment anew and install the package into it.

    Returns:
        Its directory.

    Raises:
        SuiteError: pip failed; what it said is above.
    """
    directory = directory_of(package)
    if directory.exists():
        shutil.rmtree(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    python = directory / _PYTHON
    for command in (
        [sys.executable, "-m", "venv", str(directory)],
        [str(python), "-m", "pip", "install", *package.requirements],
    ):
        if subprocess.run(command, env=own_environment(), check=False).returncode:
            raise SuiteError(f"{package.name} could not be installed: `{' '.join(command)}` failed")
    (directory / _MARK).touch()
    return directory
