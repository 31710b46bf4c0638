"""What a stream of samples says: one sample that disagrees with the others is never believed alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_PAUSE: Final = 0.05  # s; what was known before a longer pause says nothing about where things are now


class Belief:
    """The last believed sample of a few integers that move together, such as the two joints of one frame.

    A sample is believed when it can have come from the last believed one, or, first of all, after a pause, and where
    it cannot, from the sample before it: two samples that agree outweigh everything older.

    Args:
        slack: by which samples may differ in no time [counts].
        speed: at which the quantity may change [counts/s].

    Attributes:
        values: the last that were believed; () before the first.
        was_doubted: the last believed sample did not follow from the believed one before it.
    """

    def __init__(self, slack: float, speed: float) -> None:
        self.values: tuple[int, ...] = ()
        self.was_doubted = True
        self._slack = slack
        self._speed = speed
        self._stamp = float("-inf")
        self._doubted: tuple[int, ...] = ()
        self._doubted_at = float("-inf")

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
        if not others or not 0.0 <= elapsed <= _PAUSE:
            return False
        reach = self._slack + self._speed * elapsed
        return all(abs(value - other) <= reach for value, other in zip(values, others, strict=True))
