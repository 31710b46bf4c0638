"""What a stream of samples says: one sample that disagrees with the others is never believed alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import reduce
from math import inf
from operator import or_, sub
from typing import Final

_PAUSE: Final = 0.05  # s; what was known before a longer pause says nothing about where things are now

_JOINT_SLACK: Final = 3_000  # 0.001 deg
_JOINT_SPEED: Final = 600_000  # 0.001 deg/s, 10 rad/s: three times what the arm is told to do at most
_REST_SLACK: Final = 2_500  # 0.001 deg; of a joint at rest
_REST_ACCELERATION: Final = 5_700_000  # 0.001 deg/s^2, 100 rad/s^2: whatever pushes it
_REST_STEP: Final = 100  # 0.001 deg; from one sample to the next
_BACK: Final = 500  # 0.001 deg; nearer to where it was before a doubted sample, that one was damaged
_NUM_STILL: Final = 3  # samples; one that is at rest has been so for a while
_JUMP_TIME: Final = 0.1  # s; what was known before longer does not tell a jump
_LASTING: Final = 4  # samples; a flag that says the same in all of them counts, whatever the others do
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
        starts_slowly: at rest it cannot get far within a few samples; a joint that says so has lost its zero.

    Attributes:
        values: the last that were believed; () before the first.
        jumps: of each of them, how often it was found where it cannot have got to.
        was_doubted: the last believed sample did not follow from the believed one before it.
    """

    def __init__(
        self, slack: float, speed: float, is_silent_at_rest: bool = False, starts_slowly: bool = False
    ) -> None:
        self.values: tuple[int, ...] = ()
        self.jumps: tuple[int, ...] = ()
        self.was_doubted = True
        self._slack = slack
        self._speed = speed
        self._is_silent_at_rest = is_silent_at_rest
        self._starts_slowly = starts_slowly
        self._num_still = 0
        self._stamp = float("-inf")
        self._doubted: tuple[int, ...] = ()
        self._doubted_at = float("-inf")

    @classmethod
    def of_joints(cls, is_silent_at_rest: bool = False) -> Belief:
        """Of the two joints of one frame [0.001 deg]."""
        return cls(_JOINT_SLACK, _JOINT_SPEED, is_silent_at_rest, starts_slowly=not is_silent_at_rest)

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
        elapsed, apart = now - self._stamp, _apart(values, self.values)
        from_rest = self._num_still >= _NUM_STILL
        follows = self._agrees(apart, elapsed, from_rest)
        confirms = self._agrees(_apart(values, self._doubted), now - self._doubted_at)
        if not follows and not confirms:
            self._doubted, self._doubted_at = values, now
            return False
        if confirms and 0.0 <= elapsed <= _JUMP_TIME:  # one that follows only has not jumped
            self._count_jumps(values, _BACK if from_rest else self._reach(elapsed, from_rest))
        self.was_doubted = not follows
        is_still = self._starts_slowly and follows and apart <= _REST_STEP
        self._num_still = self._num_still + 1 if is_still else 0
        self.values, self._stamp, self._doubted = values, now, ()
        return True

    def _count_jumps(self, values: tuple[int, ...], reach: float) -> None:
        """A joint that lost its zero is on its way back by the next sample already."""
        before = self.jumps or (0,) * len(values)
        self.jumps = tuple(
            number + (abs(value - other) > reach)
            for number, value, other in zip(before, values, self.values, strict=True)
        )

    def is_surprised(self, now: float) -> bool:
        """Whether a sample that is not believed contradicts a fresh one, rather than being the first in a while."""
        return now - self._stamp <= _PAUSE

    def _agrees(self, apart: float, elapsed: float, from_rest: bool = False) -> bool:
        """Whether samples that are so far apart may follow each other after that time."""
        is_pause = elapsed > _PAUSE
        if elapsed < 0.0 or (is_pause and not self._is_silent_at_rest):
            return False
        return apart <= (self._slack if is_pause else self._reach(elapsed, from_rest))

    def _reach(self, elapsed: float, from_rest: bool) -> float:
        """How far it can have got in that time [counts]."""
        reach = self._slack + self._speed * elapsed
        if not from_rest:
            return reach
        return min(reach, _REST_SLACK + 0.5 * _REST_ACCELERATION * elapsed**2)


class Flags:
    """A byte of flags: believed when it is told twice in a row alike. One flag that changes with every sample does not
    hide the others: those count that are told alike four times in a row."""

    def __init__(self) -> None:
        self._told: deque[int] = deque(maxlen=_LASTING)
        self._believed: int | None = None

    def take(self, flags: int) -> int | None:
        """What is believed with this sample; None before the first that is."""
        told = self._told
        told.append(flags)
        if len(told) > 1 and told[-2] == flags:
            self._believed = flags
        elif self._believed is not None and len(told) == _LASTING:
            flickers = reduce(or_, (flags ^ before for before in told))
            self._believed = (self._believed & flickers) | (flags & ~flickers)
        return self._believed


def _apart(values: Sequence[int], others: Sequence[int]) -> float:
    """Largest difference [counts]; infinite where nothing is known."""
    return max(map(abs, map(sub, values, others))) if others else inf
