"""One reading is not believed alone: it counts when the one before it agrees. What two say is believed; where no motion
leads there, the joint has jumped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from wav_models.types import FloatArray
from wav_policy.piper.bimanual import JointReading
from wav_policy.robot.joints import ARM_DOF, JOINT_DIM, both_arms

_SLACK: Final = both_arms((0.05,) * 6 + (0.02,))
"""[rad], [m]"""

_FASTEST: Final = both_arms((10.0,) * 6 + (1.5,))
"""No joint moves faster, not even one that falls [rad/s], [m/s]."""

_ARMS: Final = (slice(0, ARM_DOF), slice(ARM_DOF, None))


class TrustedReadings:
    """Per arm the newest reading that agrees with the one before it: after a pause or `forget` it takes two.

    Args:
        max_gap: readings farther apart than this say nothing about each other [s].

    Attributes:
        jumped: shape [14], joints that the last `take` found where they cannot have got to since the one before.
    """

    def __init__(self, max_gap: float) -> None:
        self._max_gap = max_gap
        self._newest: list[JointReading | None] = [None, None]
        self._trusted: list[JointReading | None] = [None, None]
        self.jumped: NDArray[np.bool_] = np.zeros(JOINT_DIM, dtype=bool)

    def forget(self) -> None:
        """Begin anew."""
        self._newest, self._trusted = [None, None], [None, None]

    def take(self, reading: JointReading | None) -> JointReading | None:
        """What is to be believed now, of each arm as old as its stamp says; None while there is nothing.

        Args:
            reading: the newest, perhaps seen before; None right after a reconnection.
        """
        self.jumped = np.zeros(JOINT_DIM, dtype=bool)
        if reading is None:
            self.forget()
            return None
        for side in (0, 1):
            before = self._newest[side]
            if before is not None and before.stamps[side] == reading.stamps[side]:
                continue
            self._newest[side] = reading
            if before is None or self._is_apart(side, before, reading) or self._changed(side, before, reading).any():
                continue
            trusted, self._trusted[side] = self._trusted[side], reading
            if trusted is not None and not self._is_apart(side, trusted, reading):
                arm = _ARMS[side]
                late = self._max_gap * np.abs(trusted.velocity[arm])
                self.jumped[arm] = self._changed(side, trusted, reading, late) | (reading.jumps > trusted.jumps)[arm]
        left, right = self._trusted
        if left is None or right is None:
            return None
        return left if left is right else _joined(left, right)

    def _is_apart(self, side: int, before: JointReading, after: JointReading) -> bool:
        return not 0.0 < after.stamps[side] - before.stamps[side] <= self._max_gap

    def _changed(
        self, side: int, before: JointReading, after: JointReading, late: FloatArray | float = 0.0
    ) -> NDArray[np.bool_]:
        """Joints of an arm, shape [7], that moved farther than they can; `late`: what they may have moved before, for
        stamps say when a reading was decoded, shape [7]."""
        elapsed, arm = after.stamps[side] - before.stamps[side], _ARMS[side]
        change: FloatArray = np.abs(after.position[arm] - before.position[arm])
        return change > (_SLACK + _FASTEST * elapsed)[arm] + late


def _joined(left: JointReading, right: JointReading) -> JointReading:
    """The left arm of one reading and the right one of another."""

    def of_both(name: str) -> Any:
        return np.concatenate([getattr(left, name)[_ARMS[0]], getattr(right, name)[_ARMS[1]]])

    return replace(
        left,
        position=of_both("position"),
        velocity=of_both("velocity"),
        stamps=(left.stamps[0], right.stamps[1]),
        jumps=of_both("jumps"),
        grippers_off=(left.grippers_off[0], right.grippers_off[1]),
    )
