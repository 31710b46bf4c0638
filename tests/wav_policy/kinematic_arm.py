"""An arm without dynamics: joints are where they are told to be. For testing everything above the motors."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import ArrayLike

from wav_models.types import FloatArray
from wav_policy.sim.plant import ArmReading

_REST = (0.0, 1.0, -1.0, 0.0, 0.5, 0.0)


class KinematicArm:
    """An `ArmPlant` that follows at once while powered, and stays where it is while not.

    Attributes:
        position: joint angles, shape [6], rad.
        stroke: gripper opening [m].
        powered: whether the motors hold.
    """

    def __init__(self) -> None:
        self.position: FloatArray = np.array(_REST)
        self.stroke = 0.03
        self.powered = False
        self._lock = threading.Lock()

    def read(self) -> ArmReading:
        """Joints at rest and without load."""
        with self._lock:
            return ArmReading(self.position.copy(), np.zeros(6), np.zeros(6), self.stroke, 0.0)

    def command(self, position: ArrayLike | None, stroke: float | None) -> None:
        """Be there."""
        with self._lock:
            if position is not None and self.powered:
                self.position = np.array(position, dtype=np.float64)
            if stroke is not None:
                self.stroke = stroke

    def set_power(self, on: bool) -> None:
        """Hold, or be limp."""
        self.powered = on
