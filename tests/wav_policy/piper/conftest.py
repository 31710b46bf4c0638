"""A simulated arm and a driver for it, over a real pseudo-terminal: fixtures `rig` and `make_rig`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.wav_policy.kinematic_arm import KinematicArm
from wav_policy.piper.arm import PiperArm
from wav_policy.piper.arm_config import ArmConfig
from wav_policy.piper.frames import Frame
from wav_policy.sim.firmware import FaultSet, FeedbackRates, Flash, SimulatedArm

QUICK = ArmConfig(connect_timeout=1.5, enable_timeout=1.0, feedback_timeout=0.3)

AS_REAL = FeedbackRates(motors_slow=40.0)
"""A driver waits for two of every frame that it needs; at the simulation's 10 Hz these would keep each test waiting."""


class Rig:
    """Not started and not connected yet.

    Attributes:
        plant: the joints of the arm.
        arm: its firmware on a pseudo-terminal.
        driver: what is tested.
        millidegree: the resolution of the bus [rad].
    """

    millidegree = float(np.radians(0.001))

    def __init__(self, link: Path, flash: Flash | None = None, version: str = "S-V1.8-8") -> None:
        self.plant = KinematicArm()
        self.arm = SimulatedArm(self.plant, link, AS_REAL, flash=flash, version=version)
        self.driver = PiperArm("left", "slcan", str(link), QUICK)

    def fail(self, faults: str) -> None:
        """Let the arm fail; "" heals it."""
        self.arm.faults = FaultSet.parse(faults)

    def say(self, change: Callable[[int, bytes], bytes | None]) -> None:
        """From now on the arm says of each frame what `change` makes of its identifier and data; None: nothing."""
        tick = self.arm.firmware.tick

        def changed(now: float) -> list[Frame]:
            said = [(number, change(number, data)) for number, data in tick(now)]
            return [(number, data) for number, data in said if data is not None]

        self.arm.firmware.tick = changed  # type: ignore[method-assign]

    def cause(self) -> str:
        """Why the driver would not command the arm."""
        inhibit = self.driver.inhibit()
        return "" if inhibit is None else inhibit.cause

    @staticmethod
    def wait_until(condition: Callable[[], object], timeout: float = 8.0) -> None:
        """Until it holds; an AssertionError after `timeout` [s]."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, "timed out"
            time.sleep(0.01)


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Makes a rig on a link, with what its flash holds and its firmware; closed at the end."""
    made: list[Rig] = []

    def make(link: Path, flash: Flash | None = None, version: str = "S-V1.8-8") -> Rig:
        made.append(Rig(link, flash, version))
        made[-1].arm.start()
        return made[-1]

    yield make
    for rig in made:
        rig.driver.close()
        rig.arm.stop()


@pytest.fixture
def rig(make_rig: Callable[..., Rig], tmp_path: Path) -> Rig:
    """A started arm and a driver that is not connected yet."""
    return make_rig(tmp_path / "can_left")


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """`Rig.wait_until`."""
    return Rig.wait_until
