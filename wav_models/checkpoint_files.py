"""Files of a checkpoint: read once, whole, into memory of this process, and compared with what was saved.

`SHA256SUMS` is in the format of coreutils: `sha256sum --check SHA256SUMS` says which file has changed, and
`sha256sum *.json *.safetensors > SHA256SUMS` accepts a change that was meant. What is used is what was hashed: a file
that changes later, or while it is read, changes nothing here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wav_models.configuration import parse_json

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

SUMS: Final = "SHA256SUMS"
MAX_JSON_BYTES: Final = 16 * 2**20
BLOCK: Final = 2**20
SUMMED: Final = (".json", ".safetensors")
"""Endings of the files that are a checkpoint's; exports beside them have a manifest of their own."""


class CheckpointError(RuntimeError):
    """A checkpoint that is missing, damaged or of another shape; names the file, the tensors and the remedy."""


class MissingCheckpointError(CheckpointError, FileNotFoundError):
    """There is no such directory."""


class CheckpointFiles:
    """Reads the files of one checkpoint.

    Args:
        directory: the checkpoint; may lack `SHA256SUMS`, as those saved by older versions do.
        by_hand: names that may differ from what was saved; that is a warning.

    Raises (all methods):
        CheckpointError: a file is missing, none, too large, outside of the directory, damaged or not what was saved.
    """

    def __init__(self, directory: Path, by_hand: tuple[str, ...] = ()) -> None:
        if not directory.is_dir():
            raise MissingCheckpointError(f"{directory}: no such checkpoint directory; train one with `wav train`")
        self.directory = directory
        self.read: dict[str, str] = {}
        """SHA-256 of every file that was read, by name."""
        self._by_hand = by_hand
        self.saved = _parse_sums(self._content(SUMS)) if self.has(SUMS) else None
        self.read.clear()

    def has(self, name: str) -> bool:
        """Whether there is anything of that name, a dangling link included."""
        return os.path.lexists(self.directory / name)

    def json(self, name: str) -> Any:
        """What a JSON file says."""
        path = self.directory / name
        content = self._content(name)
        self._compare(name)
        try:
            return parse_json(content.decode("utf-8"))
        except ValueError as error:
            raise CheckpointError(f"{path}: not JSON ({error}); restore the file") from error

    def tensors(self, name: str, max_bytes: int) -> dict[str, Tensor]:
        """The tensors of a safetensors file of at most that size."""
        # An anonymous file: the library maps it, but nobody else can change what it maps.
        descriptor = os.memfd_create(name)
        try:
            for block in self._blocks(name, max_bytes):
                _write(descriptor, block)
            self._compare(name)
            return read_tensors(Path(f"/proc/self/fd/{descriptor}"), said_of=self.directory / name)
        finally:
            os.close(descriptor)

    def _content(self, name: str) -> bytes:
        return b"".join(self._blocks(name, MAX_JSON_BYTES))

    def _blocks(self, name: str, max_bytes: int) -> Iterator[bytes]:
        """The file, block by block; its hash is in `read` afterwards."""
        path = self.directory / name
        digest, size = hashlib.sha256(), 0
        with _failures_named(path):
            if not path.resolve(strict=True).is_relative_to(self.directory.resolve()):
                raise CheckpointError(f"{path}: a link out of the checkpoint; put the file itself there")
            with open(path, "rb", buffering=0, opener=_open_without_waiting) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise CheckpointError(f"{path}: not a regular file; restore the file")
                for block in iter(partial(file.read, BLOCK), b""):
                    size += len(block)
                    if size > max_bytes:
                        raise CheckpointError(f"{path}: more than the {max_bytes} bytes that it can have; restore it")
                    digest.update(block)
                    yield block
        self.read[name] = digest.hexdigest()

    def _compare(self, name: str) -> None:
        """With what was saved, where that is known."""
        if self.saved is None or self.saved.get(name) == self.read[name]:
            return
        changed = "changed" if name in self.saved else "added"
        said = f"{self.directory / name}: {changed} since the checkpoint was saved"
        accept = f"accept it (cd {self.directory} && sha256sum *.json *.safetensors > {SUMS})"
        if name not in self._by_hand:
            raise CheckpointError(f"{said}; restore the file, or if the change was meant, {accept}")
        logger.warning("%s, and used as it is; to %s", said, accept)

    def verify(self) -> None:
        """Read every file that was saved, whatever its size."""
        for name in self.saved or ():
            for _ in self._blocks(name, sys.maxsize):
                pass
            self._compare(name)

    def require_all_read(self) -> None:
        """A file that was saved and not read is missing: what is optional may have been lost."""
        missing = sorted(set(self.saved or ()) - self.read.keys())
        if missing:
            raise CheckpointError(f"{self.directory / missing[0]}: no such file, but it was saved; restore the file")


def read_tensors(path: Path, said_of: Path | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors file, mapped; errors speak of `said_of` where it is another path.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    said_of = said_of or path
    with _failures_named(said_of):
        try:
            return load_file(path)
        except (SafetensorError, ValueError, KeyError, RecursionError) as error:
            raise CheckpointError(f"{said_of}: damaged ({error}); restore the file") from error


def write_sums(directory: Path) -> None:
    """Hash what is in a directory that is about to become a checkpoint."""
    (directory / SUMS).write_text(format_sums(hash_files(directory)), encoding="utf-8")


def hash_files(directory: Path) -> dict[str, str]:
    """SHA-256 of the files of a checkpoint, by name."""
    paths = sorted(path for path in directory.iterdir() if path.suffix in SUMMED and path.is_file())
    return {path.name: file_sha256(path) for path in paths}


def format_sums(sums: Mapping[str, str]) -> str:
    """As `sha256sum` prints them, sorted by name."""
    return "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))


def identity(sums: Mapping[str, str]) -> str:
    """One SHA-256 for all files: that of their `SHA256SUMS`."""
    return hashlib.sha256(format_sums(sums).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(partial(file.read, BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def _parse_sums(content: bytes) -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in content.decode("utf-8", "replace").splitlines()]
    return {line[1].removeprefix("*"): line[0] for line in lines if len(line) == 2}


def _open_without_waiting(path: str, flags: int) -> int:
    """As `open` does, but a pipe does not block."""
    return os.open(path, flags | os.O_NONBLOCK)


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


@contextmanager
def _failures_named(path: Path) -> Iterator[None]:
    """What the operating system says of a file, as a CheckpointError."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file; the checkpoint is incomplete: restore or save it again"
        ) from error
    except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
        if isinstance(error, CheckpointError):
            raise
        said = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path}: cannot be read ({said}); restore the file") from error
