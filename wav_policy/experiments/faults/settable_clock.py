"""A wall clock that can be stepped, for a system under test only: no privilege, and the machine keeps its time.

A library of a hundred lines (`settable_clock.c`, compiled when it is needed) is preloaded into the processes of the
system, below Python, ROS and the middleware: every clock that can be set is moved, the monotonic ones are not.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_suffix(".c")


class ClockError(RuntimeError):
    """The library cannot be built here."""


class SettableClock:
    """The offset of a system's wall clock.

    Args:
        directory: for library and offset.

    Attributes:
        environment: of the processes whose clock it is.
        offset: their wall clock minus that of this process [s]; assign it at any time.

    Raises:
        ClockError: there is no C compiler, or it fails; says which.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        library, self._file = directory / "settable_clock.so", directory / "clock_offset"
        self._file.write_bytes(bytes(8))
        _build(library)
        self.environment = {"LD_PRELOAD": str(library), "WAV_CLOCK_OFFSET": str(self._file)}
        self._offset = 0.0

    @property
    def offset(self) -> float:
        return self._offset

    @offset.setter
    def offset(self, seconds: float) -> None:
        with self._file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            page[:] = struct.pack("=q", round(1e9 * seconds))
        self._offset = seconds


def _build(library: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        raise ClockError("stepping the clock needs a C compiler; install one (Debian, Ubuntu: gcc) or name it in CC")
    command = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClockError(f"{' '.join(command)} failed: {done.stderr.strip()}")
