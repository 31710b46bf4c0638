"""Opening a CAN bus: SocketCAN on the robot, slcan for serial adapters and the simulated arm.

Either is a python-can bus, as piper_sdk wants it, that also moves frames in batches: `receive` and `transmit` make one
system call for what python-can and piper_sdk do frame by frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import can

from wav_policy.piper.arm_config import INTERFACES
from wav_policy.piper.channel_lock import ChannelLock
from wav_policy.piper.errors import InterfaceNotFoundError
from wav_policy.piper.frames import BITRATE, BusCondition, Frame
from wav_policy.piper.slcan_bus import BatchedSlcanBus
from wav_policy.piper.socketcan_bus import BatchedSocketcanBus, require_network


class ArmBus(Protocol):
    """One open bus; a python-can `BusABC` besides."""

    garbled: int
    """Lines or records that were no frame."""

    local_setpoints: int
    """Set-points that other programs of this computer have sent on this bus, as far as the kernel tells."""

    def receive(self, timeout: float) -> list[Frame]:
        """Data frames that have arrived, after at most `timeout` [s].

        Raises:
            can.CanError, OSError: the adapter or interface is gone.
        """

    def transmit(self, frames: Iterable[Frame]) -> None:
        """Send frames, all in 8 bytes.

        Raises:
            can.CanError, OSError: the adapter or interface is gone, or does not take more.
        """

    def ask_condition(self) -> None:
        """Have the adapter asked; the answer comes through `receive`."""

    def condition(self) -> BusCondition:
        """What is known of the bus's health."""

    def shutdown(self) -> None:
        """Close; twice does nothing, also when unplugged."""


def open_bus(interface: str, channel: str, owner: str = "CAN bus") -> ArmBus:
    """Open `channel` at 1 Mbit/s, for this process alone.

    Args:
        interface: "socketcan" or "slcan".
        channel: network interface such as "can0", or serial device such as "/dev/ttyACM0".
        owner: what uses it, such as "left arm"; told to who else wants the channel.

    Raises:
        ArmInUseError: it is in use already, by this or another process.
        InterfaceNotFoundError: it is not there, not a CAN interface, down, or cannot be opened.
        WrongBitrateError: the network interface is up at another bitrate.
        BusOffError: the controller of the network interface has left the bus.
        ValueError: unknown interface kind.
    """
    if interface not in INTERFACES:
        raise ValueError(f"unknown CAN interface kind '{interface}'; valid: {', '.join(INTERFACES)}")
    if interface == "slcan":
        _require_serial(channel)
    lock = ChannelLock(interface, channel, owner)
    lock.acquire()
    try:
        if interface == "slcan":
            return BatchedSlcanBus(channel, lock=lock, bitrate=BITRATE, sleep_after_open=0.0)
        require_network(channel)
        return BatchedSocketcanBus(channel=channel, lock=lock)
    except BaseException as error:
        lock.release()
        if isinstance(error, (can.CanError, OSError)):
            raise InterfaceNotFoundError(f"cannot open {interface} channel '{channel}': {error}") from error
        raise


def _require_serial(channel: str) -> None:
    if not Path(channel).is_char_device():
        remedy = "Plug in the adapter, or start the simulation (`wav up`) that creates the device."
        raise InterfaceNotFoundError(f"no serial CAN adapter at '{channel}'. {remedy}")
