"""One master per CAN channel: a lock across processes, by the device behind the channel's name.

The lock is a name in the kernel's abstract socket namespace: there is no file that anybody could delete, it ends with
its process, and containers on the host's network share it, as they share its CAN interfaces.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final

from wav_policy.piper.errors import ArmInUseError, InterfaceNotFoundError

_PTY_MAJORS: Final = range(136, 144)
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_BACKLOG: Final = 4096
"""Whoever asks for the holder's process id stays in its queue."""
_COMMAND_LENGTH: Final = 120  # characters

_owners: dict[str, str] = {}
"""What uses the channels that this process holds, by address."""


class ChannelLock:
    """Held from `acquire` to `release`, or until the process ends.

    Args:
        interface: "socketcan" or "slcan".
        channel: as configured; two names of one device are one channel.
        owner: what uses the channel, such as "left arm"; for the message to who else wants it.

    Raises:
        InterfaceNotFoundError: there is no such serial device.
    """

    def __init__(self, interface: str, channel: str, owner: str) -> None:
        self._channel = channel
        self._owner = owner
        self._address = f"\0wav-can-{_device(interface, channel)}"
        self._socket: socket.socket | None = None

    def acquire(self) -> None:
        """Take the lock, or say who has it.

        Raises:
            ArmInUseError: naming the process.
        """
        holder = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            holder.bind(self._address)
            holder.listen(_BACKLOG)
        except OSError:
            holder.close()
            raise ArmInUseError(self._taken()) from None
        self._socket = holder
        _owners[self._address] = self._owner

    def release(self) -> None:
        """Let others have the channel; does nothing when it is not held."""
        if self._socket is not None:
            _owners.pop(self._address, None)
            self._socket.close()
            self._socket = None

    def _taken(self) -> str:
        pid = _listening(self._address)
        if pid == os.getpid():
            return (
                f"'{self._channel}' is the channel of the {_owners.get(self._address, 'other arm')} already: every arm "
                "needs an adapter of its own. `wav arm find` shows which is which."
            )
        if pid == 0:
            return f"another process drives '{self._channel}': two masters would fight. Stop it first."
        return (
            f"process {pid} ({_command(pid)}) drives '{self._channel}': two masters would fight. Stop it first: "
            f"kill {pid}"
        )


def _device(interface: str, channel: str) -> str:
    """Network interfaces and the socket's name live in one network namespace; pseudo-terminals of two containers may
    have one number."""
    if interface == "socketcan":
        return f"net-{channel}"
    try:
        device = os.stat(channel)
    except OSError as error:
        raise InterfaceNotFoundError(f"no serial CAN adapter at '{channel}': {error.strerror}") from error
    number = f"{os.major(device.st_rdev)}:{os.minor(device.st_rdev)}"
    return f"pty-{device.st_dev}-{number}" if os.major(device.st_rdev) in _PTY_MAJORS else f"serial-{number}"


def _listening(address: str) -> int:
    """Process that listens there; 0 where it is not known."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as caller:
        caller.setblocking(False)
        try:
            caller.connect(address)
            told = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except OSError:
            return 0
    return int(_CREDENTIALS.unpack(told)[0])


def _command(pid: int) -> str:
    try:
        told = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        told = ""
    return " ".join(told.split())[:_COMMAND_LENGTH] or "command not known"
