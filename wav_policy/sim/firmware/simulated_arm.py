"""One simulated arm on a pseudo-terminal: firmware and port, and a thread for an arm that has no world to move it."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Final

from wav_policy.sim.firmware.arm_firmware import PiperFirmware
from wav_policy.sim.firmware.device_link import DeviceLink
from wav_policy.sim.firmware.faults import FaultSet
from wav_policy.sim.firmware.feedback import FeedbackRates
from wav_policy.sim.firmware.flash import Flash
from wav_policy.sim.firmware.slcan_port import SlcanPort
from wav_policy.sim.plant import ArmPlant
from wav_policy.sim.ticks import ticks

_BUS_OFF_FLAGS: Final = 0x84  # error warning, bus error
_WRONG_BITRATE_FLAGS: Final = 0xA0  # error passive, bus error


class SimulatedArm:
    """Runs from `start` to `stop`, or by the turns of what moves the plant; `link` is where a driver finds the arm.

    Args:
        plant: the arm in the simulated world.
        link: symbolic link to create, pointing to the pseudo-terminal; an older link is replaced. Another one may be
            assigned: the arm is found there once it is plugged in again.
        rates: feedback rates; each turn is one `tick` of them.
        flash: what the arm remembers; as delivered if None.
        seed: of the frames that `drop` and `garble` pick.
        version: of the firmware.

    Attributes:
        firmware: of the present power cycle.
        faults: what is wrong now; assign a `FaultSet` at any time, from any thread.

    Raises:
        FileExistsError: `link` exists and is no symbolic link.
    """

    def __init__(
        self,
        plant: ArmPlant,
        link: Path,
        rates: FeedbackRates | None = None,
        flash: Flash | None = None,
        seed: int = 0,
        version: str = "S-V1.8-8",
    ) -> None:
        self.rates = rates or FeedbackRates()
        self.flash = flash or Flash()
        self._version = version
        self.firmware = PiperFirmware(plant, self.rates, self.flash, version)
        self.link = Path(link)
        self._device = DeviceLink(self.link)
        self.faults = FaultSet()
        self._plant = plant
        self._time = 0.0
        self._rng = random.Random(seed)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._port: SlcanPort | None = None
        self._has_power = True

    def start(self) -> None:
        """Create the link and begin to answer."""
        if self._thread is not None:
            raise RuntimeError(f"the simulated arm at {self.link} is already running")
        self.plug_in()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f"arm {self.link.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the link and unplug the arm. Does nothing when not running."""
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join()
        self._thread = None
        self.unplug()

    @property
    def dropped(self) -> int:
        """Feedback frames the driver was too slow to read."""
        return self._port.dropped if self._port else 0

    def __enter__(self) -> SimulatedArm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self) -> None:
        for _ in ticks(self.rates.tick, self._stopping):
            self.turn()

    def turn(self) -> None:
        """One exchange of frames, as far as the faults let them pass, and one tick of the arm's time."""
        faults = self.faults
        self._time += self.rates.tick
        self._switch_power("power_loss" not in faults)
        if "unplug" in faults:
            self.unplug()
        elif self._port is None:
            self.plug_in()
        if faults is not self.firmware.faults:
            self.firmware.set_faults(faults)
        if self._port is not None:
            self._hear(self._port, faults)
        sent = self.firmware.tick(self._time) if self._has_power else []
        if self._port is not None and not self._is_mute(self._port, faults):
            self._port.send(faults.on_the_wire(sent, self._rng))

    def _hear(self, port: SlcanPort, faults: FaultSet) -> None:
        """Hand the driver's frames to the firmware; the adapter itself answers whatever the arm does."""
        port.flags = self._flags(port, faults)
        for identifier, data in port.receive():
            if not self._is_mute(port, faults):
                self.firmware.on_frame(identifier, data)

    def _switch_power(self, on: bool) -> None:
        """A new power cycle starts in standby, limp, with what the flash holds."""
        if on == self._has_power:
            return
        self._has_power = on
        self._plant.set_power(False)
        if on:
            self.firmware = PiperFirmware(self._plant, self.rates, self.flash, self._version)

    def plug_in(self) -> None:
        """Create the link; from then on the arm can be heard.

        Raises:
            FileExistsError: it exists and is no symbolic link.
        """
        port = SlcanPort()
        self._device = DeviceLink(self.link)
        try:
            self._device.point_to(port.path)
        except FileExistsError:
            port.close()
            raise
        self._port = port

    def unplug(self) -> None:
        """Remove the link. Does nothing when not plugged in."""
        if self._port is None:
            return
        self._device.remove()
        self._port.close()
        self._port = None

    @staticmethod
    def _is_mute(port: SlcanPort, faults: FaultSet) -> bool:
        return faults.is_mute or not port.at_arm_bitrate

    @staticmethod
    def _flags(port: SlcanPort, faults: FaultSet) -> int:
        if "wrong_bitrate" in faults or not port.at_arm_bitrate:
            return _WRONG_BITRATE_FLAGS
        return _BUS_OFF_FLAGS if "bus_off" in faults else 0
