"""Adapters are known by their USB serial, and what is wrong with a channel names it and the command that helps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import wav_policy.piper.socketcan_bus as socketcan_bus
from wav_policy.piper import adapters
from wav_policy.piper.errors import BusOffError, InterfaceNotFoundError


def plug_in(
    network: Path, name: str, serial: str, operstate: str = "up", port: int = 0, socket: str | None = None
) -> None:
    """As sysfs shows a gs_usb adapter: the interface's device is the USB interface, its parent the USB device."""
    usb = network.parent / "devices" / (socket or serial or name)
    interface = usb / "1-1:1.0"
    interface.mkdir(parents=True, exist_ok=True)
    if serial:
        (usb / "idVendor").write_text("1d50\n")
        (usb / "serial").write_text(f"{serial}\n")
        (usb / "product").write_text("candleLight\n")
    folder = network / name
    folder.mkdir(parents=True)
    (folder / "type").write_text("280\n")
    (folder / "operstate").write_text(f"{operstate}\n")
    (folder / "dev_port").write_text(f"{port}\n")
    (folder / "device").symlink_to(interface)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "net"
    path.mkdir()
    (path / "lo").mkdir()
    (path / "lo" / "type").write_text("772\n")
    monkeypatch.setattr(socketcan_bus, "_NETWORK", path)
    monkeypatch.setattr(adapters, "NETWORK", path)
    monkeypatch.setattr(adapters.list_adapters, "__defaults__", (path,))
    return path


def test_a_channel_is_found_by_the_serial_of_its_adapter(network: Path) -> None:
    plug_in(network, "can1", "00AA")
    plug_in(network, "can0", "00BB")
    assert adapters.find_channel("socketcan", "can_left", "00AA") == "can1"
    assert adapters.find_channel("socketcan", "can_left", "") == "can_left"
    with pytest.raises(InterfaceNotFoundError, match=r"00CC.*can0 \(USB serial 00BB, candleLight\).*wav arm find"):
        adapters.find_channel("socketcan", "can_left", "00CC")


def test_a_device_with_two_channels_needs_a_name_too(network: Path) -> None:
    plug_in(network, "can0", "00AA")
    plug_in(network, "can1", "00AA", port=1)
    assert adapters.find_channel("socketcan", "can1", "00AA") == "can1"
    with pytest.raises(InterfaceNotFoundError, match="has several channels.*none called 'can_left'"):
        adapters.find_channel("socketcan", "can_left", "00AA")


@pytest.mark.parametrize("channel", ["can0", "can_left"])
def test_two_adapters_with_one_serial_are_not_told_apart_by_their_names(network: Path, channel: str) -> None:
    """Some makers give all of theirs the same: plugged in again, can0 may be the other arm's."""
    for name, socket in (("can0", "1-1.2"), ("can1", "1-1.3")):
        plug_in(network, name, "00AA", socket=socket)
    with pytest.raises(InterfaceNotFoundError, match=r"can0.*can1.*does not tell them apart.*wav arm find"):
        adapters.find_channel("socketcan", channel, "00AA")
    rules = [adapters.rename_rule(one, "can_left", by_socket=True) for one in adapters.list_adapters("socketcan")]
    assert ['KERNELS=="1-1.2"' in rule for rule in rules] == [True, False]


def test_udev_rules_name_serial_and_port() -> None:
    rule = adapters.rename_rule(adapters.Adapter("socketcan", "can1", "00AA", port=1), "can_left")
    assert 'ATTRS{serial}=="00AA"' in rule
    assert 'ATTR{dev_port}=="1"' in rule
    assert rule.endswith('NAME="can_left"')
    assert 'SYMLINK+="can_left"' in adapters.rename_rule(adapters.Adapter("slcan", "/dev/ttyACM0", "1"), "can_left")


def test_an_adapter_that_lost_its_name_is_not_to_be_plugged_in_again(network: Path) -> None:
    plug_in(network, "can0", "00AA", "down")
    with pytest.raises(InterfaceNotFoundError) as found:
        socketcan_bus.require_network("can_left")
    text = str(found.value)
    assert "can0 (USB serial 00AA" in text
    assert "sudo ip link set can0 down && sudo ip link set can0 name can_left && sudo ip link set can_left up" in text
    assert "Plug in" not in text


def test_without_any_adapter_one_is_asked_for(network: Path) -> None:
    with pytest.raises(InterfaceNotFoundError, match="present: none.*Plug in the adapter"):
        socketcan_bus.require_network("can_left")


@pytest.mark.parametrize(
    ("state", "error", "words"),
    [("BUS-OFF", BusOffError, "in bus-off"), ("STOPPED", InterfaceNotFoundError, "is down")],
)
def test_bus_off_is_told_from_down(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, error: type[Exception], words: str
) -> None:
    """In bus-off the interface is up but reads "down"; the kernel then refuses `ip ... up type can` alone."""
    plug_in(network, "can_left", "00AA", "down")
    info = [{"linkinfo": {"info_data": {"state": state, "restart_ms": 0, "bittiming": {"bitrate": 1_000_000}}}}]
    command = tmp_path / "ip"
    command.write_text(f"#!/bin/sh\necho '{json.dumps(info)}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(error, match=words) as found:
        socketcan_bus.require_network("can_left")
    assert "sudo ip link set can_left down && sudo ip link set can_left up type can bitrate 1000000" in str(found.value)
