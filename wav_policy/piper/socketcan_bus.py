"""SocketCAN, read and written in batches, with the controller's own account of the bus."""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
from collections.abc import Iterable
from typing import Any, Final

from can.interfaces.socketcan import SocketcanBus

from wav_policy.piper.adapters import ARPHRD_CAN, NETWORK, list_adapters
from wav_policy.piper.channel_lock import ChannelLock
from wav_policy.piper.errors import BusOffError, InterfaceNotFoundError, WrongBitrateError
from wav_policy.piper.frames import BITRATE, SETPOINT_IDS, BusCondition, Frame

_NETWORK = NETWORK
_RECORD: Final = struct.Struct("=IB3x8s")
"""`struct can_frame` of linux/can.h."""
_ERROR_FRAME: Final = 0x2000_0000
_EXTENDED_OR_REMOTE: Final = 0xC000_0000
_ERROR_CLASSES: Final = {
    0x004: "controller problem",
    0x008: "protocol violation",
    0x020: "no acknowledgement",
    0x040: "bus-off",
    0x080: "bus error",
}
_BUS_OFF: Final = 0x040
_RESTARTED: Final = 0x100


class BatchedSocketcanBus(SocketcanBus):
    """`ArmBus` over a network interface. `receive` is for one thread.

    Attributes:
        garbled: records that were no data frame of a Piper.
        local_setpoints: from other programs of this computer; the kernel marks what they send.
    """

    def __init__(self, channel: str, lock: ChannelLock | None = None, **options: Any) -> None:
        self.garbled = 0
        self.local_setpoints = 0
        self._errors = 0
        self._channel_lock = lock
        super().__init__(channel, **options)
        self.socket.setblocking(False)  # a full transmit queue is an error, not a pause of the control loop

    def receive(self, timeout: float) -> list[Frame]:
        """As `ArmBus.receive`."""
        ready, _, _ = select.select([self.socket], [], [], timeout)
        frames: list[Frame] = []
        while ready:
            record, _, flags, _ = self.socket.recvmsg(_RECORD.size)
            if not record:
                raise OSError(f"{self.channel}: the interface vanished")
            number, length, data = _RECORD.unpack(record)
            if number & _ERROR_FRAME:
                self._note_errors(number)
            elif number & _EXTENDED_OR_REMOTE:
                self.garbled += 1
            else:
                frames.append((number, data[:length]))
                self.local_setpoints += bool(flags & socket.MSG_DONTROUTE) and number in SETPOINT_IDS
            ready, _, _ = select.select([self.socket], [], [], 0.0)
        return frames

    def transmit(self, frames: Iterable[Frame]) -> None:
        """As `ArmBus.transmit`."""
        for number, data in frames:
            self.socket.send(_RECORD.pack(number, len(data), data))

    def ask_condition(self) -> None:
        """As `ArmBus.ask_condition`: the kernel needs not be asked before."""

    def condition(self) -> BusCondition:
        """As `ArmBus.condition`: error frames so far, and what `ip` knows."""
        known = interface_condition(_ip_details(self.channel), restart_command(self.channel))
        words = [text for bit, text in _ERROR_CLASSES.items() if self._errors & bit]
        if known.is_bus_off or not words:
            return known
        text = f"error frames: {', '.join(words)}"
        return BusCondition(bool(self._errors & _BUS_OFF), True, known.bitrate, text, known.remedy)

    def shutdown(self) -> None:
        """As `ArmBus.shutdown`."""
        super().shutdown()
        if self._channel_lock is not None:
            self._channel_lock.release()

    def _note_errors(self, number: int) -> None:
        if number & _RESTARTED:
            self._errors = 0
        self._errors |= number & sum(_ERROR_CLASSES)


def interface_condition(details: dict[str, Any], remedy: str = "") -> BusCondition:
    """From the JSON of `ip -details -json link show IFACE` (one element).

    Args:
        details: {} where it could not be had.
        remedy: the command that sets this interface up anew.
    """
    data = details.get("linkinfo", {}).get("info_data", {})
    state, bitrate = data.get("state", ""), data.get("bittiming", {}).get("bitrate")
    if not state:
        return BusCondition(bitrate=bitrate, words="the kernel does not tell the state of the bus", remedy=remedy)
    healthy = state in ("ERROR-ACTIVE", "STOPPED")
    return BusCondition(state == "BUS-OFF", not healthy, bitrate, f"the controller is in state {state}", remedy)


def require_network(channel: str) -> None:
    """Whether the interface is there, a CAN interface, not in bus-off, up, and at 1 Mbit/s.

    `operstate` of a CAN interface that is up reads "up" or "unknown"; in bus-off it reads "down" although it is up.

    Raises:
        InterfaceNotFoundError, WrongBitrateError, BusOffError: naming the interface and the command that helps.
    """
    if not _is_can(channel):
        raise InterfaceNotFoundError(_missing_text(channel))
    condition = interface_condition(_ip_details(channel), restart_command(channel))
    if condition.is_bus_off:
        raise BusOffError(
            f"CAN interface '{channel}' is in bus-off: its controller has left the bus after too many errors. Check "
            f"cable, plugs and both 120 ohm ends, then: {condition.remedy}"
        )
    if (_NETWORK / channel / "operstate").read_text().strip() == "down":
        raise InterfaceNotFoundError(f"CAN interface '{channel}' is down. Bring it up: {restart_command(channel)}")
    require_bitrate(channel, condition)


def _is_can(channel: str) -> bool:
    try:
        return (_NETWORK / channel / "type").read_text().strip() == ARPHRD_CAN
    except OSError:
        return False


def _missing_text(channel: str) -> str:
    """An adapter that is plugged in again comes as can0 or the like, and down."""
    present = list_adapters("socketcan", _NETWORK)
    if not present:
        return f"no CAN interface '{channel}' (present: none). Plug in the adapter; interfaces are listed by `ip link`."
    other = present[0].channel
    return (
        f"no CAN interface '{channel}' (present: {', '.join(map(str, present))}). Is it one of these, and lost its "
        f"name when plugged in anew? Then: sudo ip link set {other} down && sudo ip link set {other} name {channel} && "
        f"{bring_up_command(channel)}. `wav arm find` shows which is which, and a udev rule that keeps the name; "
        "piper_node finds an adapter by its USB serial whatever it is called (usb_left, usb_right)."
    )


def require_bitrate(channel: str, condition: BusCondition) -> None:
    """Refuse an interface that is known to run at another rate.

    Raises:
        WrongBitrateError: with both rates and the command that helps.
    """
    if condition.bitrate not in (None, BITRATE):
        raise WrongBitrateError(
            f"CAN interface '{channel}' runs at {condition.bitrate} bit/s, the arm at {BITRATE}. "
            f"Set it: {restart_command(channel)}"
        )


def bring_up_command(channel: str) -> str:
    """For an interface that is down. With `restart-ms` the kernel leaves bus-off by itself."""
    return f"sudo ip link set {channel} up type can bitrate {BITRATE} restart-ms 100"


def restart_command(channel: str) -> str:
    """In any state; the kernel changes a bitrate, and leaves bus-off, only over down."""
    return f"sudo ip link set {channel} down && {bring_up_command(channel)}"


def _ip_details(channel: str) -> dict[str, Any]:
    command = ["ip", "-details", "-json", "link", "show", channel]
    try:
        output = subprocess.run(command, capture_output=True, timeout=1.0, check=True).stdout
        return dict(json.loads(output)[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return {}
