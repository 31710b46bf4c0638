"""Which USB-CAN adapters there are: names change when they are plugged in again, serial numbers do not; some makers
give all of theirs the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from serial.tools import list_ports

from wav_policy.piper.errors import InterfaceNotFoundError

NETWORK: Final = Path("/sys/class/net")
ARPHRD_CAN: Final = "280"


@dataclass(frozen=True)
class Adapter:
    """One CAN channel.

    Attributes:
        interface: "socketcan" or "slcan".
        channel: its name at present, such as "can0" or "/dev/ttyACM0".
        usb_serial: of the USB device; "" where it has none.
        product: as the USB device calls itself; "" where it does not.
        port: of a device with several channels, from 0.
        socket: where the USB device is plugged in, such as "1-1.2"; "" where that is not known.
    """

    interface: str
    channel: str
    usb_serial: str = ""
    product: str = ""
    port: int = 0
    socket: str = ""

    def __str__(self) -> str:
        serial = f"USB serial {self.usb_serial}" if self.usb_serial else "no USB serial"
        return f"{self.channel} ({serial}{', ' + self.product if self.product else ''})"


def list_adapters(interface: str, network: Path = NETWORK) -> list[Adapter]:
    """All adapters of one kind that are plugged in, by channel.

    Args:
        interface: "socketcan" or "slcan".
        network: where the kernel describes network interfaces.
    """
    found = _network_interfaces(network) if interface == "socketcan" else _serial_ports()
    return sorted(found, key=lambda adapter: adapter.channel)


def find_channel(interface: str, channel: str, usb_serial: str) -> str:
    """What the adapter with that serial number is called now; `channel` where none is given.

    Args:
        interface: "socketcan" or "slcan".
        channel: chooses among the channels of a device that has several.
        usb_serial: "" believes the name.

    Raises:
        InterfaceNotFoundError: no adapter has it, or several have, or it has several channels and none is called
            `channel`; says which there are.
    """
    if not usb_serial:
        return channel
    present = list_adapters(interface)
    matching = [adapter for adapter in present if adapter.usb_serial == usb_serial]
    if len({adapter.socket for adapter in matching}) > 1:
        raise InterfaceNotFoundError(
            f"several adapters have the USB serial {usb_serial} ({_listed(matching)}): it does not tell them apart. "
            "Give them lasting names by where they are plugged in (`wav arm find` has the rules), without usb_left "
            "and usb_right."
        )
    named = [adapter for adapter in matching if adapter.channel == channel]
    if len(matching) == 1 or named:
        return (named or matching)[0].channel
    if matching:
        raise InterfaceNotFoundError(
            f"the adapter with USB serial {usb_serial} has several channels ({_listed(matching)}), none called "
            f"'{channel}'. Name the one meant."
        )
    raise InterfaceNotFoundError(
        f"no {interface} adapter with USB serial {usb_serial} is plugged in (present: {_listed(present)}). Plug it in, "
        "or find the serial of the one in use: `wav arm find`."
    )


def rename_rule(adapter: Adapter, name: str, by_socket: bool = False) -> str:
    """A udev rule that gives the adapter a lasting name.

    Args:
        adapter: with a USB serial, or a socket.
        name: such as "can_left"; a serial device becomes /dev/NAME.
        by_socket: it is known by where it is plugged in, not by its serial.
    """
    mark = f'KERNELS=="{adapter.socket}"' if by_socket else f'ATTRS{{serial}}=="{adapter.usb_serial}"'
    if adapter.interface == "socketcan":
        return f'SUBSYSTEM=="net", ACTION=="add", {mark}, ATTR{{dev_port}}=="{adapter.port}", NAME="{name}"'
    return f'SUBSYSTEM=="tty", {mark}, SYMLINK+="{name}"'


def _listed(adapters: Iterable[Adapter]) -> str:
    return ", ".join(map(str, adapters)) or "none"


def _network_interfaces(network: Path) -> Iterable[Adapter]:
    for path in network.iterdir() if network.is_dir() else ():
        if _read(path / "type") == ARPHRD_CAN:
            device = _usb_device(path / "device")
            serial, product = (_read(device / "serial"), _read(device / "product")) if device else ("", "")
            port, socket = int(_read(path / "dev_port") or 0), device.name if device else ""
            yield Adapter("socketcan", path.name, serial, product, port, socket)


def _serial_ports() -> Iterable[Adapter]:
    for port in list_ports.comports():
        if port.vid is not None:
            socket = Path(getattr(port, "usb_device_path", None) or "").name
            yield Adapter("slcan", port.device, port.serial_number or "", port.product or "", socket=socket)


def _usb_device(path: Path) -> Path | None:
    """The USB device that a network interface belongs to: the nearest folder above with a vendor."""
    resolved = path.resolve()
    return next((folder for folder in (resolved, *resolved.parents) if (folder / "idVendor").exists()), None)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
