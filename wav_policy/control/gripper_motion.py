"""One gripper opens or closes, and stops where it holds something."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.calm_motion import CalmMotion
from wav_policy.control.joint_trajectory import GoalCode, GoalError, Reachable
from wav_policy.piper.bimanual import JointReading
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, JOINT_NAMES

NAME: Final = "gripper_cmd"

GRIPPER_SPEED: Final = 0.1
"""Where a goal has none [m/s]; the whole stroke takes two seconds."""

_PER_METRE: Final = 10.0
"""A metre of a gripper's stroke counts as so many rad (`MinimumJerkMotion`)."""
_REACHED: Final = 2e-3
"""So near it is where it should be [m]."""
_STILL: Final = 1e-3
"""Slower than that it rests [m/s]."""
_STALL_TIME: Final = 1.0
"""At rest elsewhere for so long, it gets no farther [s]."""
_ENABLED_WITHIN: Final = 0.3
"""One that has just been enabled says so by then [s]."""


@dataclass(frozen=True)
class GripperGoal:
    """What is wanted of one gripper.

    Attributes:
        joint: its index.
        position: opening [m].
        speed: at most [m/s].
        effort: it may exert at most [N m]; infinite: any.
    """

    joint: int
    position: float
    speed: float = GRIPPER_SPEED
    effort: float = np.inf

    def __post_init__(self) -> None:
        """GoalError naming what is wrong in itself."""
        for what in ("position", "speed", "effort"):
            value = getattr(self, what)
            if np.isnan(value) or (what != "position" and value <= 0.0):
                raise GoalError(GoalCode.INVALID_GOAL, f"{JOINT_NAMES[self.joint]}: {what} {value:g}")


class GripperMotion(CalmMotion):
    """All other joints brake, and stay. What does not let the arms follow ends it.

    Args:
        goal: what is wanted.
        position: of the target, shape [14], rad and m.
        velocity: of the target, shape [14].
        reachable: where the gripper may be.

    Raises:
        GoalError: outside its limits.
    """

    can_pause = False

    def __init__(self, goal: GripperGoal, position: FloatArray, velocity: FloatArray, reachable: Reachable) -> None:
        joint = self._joint = goal.joint
        lower, upper, margin = (float(each[joint]) for each in (reachable.lower, reachable.upper, reachable.margin))
        if not lower - margin <= goal.position <= upper + margin:
            text = f"{JOINT_NAMES[joint]}: {goal.position:.4f} is outside its limits, {lower:.4f} .. {upper:.4f}"
            raise GoalError(GoalCode.INVALID_GOAL, text)
        start = reachable.braked(position, velocity)
        start[joint] = position[joint]
        pose = start.copy()
        pose[joint] = min(max(goal.position, lower), upper)
        super().__init__(NAME, start, pose, _PER_METRE * goal.speed)
        self.velocity = np.full(JOINT_DIM, np.inf)
        self.velocity[joint] = goal.speed
        self._moved = self._on = 0.0

    def judge(self, target: FloatArray | None, rests: bool, reading: JointReading | None, blocked: str) -> bool | None:
        """See `Motion`."""
        is_there = super().judge(target, rests, reading, blocked)
        if blocked:
            return self._fail(GoalCode.PATH_TOLERANCE_VIOLATED, f"the arms hold: {blocked}")
        if reading is None:
            return None
        if not reading.grippers_off[GRIPPERS.index(self._joint)]:
            self._on = self._elapsed
        elif self._elapsed - self._on > _ENABLED_WITHIN:
            text = f"{JOINT_NAMES[self._joint]} is off: it has tripped, or has no power (/diagnostics)"
            return self._fail(GoalCode.PATH_TOLERANCE_VIOLATED, text)
        at = reading.position[self._joint]
        away = abs(at - self._goal[self._joint])
        if is_there and away <= _REACHED:
            return True
        if not is_there or abs(reading.velocity[self._joint]) > _STILL:
            self._moved = self._elapsed
        if self._elapsed - self._moved < _STALL_TIME:
            return None
        text = f"{JOINT_NAMES[self._joint]} rests at {at:.4f} m, {away:.4f} m from where it should be"
        return self._fail(GoalCode.GOAL_TOLERANCE_VIOLATED, text)
