"""A trajectory while the arms follow it: where they should be, whether they are, and how it ends."""

from __future__ import annotations

from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.calm_motion import Motion
from wav_policy.control.joint_trajectory import GoalCode, Progress, Reachable, Tolerances, TrajectoryGoal, make_path
from wav_policy.piper.bimanual import JointReading
from wav_policy.robot.joints import JOINT_NAMES

NAME: Final = "follow_joint_trajectory"


class FollowedTrajectory(Motion):
    """What does not let the arms follow ends it.

    Args:
        goal: what is wanted; a path of it was made before, which was all within the limits.
        elapsed: since its start [s]; below 0 before it.
        position: of the target, shape [14], rad and m.
        velocity: of the target, shape [14].
        reachable: what the path has to keep.

    Raises:
        GoalError: see `make_path`.
    """

    can_pause = False

    def __init__(
        self, goal: TrajectoryGoal, elapsed: float, position: FloatArray, velocity: FloatArray, reachable: Reachable
    ) -> None:
        self._path = make_path(goal, elapsed, position, velocity, reachable, is_checked=True)
        super().__init__(NAME, np.clip(self._path.end, reachable.lower, reachable.upper))
        self._terms = goal
        self._elapsed = elapsed
        self._wanted = np.stack([position, velocity])

    def advance(self, elapsed: float) -> FloatArray:
        """See `Motion`."""
        self._elapsed += elapsed
        self._wanted = np.stack(self._path.at(self._elapsed))
        return self._wanted[0]

    def judge(self, target: FloatArray | None, rests: bool, reading: JointReading | None, blocked: str) -> bool | None:
        """See `Motion`."""
        if blocked:
            return self._fail(GoalCode.PATH_TOLERANCE_VIOLATED, f"the arms left the path and hold: {blocked}")
        if reading is None:
            return None
        measured = np.stack([reading.position, reading.velocity])
        self.progress = Progress(self._elapsed, self._wanted, measured)
        late = self._elapsed - self._path.knots[-1]
        if late < 0.0:
            told = self._find_away(self._terms.path_tolerance, measured)
            return self._fail(GoalCode.PATH_TOLERANCE_VIOLATED, f"path_tolerance: {told}") if told else None
        told = self._find_away(self._terms.goal_tolerance, measured)
        if not told and rests and self.is_goal(target):
            return True
        if late <= self._terms.goal_time:
            return None
        told = told or "the arms are still on their way"
        return self._fail(GoalCode.GOAL_TOLERANCE_VIOLATED, f"goal_tolerance {late:.2f} s after the end: {told}")

    def _find_away(self, allowed: Tolerances, measured: FloatArray) -> str:
        """The joint that is farthest beyond what is allowed; "" where all are within."""
        error = np.abs(measured - self._wanted)
        excess = error - np.stack([allowed.position, allowed.velocity])
        kind, joint = np.unravel_index(int(excess.argmax()), excess.shape)
        if not excess[kind, joint] > 0.0:
            return ""
        what, off = ("position", "velocity")[kind], error[kind, joint]
        bound = off - excess[kind, joint]
        return f"{JOINT_NAMES[joint]} is {off:.4f} off in {what} at {self._elapsed:.2f} s; {bound:g} is allowed"
