"""One master per CAN channel: a lock across processes, by the device behind the channel's name."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Final

from wav_policy.piper.errors import ArmInUseError

_LOCK_DIRECTORY: Final = Path("/run/lock")
_OTHERWISE: Final = Path("/tmp")
_NAMESPACE: Final = Path("/proc/self/ns/net")
_COMMAND_LENGTH: Final = 120  # characters


class ChannelLock:
    """Held from `acquire` to `release`, or until the process ends.

    Args:
        interface: "socketcan" or "slcan".
        channel: as configured; symbolic links are followed, so that two names of one device are one channel.
        owner: what uses the channel, such as "left arm"; for the message to who else wants it.
    """

    def __init__(self, interface: str, channel: str, owner: str) -> None:
        self._channel = channel
        self._owner = owner
        self._path = lock_directory() / f"wav-can-{_canonical(interface, channel)}.lock"
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            ArmInUseError: naming the process and what it uses the channel for.
        """
        file = _open_shared(self._path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            text = self._taken(os.pread(file, 4096, 0))
            os.close(file)
            raise ArmInUseError(text) from None
        self._file = file
        try:
            os.ftruncate(file, 0)
            os.pwrite(file, json.dumps({"pid": os.getpid(), "owner": self._owner}).encode(), 0)
        except OSError:
            pass  # opened for reading only, another user's file: it locks all the same

    def release(self) -> None:
        """Let others have the channel; does nothing when it is not held."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _taken(self, told: bytes) -> str:
        try:
            holder = json.loads(told)
            pid, owner = int(holder["pid"]), str(holder["owner"])
        except (ValueError, KeyError, TypeError):
            return f"another process drives '{self._channel}': two masters would fight. Stop it first ({self._path})."
        if pid == os.getpid():
            return (
                f"'{self._channel}' is the channel of the {owner} already: every arm needs an adapter of its own. "
                "`wav arm find` shows which is which."
            )
        return (
            f"process {pid} ({_command(pid)}) drives '{self._channel}' as {owner}: two masters would fight. Stop it "
            f"first: kill {pid}"
        )


def lock_directory() -> Path:
    """The same for every user of the machine."""
    try:
        writable = bool(_LOCK_DIRECTORY.stat().st_mode & stat.S_IWOTH)
    except OSError:
        writable = False
    return _LOCK_DIRECTORY if writable else _OTHERWISE


def _canonical(interface: str, channel: str) -> str:
    """A network interface exists once in every network namespace, a serial device once."""
    if interface == "slcan":
        return os.path.realpath(channel).strip("/").replace("/", "-")
    try:
        return f"net{_NAMESPACE.stat().st_ino}-{channel}"
    except OSError:
        return f"net-{channel}"


def _open_shared(path: Path) -> int:
    """A file that every user may lock, whoever made it."""
    for flags in (os.O_RDWR, os.O_RDONLY):
        try:
            return os.open(path, flags | os.O_CLOEXEC)
        except FileNotFoundError:
            break
        except PermissionError:
            continue
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.fchmod(file, 0o666)
    except OSError as error:
        raise ArmInUseError(f"cannot make sure that nobody else drives the arm: {path}: {error.strerror}") from error
    return file


def _command(pid: int) -> str:
    try:
        told = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        told = ""
    return " ".join(told.split())[:_COMMAND_LENGTH] or "command not known"
