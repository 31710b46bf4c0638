"""One process writes to a dataset at a time: a recorder, or what changes the recorded files."""

from __future__ import annotations

import fcntl
import os
import shlex
from contextlib import suppress
from pathlib import Path

from wav_models.data.dataset import DatasetError
from wav_models.data.layout import INFO_PATH, STAGING


class DatasetLock:
    """Keeps other processes from writing to a dataset until it is closed, or this process ends.

    The lock is on the directory itself: there is no file whose deletion would let a second writer in.

    Args:
        root: dataset directory; created when missing.
        holder: who writes, for the message that another process gets.

    Raises:
        DatasetError: another process writes to the dataset; names it. Or the file system has no locks, or the files are
            links to those of somebody else.
        OSError: the directory is not writable.
    """

    def __init__(self, root: Path, holder: str) -> None:
        self._root = root
        if (root / INFO_PATH).is_symlink():
            raise DatasetError(
                f"{root}: its files are links, as in a snapshot of the Hugging Face cache, which is to stay as it was "
                f"downloaded; nothing is written there. `cp -rL {shlex.quote(str(root))} COPY` makes one that can be"
            )
        note = root / STAGING / "lock"
        note.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            name = (
                note.read_text(encoding="utf-8", errors="replace") if note.is_file() else "which did not say its name"
            )
            raise DatasetError(f"{root}: another process writes to this dataset ({name}); end it first") from None
        except OSError as error:  # flock(2): on NFS a directory, which nobody can open for writing, has none
            self.close()
            raise DatasetError(
                f"{root}: cannot be locked here ({error.strerror}), so nobody could tell who else writes to it. Is it "
                "on a network file system? Write to a local disk and copy it there"
            ) from error
        with suppress(OSError):  # a full disk: the lock holds without a name
            note.write_text(f"{holder}, process {os.getpid()}", encoding="utf-8")

    def require_in_place(self) -> None:
        """DatasetError once the directory that was locked is not at its path any more."""
        try:
            same = os.path.samestat(os.fstat(self._descriptor), os.stat(self._root))
        except OSError:
            same = False
        if not same:
            raise DatasetError(
                f"{self._root}: the directory was deleted or replaced while it was open for writing; nothing more is "
                "written to it. Close the recorder and open the dataset again"
            )

    def close(self) -> None:
        """Let others write; twice does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> DatasetLock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
