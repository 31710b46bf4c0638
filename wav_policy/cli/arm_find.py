"""`wav arm find`: which adapter is whose, by moving one arm by hand."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from wav_models.configuration import Positive
from wav_policy.piper.adapters import Adapter, list_adapters, rename_rule
from wav_policy.piper.errors import PiperError
from wav_policy.piper.maintenance import WAY_TO_LIMP, ServicedArm, interface_of

_MOVED = np.radians(5.0)
_POLL = 0.05  # s


@dataclass(frozen=True)
class FindArguments:
    """Which adapter is the left arm's: lists them with their USB serials, and watches while you move one arm by hand.
    Sends nothing to the arms but the question for their firmware; they must be limp."""

    channel: tuple[str, ...] = ()
    """Look at these only (CAN interfaces or serial devices); all USB adapters otherwise."""
    seconds: Positive = 20.0
    """How long to watch for each arm."""


def run_find(arguments: FindArguments) -> int:
    """Exit code 0 when both arms were found, 1 otherwise."""
    if not (adapters := _candidates(arguments.channel)):
        raise PiperError("no CAN adapter is plugged in; `ip link` lists interfaces, /dev/serial/by-id slcan devices")
    print("adapters:", *(f"  {adapter}" for adapter in adapters), sep="\n")
    arms: dict[Adapter, ServicedArm] = {}
    with ExitStack() as stack:
        for adapter in adapters:
            try:
                arms[adapter] = stack.enter_context(ServicedArm(adapter.channel))
            except PiperError as error:
                print(f"  {adapter.channel}: not looked at: {error}")
                continue
            if why_not := _why_not_movable(arms[adapter]):
                print(f"  {adapter.channel}: {why_not}")
        found = _watch_both(arms, arguments.seconds)
    for side, adapter in found.items():
        _advise(side, adapter, adapters)
    return int(len(found) < 2)


def _candidates(channels: tuple[str, ...]) -> list[Adapter]:
    known = [*list_adapters("socketcan"), *list_adapters("slcan")]
    if not channels:
        return known
    by_name = {adapter.channel: adapter for adapter in known}
    return [by_name.get(channel, Adapter(interface_of(channel), channel)) for channel in channels]


def _why_not_movable(arm: ServicedArm) -> str:
    """Why nobody will see that this arm is moved by hand; "" where nothing speaks against it."""
    if not arm.is_heard:
        return f"it is {arm.role}"
    return f"{', '.join(arm.holding)} hold the arm, which cannot be moved by hand. {WAY_TO_LIMP}" if arm.holding else ""


def _watch_both(arms: dict[Adapter, ServicedArm], seconds: float) -> dict[str, Adapter]:
    found: dict[str, Adapter] = {}
    for side in ("left", "right"):
        waiting = {adapter: arm for adapter, arm in arms.items() if adapter not in found.values()}
        if not waiting:
            print(f"no adapter is left: the {side} arm is not found")
            break
        print(f"Now move the {side.upper()} arm by hand, a hand's breadth to and fro ({seconds:g} s)", flush=True)
        moved = _watch(waiting, seconds)
        if moved is None:
            print(f"no arm was moved: the {side} one is not found")
        else:
            found[side] = moved
            print(f"{side} arm: {moved}")
    return found


def _watch(arms: dict[Adapter, ServicedArm], seconds: float) -> Adapter | None:
    """The first adapter whose arm moves by more than 5 degrees, or which hears a leader's targets."""
    starts = {adapter: arm.arm.latest for adapter, arm in arms.items()}
    targets = {adapter: arm.arm.link.reader.leader_frames for adapter, arm in arms.items()}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for adapter, arm in arms.items():
            start, now = starts[adapter], arm.arm.latest
            if start is not None and now is not None and np.abs(now.position - start.position)[:-1].max() > _MOVED:
                return adapter
            if arm.arm.link.reader.leader_frames > targets[adapter]:
                return adapter
        time.sleep(_POLL)
    return None


def _advise(side: str, adapter: Adapter, present: list[Adapter]) -> None:
    print(f"\n{side} arm:")
    alike = [other for other in present if other.usb_serial == adapter.usb_serial and other.socket != adapter.socket]
    is_known_by_serial = bool(adapter.usb_serial) and not alike
    if is_known_by_serial:
        print(f'  in config/piper.yaml:  usb_{side}: "{adapter.usb_serial}"')
    else:
        why = f"the same USB serial as {alike[0].channel}" if adapter.usb_serial else "no USB serial"
        print(f"  its adapter has {why}: name its channel, can_{side}:={adapter.channel}")
        if not adapter.socket:
            return
        print(f"  a name lasts as long as it is plugged in where it is now (USB {adapter.socket}):")
    print("  or a lasting name: in /etc/udev/rules.d/80-wav-can.rules (sudo udevadm control --reload, then re-plug)")
    print(f"  {rename_rule(adapter, f'can_{side}', by_socket=not is_known_by_serial)}")
