"""The place of an arm that is in repair: nothing is sent, and it is taken to be where it was told to be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper.errors import BusLostError
from wav_policy.piper.feedback import ArmFeedback
from wav_policy.piper.inhibits import Inhibit
from wav_policy.robot.joints import ARM_DOF

ABSENT: Final = "absent by configuration"
"""What is said of it on /diagnostics."""


class AbsentArm:
    """Answers as a `PiperArm` that is always ready. Its readings are no measurements.

    Args:
        side: "left" or "right".
        pose: where it is taken to be at first, shape [7], rad and m.
        clock: of the stamps [s].
    """

    received_frames = 0

    def __init__(self, side: str, pose: FloatArray, clock: Callable[[], float]) -> None:
        self.side = side
        self._pose = np.array(pose, dtype=np.float64)
        self._clock = clock

    def __repr__(self) -> str:
        return f"{self.side} arm (absent)"

    @property
    def latest(self) -> ArmFeedback:
        """Its pose, now, at rest, without effort."""
        return ArmFeedback(self._pose, np.zeros(ARM_DOF), self._clock(), effort=np.zeros(ARM_DOF))

    def read(self) -> ArmFeedback:
        """As `latest`."""
        return self.latest

    def connect(self) -> None:
        """There is nothing to connect."""

    def close(self) -> None:
        """There is nothing to close."""

    def inhibit(self) -> Inhibit | None:
        """Nothing speaks against commanding it."""
        return None

    def write(self, position: FloatArray) -> bool:
        """Be there."""
        self._pose = np.array(position, dtype=np.float64)
        return True

    def probe(self) -> bool:
        """It always takes frames."""
        return True

    def enable(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """It was ready."""
        return True

    def reset(self, stopped: Callable[[], bool] = lambda: False, forced: bool = False) -> bool:
        """It keeps the power it has not."""
        return False

    def disable(self) -> bool:
        """It was off."""
        return False

    def try_stop(self) -> BusLostError | None:
        """It stands still."""
        return None

    def confirm_stop(self) -> None:
        """It stands still."""
