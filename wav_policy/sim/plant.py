"""One arm's motors, whatever moves behind them: what the simulated firmware drives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from numpy.typing import ArrayLike

from wav_models.types import FloatArray


@dataclass(frozen=True)
class ArmReading:
    """What the motors of one arm report.

    Attributes:
        position: joint angles [6], rad.
        velocity: joint velocities [6], rad/s.
        torque: actuator torques [6], N m.
        stroke: opening of the gripper [m].
        grip_force: force of the gripper's actuator [N], negative when closing.
    """

    position: FloatArray
    velocity: FloatArray
    torque: FloatArray
    stroke: float
    grip_force: float


class ArmPlant(Protocol):
    """One arm's motors: what the simulated firmware drives."""

    def read(self) -> ArmReading:
        """Measured state now."""

    def command(self, position: ArrayLike | None, stroke: float | None) -> None:
        """Set joint targets [6] (rad) and stroke (m); None leaves that set-point alone."""

    def set_power(self, on: bool) -> None:
        """Motors on (holding the present position) or limp."""
