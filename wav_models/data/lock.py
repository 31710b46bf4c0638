"""One process writes to a dataset at a time: a recorder, or what changes the recorded files."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from wav_models.data.dataset import DatasetError
from wav_models.data.layout import STAGING


def lock_dataset(root: Path, holder: str) -> BinaryIO:
    """Keep other processes from writing to a dataset until the file that is returned is closed, or this process ends.

    Args:
        root: dataset directory; created when missing.
        holder: who writes, for the message that another process gets.

    Raises:
        DatasetError: another process writes to the dataset; names it.
        OSError: the directory is not writable.
    """
    path = root / STAGING / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = open(path, "a+b", buffering=0)  # noqa: SIM115 - held by the caller
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        name = lock.read().decode()
        lock.close()
        raise DatasetError(f"{root}: another process writes to this dataset ({name}); end it first") from None
    with suppress(OSError):  # a full disk: the lock holds without a name
        lock.truncate(0)
        lock.write(f"{holder}, process {os.getpid()}".encode())
    return lock
