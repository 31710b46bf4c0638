"""Where the arms stand and how near they may come to each other, to themselves and to the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from wav_models.configuration import Range

_SMALLEST_CLEARANCE = 0.002
_LARGEST_CLEARANCE = 0.05

Clearance = Annotated[float, Range(_SMALLEST_CLEARANCE, _LARGEST_CLEARANCE)]


@dataclass(frozen=True)
class CollisionLimits:
    """Read by `wav_policy.control.collision`. Positions are in a world frame of your choice, z up; the defaults are the
    simulated cell."""

    check: bool = True
    """False: the commanded motion is not checked for collisions."""
    clearance: Clearance = 0.01
    """Between the arms, and between links and table [m]. Half of it pays for what lies between the points of the path
    that are looked at, so it is never zero."""
    self_clearance: Clearance = 0.003
    """Between links of one arm, which follow each other exactly [m]. The same holds."""
    gripper_table_clearance: Annotated[float, Range(-_LARGEST_CLEARANCE, _LARGEST_CLEARANCE)] = 0.0
    """Between gripper and table [m]: what lies on a table is grasped by touching it. Negative: may be pressed in."""
    table_height: float = 0.0
    """Of the table's surface, taken as endless [m]."""
    left_base: tuple[float, ...] = (0.0, 0.22, 0.05, 0.0)
    """Mounting of the left arm: x, y, z [m], yaw [rad]."""
    right_base: tuple[float, ...] = (0.0, -0.22, 0.05, 0.0)
    """Mounting of the right arm: x, y, z [m], yaw [rad]."""

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        for name in ("clearance", "self_clearance"):
            clearance = getattr(self, name)
            if not _SMALLEST_CLEARANCE <= clearance <= _LARGEST_CLEARANCE:
                raise ValueError(
                    f"collision {name}: {_SMALLEST_CLEARANCE} to {_LARGEST_CLEARANCE} m fit, got {clearance}"
                )
        if not abs(self.gripper_table_clearance) <= _LARGEST_CLEARANCE:
            raise ValueError(
                f"collision gripper_table_clearance: at most {_LARGEST_CLEARANCE} m either way fits, got "
                f"{self.gripper_table_clearance}"
            )
        if not np.isfinite(self.table_height):
            raise ValueError(f"collision table_height: must be finite, got {self.table_height}")
        for name in ("left_base", "right_base"):
            pose = np.asarray(getattr(self, name), dtype=float)
            if pose.shape != (4,) or not np.isfinite(pose).all():
                raise ValueError(f"collision {name}: expected x, y, z [m] and yaw [rad], got {getattr(self, name)}")
