"""A directory to make an export in, which nobody else takes away and which does not stay behind."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_beside(directory: Path) -> Iterator[Path]:
    """A hidden directory beside `directory`, gone at the end unless it was moved.

    Its maker keeps it locked, and the kernel unlocks what a process had locked that was killed: such are removed first.
    Where directories cannot be locked (NFS: flock(2)) nothing is removed.
    """
    prefix = f".{directory.name}."
    with ExitStack() as in_use:
        with _locked(directory.parent, fcntl.LOCK_EX):
            for left in directory.parent.iterdir():
                if left.name.startswith(prefix) and left.is_dir():
                    _remove_unless_in_use(left)
            scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=directory.parent))
            in_use.enter_context(_locked(scratch, fcntl.LOCK_EX))
        in_use.callback(shutil.rmtree, scratch, ignore_errors=True)
        yield scratch


def _remove_unless_in_use(scratch: Path) -> None:
    with suppress(OSError), _locked(scratch, fcntl.LOCK_EX | fcntl.LOCK_NB) as is_ours:
        if is_ours:
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[bool]:
    """Whether it is: it may be in use, or of a kind that has no locks."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, how)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
