"""The numbers that `SafetyFilter` enforces."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from wav_models.configuration import NotNegative, Positive
from wav_models.types import FloatArray
from wav_policy.control.collision_limits import CollisionLimits
from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_DIM, both_arms

_LARGEST: Final = {
    "position_min": (*(2.0 * math.pi,) * 6, 0.15),
    "position_max": (*(2.0 * math.pi,) * 6, 0.15),
    "velocity": (*(10.0,) * 6, 1.5),
    "acceleration": (100.0,) * 7,
}
"""What no Piper comes near [rad], [m], per second, per second^2: larger numbers are degrees or millimetres."""

_LARGEST_SCALARS: Final = {"gripper_effort": 5.0, "max_measurement_age": 10.0, "max_command_age": 10.0, "max_tick": 1.0}
"""[N m], [s]: larger numbers are milliseconds."""


def _degrees(*values: float) -> tuple[float, ...]:
    return tuple(math.radians(value) for value in values)


@dataclass(frozen=True)
class SafetyLimits:
    """Limits of one arm, joint 1 to 6 then gripper; both arms are the same model and share them.

    Position, velocity and acceleration defaults are the limits in piper_sdk, which it does not enforce itself.
    """

    position_min: tuple[float, ...] = (*_degrees(-150.0, 0.0, -170.0, -100.0, -70.0, -120.0), 0.0)
    """Least position of the joints [rad], gripper stroke [m]."""
    position_max: tuple[float, ...] = (*_degrees(150.0, 180.0, 0.0, 100.0, 70.0, 120.0), 0.07)
    """Greatest position of the joints [rad], gripper stroke [m]."""
    position_margin: NotNegative = 0.005
    """Joints stay this far inside their limits, so that the firmware never has to clamp [rad]."""
    velocity: tuple[float, ...] = (3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 0.5)
    """Largest speed of what is commanded [rad/s], gripper [m/s]."""
    acceleration: tuple[float, ...] = (5.0, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0)
    """Largest acceleration of what is commanded [rad/s^2], gripper [m/s^2]."""
    max_step: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1)
    """Farthest a command may be from the measured position [rad], [m]. The gripper's exceeds its stroke on purpose: a
    gripper that holds an object is far from its target by design."""
    measurement_tolerance: tuple[float, ...] = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01)
    """A measurement farther than this outside the position limits is not believed [rad], [m]."""
    command_tolerance: tuple[float, ...] = (0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.05)
    """A command farther than this outside the position limits is garbage, and held on instead of limited [rad], [m]."""
    gripper_effort: Positive = 1.0
    """Largest gripping effort that may be commanded [N m]; the arm itself takes up to 5, piper_sdk asks for 1."""
    max_measurement_age: Positive = 0.1
    """Older feedback of an arm is no measurement of where it is [s]."""
    max_command_age: Positive = 2.0
    """Age of the observation or message a command stems from [s]."""
    max_tick: Positive = 0.05
    """A tick that comes later than this continues from rest: the arm has reached its last target by then [s]."""
    collision: CollisionLimits = field(default_factory=CollisionLimits)
    """Where the arms stand and how near they may come to anything."""

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        vectors = (
            *("position_min", "position_max", "velocity", "acceleration"),
            *("max_step", "measurement_tolerance", "command_tolerance"),
        )
        for name in vectors:
            values = np.asarray(getattr(self, name), dtype=float)
            if values.shape != (ARM_DOF,) or not np.isfinite(values).all():
                raise ValueError(f"safety limit {name}: expected {ARM_DOF} finite numbers, got {getattr(self, name)}")
            if not name.startswith("position") and not (values > 0.0).all():
                raise ValueError(f"safety limit {name}: must be positive, got {getattr(self, name)}")
            if name in _LARGEST and (np.abs(values) > _LARGEST[name]).any():
                per = {"velocity": "/s", "acceleration": "/s^2"}.get(name, "")
                raise ValueError(
                    f"safety limit {name}: in rad{per} (joints) and m{per} (gripper) at most {_LARGEST[name]} fit, got "
                    f"{getattr(self, name)}"
                )
        for name, most in _LARGEST_SCALARS.items():
            if not 0.0 < getattr(self, name) <= most:
                raise ValueError(f"safety limit {name}: above 0 and up to {most:g} fits, got {getattr(self, name)}")
        if not 0.0 <= self.position_margin < math.inf or not (self.lower < self.upper).all():
            raise ValueError(
                f"safety limits: position_min {self.position_min} must be below position_max {self.position_max} by "
                f"more than twice position_margin {self.position_margin}"
            )

    @property
    def lower(self) -> FloatArray:
        """Lowest target, shape [14]."""
        return both_arms(self.position_min) + self._margin

    @property
    def upper(self) -> FloatArray:
        """Highest target, shape [14]."""
        return both_arms(self.position_max) - self._margin

    @property
    def _margin(self) -> FloatArray:
        margin = np.full(JOINT_DIM, self.position_margin)
        margin[GRIPPERS] = 0.0
        return margin
