"""How often work may be done that control does not need."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RateLimiter:
    """Turns at most `rate` times a second that take at most a share of the time, however slow they are.

    Args:
        rate: [Hz].
        share: of one thread's time, 0..1.
        clock: [s].

    Attributes:
        period: from the beginning of one turn to that of the next [s].
    """

    def __init__(self, rate: float, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.period = 1.0 / rate
        self._shortest = self.period
        self._share = share
        self._clock = clock
        self._next = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether a turn may begin."""
        return self._clock() >= self._next

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The work; one that failed counts too."""
        began = self._clock()
        try:
            yield
        finally:
            self.period = max(self._shortest, (self._clock() - began) / self._share)
            self._next = began + self.period
