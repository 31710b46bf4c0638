"""The name under which a driver finds a pseudo-terminal."""

from __future__ import annotations

import os
from pathlib import Path


class DeviceLink:
    """A symbolic link to a device that changes whenever it is plugged in again.

    Args:
        path: of the link; an older link is replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._target = ""

    def point_to(self, device: str) -> None:
        """Create or redirect the link, atomically.

        Raises:
            FileExistsError: something that is no symbolic link is there.
        """
        if self.path.exists() and not self.path.is_symlink():
            raise FileExistsError(f"{self.path} is in the way of the simulated arm's link; remove it")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(device)
        fresh.replace(self.path)
        self._target = device

    def remove(self) -> None:
        """Remove the link unless somebody has redirected it."""
        if self.path.is_symlink() and os.readlink(self.path) == self._target:
            self.path.unlink()
