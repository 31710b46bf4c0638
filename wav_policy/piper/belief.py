"""What a stream of samples says: one sample that disagrees with the others is never believed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_PAUSE: Final = 0.05  # s; what was known before a longer pause says nothing about where things are now

_JOINT_SLACK: Final = 3_000  # 0.001 deg
_JOINT_SPEED: Final = 600_000  # 0.001 deg/s, 10 rad/s: three times what the arm is told to do at most
_STROKE_SLACK: Final = 5_000  # 0.001 mm
_STROKE_SPEED: Final = 1_000_000  # 0.001 mm/s


class Belief:
    """The last believed sample of a few integers that move together, such as the two joints of one frame.

    A sample is believed when it can have come from the last believed one, or, first of all, after a pause, and where
    it cannot, from the sample before it: two samples that agree outweigh everything older.

    Args:
        slack: by which samples may differ in no time [counts].
        speed: at which the quantity may change [counts/s].
        is_silent_at_rest: samples come only while it changes, so a pause says that it has not.

    Attributes:
        values: the last that were believed; () before the first.
        was_doubted: the last believed sample did not follow from the believed one before it.
    """

    def __init__(self, slack: float, speed: float, is_silent_at_rest: bool = False) -> None:
        self.values: tuple[int, ...] = ()
        self.was_doubted = True
        self._slack = slack
        self._speed = speed
        self._is_silent_at_rest = is_silent_at_rest
        self._stamp = float("-inf")
        self._doubted: tuple[int, ...] = ()
        self._doubted_at = float("-inf")

    @classmethod
    def of_joints(cls, is_silent_at_rest: bool = False) -> Belief:
        """Of the two joints of one frame [0.001 deg]."""
        return cls(_JOINT_SLACK, _JOINT_SPEED, is_silent_at_rest)

    @classmethod
    def of_stroke(cls, is_silent_at_rest: bool = False) -> Belief:
        """Of a gripper's stroke [0.001 mm]."""
        return cls(_STROKE_SLACK, _STROKE_SPEED, is_silent_at_rest)

    def take(self, values: tuple[int, ...], now: float) -> bool:
        """Whether the sample is believed.

        Args:
            values: as many as always [counts].
            now: monotonic [s].
        """
        follows = self._agree(values, self.values, now - self._stamp)
        if not follows and not self._agree(values, self._doubted, now - self._doubted_at):
            self._doubted, self._doubted_at = values, now
            return False
        self.was_doubted = not follows
        self.values, self._stamp, self._doubted = values, now, ()
        return True

    def is_surprised(self, now: float) -> bool:
        """Whether a sample that is not believed contradicts a fresh one, rather than being the first in a while."""
        return now - self._stamp <= _PAUSE

    def _agree(self, values: Sequence[int], others: Sequence[int], elapsed: float) -> bool:
        is_pause = elapsed > _PAUSE
        if not others or elapsed < 0.0 or (is_pause and not self._is_silent_at_rest):
            return False
        reach = self._slack + (0.0 if is_pause else self._speed * elapsed)
        return all(abs(value - other) <= reach for value, other in zip(values, others, strict=True))
