"""Commanded is not done: whether the joints follow their targets, and whether an arm is where it was left or has moved
to."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wav_models.types import FloatArray
from wav_policy.robot.joints import ARM_DOF, JOINT_DIM, JOINT_NAMES, REVOLUTE

MAX_ERROR: Final = 0.1
"""Farthest a joint may stay from its target, moving or not [rad]."""

MAX_TIME: Final = 0.3
"""A joint that is farther away for longer does not follow [s]."""

_PROGRESS: Final = 0.02
"""A joint that has moved towards its target by so much is on its way, however slowly: its time begins anew [rad]."""

MOVED: Final = 0.05
"""An arm found farther from where it was left is another one, has dropped, or lost its zero [rad]."""


class TrackingReport(NamedTuple):
    """The joint that is behind for longest; of those that are not, the one with the largest error.

    Attributes:
        joint: its name; "" while nothing is commanded.
        error: its distance from its target [rad].
        duration: since when it is farther away than allowed [s]; 0.0 if it is not.
    """

    joint: str = ""
    error: float = 0.0
    duration: float = 0.0

    @property
    def is_lost(self) -> bool:
        """The joint does not follow."""
        return self.duration > MAX_TIME

    @property
    def text(self) -> str:
        """That it does not follow, and what to do."""
        return (
            f"{self.joint} does not follow: {self.error:.3f} rad from its target for {self.duration:.1f} s. The arms "
            "hold where they are: see its state and faults in /diagnostics, free the joint or take away what it leans "
            "on, then call piper/enable, and piper/home where it would lean on that again"
        )


class Tracking:
    """Supervises the joints; grippers stay away from their targets when they hold something.

    Attributes:
        report: of the last look.
        lost: shape [14], joints that did not follow then.
    """

    def __init__(self) -> None:
        self.report = TrackingReport()
        self.lost: NDArray[np.bool_] = np.zeros(JOINT_DIM, dtype=bool)
        self._since: FloatArray = np.full(len(REVOLUTE), np.inf)
        self._from: FloatArray = np.zeros(len(REVOLUTE))

    def forget(self) -> None:
        """The targets begin anew where the arms are."""
        self.report = TrackingReport()
        self.lost[:] = False
        self._since[:] = np.inf

    def look(self, stamps: tuple[float, float], target: FloatArray, measured: FloatArray) -> TrackingReport:
        """Compare once per tick. Time passes with an arm's measurements: while none comes nothing is proved.

        Args:
            stamps: monotonic times of the left and the right arm's measurement [s].
            target: sent to the arms, shape [14].
            measured: shape [14].
        """
        stamp = np.repeat(stamps, ARM_DOF)[REVOLUTE]
        measured, way = measured[REVOLUTE], (target - measured)[REVOLUTE]
        error = np.abs(way)
        behind = error > MAX_ERROR
        moves = np.sign(way) * (measured - self._from) > _PROGRESS
        begins = behind & (np.isinf(self._since) | moves)
        self._since = np.where(behind, np.where(begins, stamp, self._since), np.inf)
        self._from = np.where(begins, measured, self._from)
        durations = np.where(behind, stamp - self._since, 0.0)
        self.lost[REVOLUTE] = durations > MAX_TIME
        worst = int(durations.argmax()) if behind.any() else int(error.argmax())
        self.report = TrackingReport(JOINT_NAMES[REVOLUTE[worst]], float(error[worst]), float(durations[worst]))
        return self.report


class Whereabouts:
    """Where the joints can be after an interruption: between where they were measured before it and the targets they
    were sent since. A joint that leans on something was away from its target before, and has not moved.

    An arm whose bus refuses its targets is left alone too: until it has got one, it is not looked for elsewhere.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """The arms are believed where they are measured next."""
        self._low: FloatArray = np.full(JOINT_DIM, np.inf)
        self._high: FloatArray = np.full(JOINT_DIM, -np.inf)
        self._is_alone = np.zeros(JOINT_DIM, dtype=bool)

    def heard(self, measured: FloatArray, target: FloatArray) -> None:
        """Both arms were measured, shape [14], on their way to a target, shape [14], and nothing is in the way."""
        self._low = np.where(self._is_alone, self._low, np.minimum(measured, target))
        self._high = np.where(self._is_alone, self._high, np.maximum(measured, target))

    def sent(self, target: FloatArray, is_muted: tuple[bool, bool], took: tuple[bool, bool]) -> None:
        """A target, shape [14], went to the arms that are not muted. The first one that a bus refuses may have reached
        its arm in part.

        Args:
            took: per arm, whether its bus took what it was sent.
        """
        got = np.repeat(took, ARM_DOF) & ~np.repeat(is_muted, ARM_DOF)
        reached = ~np.repeat(is_muted, ARM_DOF) & (got | ~self._is_alone)
        self._low = np.where(reached, np.minimum(self._low, target), self._low)
        self._high = np.where(reached, np.maximum(self._high, target), self._high)
        self._is_alone = ~got

    def jumped(self, joints: NDArray[np.bool_], measured: FloatArray) -> None:
        """These joints, shape [14], are taken for where they are measured, shape [14]."""
        taken = joints & ~self._is_alone
        self._low = np.where(taken, measured, self._low)
        self._high = np.where(taken, measured, self._high)

    def find_moved(self, measured: FloatArray) -> str:
        """The joint that is farthest from where it was left, in words with remedy; "" if none is too far.

        Args:
            measured: shape [14].
        """
        nearest = np.clip(measured, self._low, self._high)
        away = np.abs(measured - nearest)
        worst = REVOLUTE[int(away[REVOLUTE].argmax())]
        if away[worst] <= MOVED:
            return ""
        return (
            f"{JOINT_NAMES[worst]} is at {measured[worst]:.3f} rad, but was left at {nearest[worst]:.3f} rad: "
            f"{away[worst]:.3f} rad away. It is another arm, has dropped or lost its zero: check the adapters (left, "
            "right) and the way around it, then call piper/enable"
        )


def jump_text(joint: int, measured: FloatArray) -> str:
    """That a joint was measured to jump, and what to do.

    Args:
        joint: its index.
        measured: where it is now, shape [14].
    """
    return (
        f"{JOINT_NAMES[joint]} jumped to {measured[joint]:.3f} rad, farther than it can have moved: it lost its zero, "
        "or was given another (0x475). The arms hold where they are: compare what it says with where it is, then call "
        "piper/enable; where they differ, support the arm first and reset it alone (piper/left/reset, "
        "piper/right/reset)"
    )
