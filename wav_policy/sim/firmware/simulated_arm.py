"""One simulated arm on a pseudo-terminal: firmware, port and the thread that runs them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from wav_policy.sim.firmware.arm_firmware import PiperFirmware
from wav_policy.sim.firmware.feedback import FeedbackRates
from wav_policy.sim.firmware.slcan_port import SlcanPort

if TYPE_CHECKING:
    from wav_policy.sim.world import ArmPlant


class SimulatedArm:
    """Runs from `start` to `stop`; `link` is where a driver finds the arm.

    Args:
        plant: the arm in the simulated world.
        link: symbolic link to create, pointing to the pseudo-terminal; an older link is replaced.
        rates: feedback rates; the thread ticks at the fastest of them, at least 100 Hz.

    Raises:
        FileExistsError: `link` exists and is no symbolic link.
    """

    def __init__(self, plant: ArmPlant, link: Path, rates: FeedbackRates | None = None) -> None:
        self.rates = rates or FeedbackRates()
        self.firmware = PiperFirmware(plant, self.rates)
        self.link = Path(link)
        self._period = 1.0 / max(100.0, self.rates.joints, self.rates.gripper, self.rates.status)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._port: SlcanPort | None = None

    def start(self) -> None:
        """Create the link and begin to answer."""
        if self._thread is not None:
            raise RuntimeError(f"the simulated arm at {self.link} is already running")
        if self.link.exists() and not self.link.is_symlink():
            raise FileExistsError(f"{self.link} is in the way of the simulated arm's link; remove it")
        self._port = SlcanPort()
        self._point_link(self._port.path)
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, args=(self._port,), name=f"arm {self.link.name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Remove the link and unplug the arm. Does nothing when not running."""
        if self._thread is None or self._port is None:
            return
        self._stopping.set()
        self._thread.join()
        if self.link.is_symlink() and os.readlink(self.link) == self._port.path:
            self.link.unlink()
        self._port.close()
        self._thread = self._port = None

    @property
    def dropped(self) -> int:
        """Feedback frames the driver was too slow to read."""
        return self._port.dropped if self._port else 0

    def __enter__(self) -> SimulatedArm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, port: SlcanPort) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            for identifier, data in port.receive():
                self.firmware.on_frame(identifier, data)
            port.send(self.firmware.tick(time.monotonic()))
            due = max(due + self._period, time.monotonic())
            self._stopping.wait(due - time.monotonic())

    def _point_link(self, target: str) -> None:
        self.link.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.link.with_name(f".{self.link.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target)
        fresh.replace(self.link)
