"""One reading is not believed alone: it counts when the one before it agrees."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper.bimanual import JointReading
from wav_policy.robot.joints import ARM_DOF, both_arms

_SLACK: Final = both_arms((0.05,) * 6 + (0.02,))
"""[rad], [m]"""

_FASTEST: Final = both_arms((10.0,) * 6 + (1.5,))
"""No joint moves faster, not even one that falls [rad/s], [m/s]."""

_ARMS: Final = (slice(0, ARM_DOF), slice(ARM_DOF, None))


class TrustedReadings:
    """Per arm the newest reading that agrees with the one before it: after a pause or `forget` it takes two.

    Args:
        max_gap: readings farther apart than this say nothing about each other [s].
    """

    def __init__(self, max_gap: float) -> None:
        self._max_gap = max_gap
        self._newest: list[JointReading | None] = [None, None]
        self._trusted: list[JointReading | None] = [None, None]

    def forget(self) -> None:
        """Begin anew."""
        self._newest, self._trusted = [None, None], [None, None]

    def take(self, reading: JointReading | None) -> JointReading | None:
        """What is to be believed now, of each arm as old as its stamp says; None while there is nothing.

        Args:
            reading: the newest, perhaps seen before; None right after a reconnection.
        """
        if reading is None:
            self.forget()
            return None
        for side in (0, 1):
            before = self._newest[side]
            if before is not None and before.stamps[side] == reading.stamps[side]:
                continue
            self._newest[side] = reading
            if before is not None and self._agree(side, before, reading):
                self._trusted[side] = reading
        left, right = self._trusted
        if left is None or right is None:
            return None
        return left if left is right else _joined(left, right)

    def _agree(self, side: int, before: JointReading, after: JointReading) -> bool:
        elapsed, arm = after.stamps[side] - before.stamps[side], _ARMS[side]
        change = np.abs(after.position[arm] - before.position[arm])
        return 0.0 < elapsed <= self._max_gap and bool((change <= (_SLACK + _FASTEST * elapsed)[arm]).all())


def _joined(left: JointReading, right: JointReading) -> JointReading:
    """The left arm of one reading and the right one of another."""

    def of_both(name: str) -> FloatArray:
        return np.concatenate([getattr(left, name)[_ARMS[0]], getattr(right, name)[_ARMS[1]]])

    stamps = left.stamps[0], right.stamps[1]
    return replace(left, position=of_both("position"), velocity=of_both("velocity"), stamps=stamps)
