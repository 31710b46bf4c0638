"""What scripted operators have in common: phases one after the other, and pauses of those who hesitate.

Operators see the simulator's state and act through the robot's commands. As people do, they can hesitate, miss and try
again, or fail; those are the qualities that a data set is mixed of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

WAITS = 10
"""Steps at the end after which an operator has finished."""


class OperatorPhase(Protocol):
    """A part of the motion; ends where it was to go, not before and not after so many steps."""

    @property
    def at_least(self) -> int: ...

    @property
    def at_most(self) -> int: ...


P = TypeVar("P", bound=OperatorPhase)


class Phases(Generic[P]):
    """Where an operator is in its motion.

    Args:
        phases: in order; the last one goes on.
        num_missed: first phases that grasp beside the object and will be made good.
        hesitates: pauses between phases, every other time.
        rng: of pauses.
        hold: steps of the environment that a command is held for.
    """

    def __init__(
        self, phases: Sequence[P], num_missed: int, hesitates: bool, rng: np.random.Generator, hold: int
    ) -> None:
        self._phases, self._num_missed, self._hesitates = phases, num_missed, hesitates
        self._rng, self._hold = rng, hold
        self._index = self._steps = self._pause = 0

    @property
    def finished(self) -> bool:
        """Whether it only waits, and has for a moment."""
        return self._index + 1 == len(self._phases) and self._steps > WAITS

    @property
    def errs(self) -> bool:
        """Whether it grasps beside the object, and will notice."""
        return self._index < self._num_missed

    def take(self, arrived: Callable[[P], bool]) -> P:
        """The phase of a command that is due now; the next one begins where this one has arrived."""
        phase = self._phases[self._index]
        self._steps += self._hold
        if (arrived(phase) and self._steps >= phase.at_least) or self._steps >= phase.at_most:
            self._advance()
        return self._phases[self._index]

    def pauses(self) -> bool:
        """Whether this command is one of a pause."""
        if not self._pause:
            return False
        self._pause = max(0, self._pause - self._hold)
        return True

    def _advance(self) -> None:
        if self._index + 1 < len(self._phases):
            self._index, self._steps = self._index + 1, 0
            if self._hesitates and self._rng.random() < 0.5:
                self._pause = int(self._rng.integers(8, 25))
