"""What a Piper arm keeps when its power goes: limits, role, identifiers, protection."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

JOINT_LIMITS_DEGREES: Final = ((-150, 150), (0, 180), (-170, 0), (-100, 100), (-70, 70), (-120, 120))
"""What the arm has in flash when it leaves the factory, per joint, deg (piper_sdk's table)."""

MAX_JOINT_SPEED: Final = 3.0
"""[rad/s]"""

MAX_JOINT_ACCELERATION: Final = 5.0
"""[rad/s^2]"""

FACTORY_END_LIMITS: Final = (500, 500, 500, 500)
"""End effector: linear velocity, angular velocity, linear and angular acceleration, in counts of 0x478 [inferred]."""


@dataclass
class JointLimits:
    """One joint's entry: rad, rad/s, rad/s^2."""

    lower: float
    upper: float
    max_speed: float = MAX_JOINT_SPEED
    max_acceleration: float = MAX_JOINT_ACCELERATION


def factory_limits() -> list[JointLimits]:
    """All six joints as delivered."""
    return [JointLimits(math.radians(lower), math.radians(upper)) for lower, upper in JOINT_LIMITS_DEGREES]


@dataclass
class Flash:
    """Survives a power cycle.

    Attributes:
        limits: per joint (0x474, 0x475).
        is_leader: the arm sends targets instead of feedback (0x470).
        feedback_offset: added to 0x2A1-0x2A8 (0x470).
        control_offset: added to 0x150-0x15F (0x470).
        crash_levels: collision protection per joint, 0 off .. 8 (0x47A).
        end_limits: of the end effector, counts (0x479).
        max_stroke: of the gripper [m] (0x47D).
        zeros: where each joint calls itself 0 [rad] (0x475), in the plant's angles.
        gripper_zero: the plant's stroke that the gripper calls 0 [m] (0x159).
    """

    limits: list[JointLimits] = field(default_factory=factory_limits)
    is_leader: bool = False
    feedback_offset: int = 0
    control_offset: int = 0
    crash_levels: list[int] = field(default_factory=lambda: [1] * len(JOINT_LIMITS_DEGREES))
    end_limits: tuple[int, ...] = FACTORY_END_LIMITS
    max_stroke: float = 0.07
    zeros: list[float] = field(default_factory=lambda: [0.0] * len(JOINT_LIMITS_DEGREES))
    gripper_zero: float = 0.0

    def corrupt(self) -> None:
        """As reported of S-V1.8-2 (pyAgxArm#55): every limit reads -0.1 degrees, every acceleration 0xFFFF."""
        for limit in self.limits:
            limit.lower = limit.upper = math.radians(-0.1)
            limit.max_acceleration = 655.35
