"""Opening a CAN bus: SocketCAN on the robot, slcan for serial adapters and the simulated arm."""

from __future__ import annotations

import os
import select
from pathlib import Path

import can
from can.interfaces.slcan import slcanBus

from wav_policy.piper.errors import InterfaceNotFoundError

INTERFACES = ("slcan", "socketcan")
_BITRATE = 1_000_000
_NETWORK = Path("/sys/class/net")


def open_bus(interface: str, channel: str) -> can.BusABC:
    """Open `channel` at 1 Mbit/s.

    Args:
        interface: "socketcan" or "slcan".
        channel: network interface such as "can0", or serial device such as "/dev/ttyACM0".

    Raises:
        InterfaceNotFoundError: it is not there, not a CAN interface, down, or cannot be opened.
        ValueError: unknown interface kind.
    """
    if interface not in INTERFACES:
        raise ValueError(f"unknown CAN interface kind '{interface}'; valid: {', '.join(INTERFACES)}")
    try:
        if interface == "slcan":
            _require_serial(channel)
            return BufferedSlcanBus(channel, bitrate=_BITRATE, sleep_after_open=0.0)
        _require_network(channel)
        return can.Bus(interface="socketcan", channel=channel, local_loopback=False, ignore_config=True)
    except (can.CanError, OSError) as error:
        raise InterfaceNotFoundError(f"cannot open {interface} channel '{channel}': {error}") from error


class BufferedSlcanBus(slcanBus):
    """python-can's slcan bus, reading what has arrived in one call instead of byte by byte.

    python-can 4.6 makes two system calls for each of a frame's 22 bytes. For 510 frames/s read through piper_sdk that
    costs 11 % of a 2.6 GHz core, this 2 %.
    """

    _buffer: bytearray

    def _read(self, timeout: float | None) -> str | None:
        """One line with its terminator, or None after `timeout` [s]."""
        while True:
            line, terminator, rest = self._buffer.partition(b"\r")
            if terminator:
                self._buffer = rest
                return (line + terminator).decode("ascii", errors="replace").lstrip("\a")
            ready, _, _ = select.select([self.serialPortOrig.fileno()], [], [], timeout)
            if not ready:
                return None
            self._buffer += self._read_available()

    def _read_available(self) -> bytes:
        try:
            data = os.read(self.serialPortOrig.fileno(), 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise can.CanOperationError(f"{self.serialPortOrig.port}: {error.strerror}") from error
        if not data:
            raise can.CanOperationError(f"{self.serialPortOrig.port}: the adapter was unplugged")
        return data

    def shutdown(self) -> None:
        """Close the channel and the port; closing twice does nothing, an unplugged port closes too."""
        if not self.serialPortOrig.is_open:
            return
        try:
            super().shutdown()
        except can.CanOperationError:
            self.serialPortOrig.close()


def _require_serial(channel: str) -> None:
    if not Path(channel).is_char_device():
        remedy = "Plug in the adapter, or start the simulation (`wav up`) that creates the device."
        raise InterfaceNotFoundError(f"no serial CAN adapter at '{channel}'. {remedy}")


def _require_network(channel: str) -> None:
    """ARPHRD_CAN is 280; `operstate` of a CAN interface that is up reads "up" or "unknown"."""
    kinds = {path.name: (path / "type").read_text().strip() for path in _NETWORK.iterdir() if (path / "type").exists()}
    present = sorted(name for name, kind in kinds.items() if kind == "280")
    if channel not in present:
        found = ", ".join(present) or "none"
        raise InterfaceNotFoundError(
            f"no CAN interface '{channel}' (present: {found}). Plug in the adapter; interfaces are listed by `ip link`."
        )
    if (_NETWORK / channel / "operstate").read_text().strip() == "down":
        raise InterfaceNotFoundError(
            f"CAN interface '{channel}' is down. Bring it up: sudo ip link set {channel} up type can bitrate {_BITRATE}"
        )
