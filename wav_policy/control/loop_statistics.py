"""How punctual the control loop is."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

_WINDOW = 2000  # ticks: 20 s at 100 Hz


@dataclass(frozen=True)
class LoopReport:
    """Over the last ticks.

    Attributes:
        rate: ticks per second [Hz].
        lateness_p50: start of a tick after it was due, median [s].
        lateness_p99: 99th percentile [s].
        lateness_p999: 99.9th percentile [s].
        chunk_age_p99: age of the observation behind the executed target, 99th percentile [s]; nan without chunks.
    """

    rate: float
    lateness_p50: float
    lateness_p99: float
    lateness_p999: float
    chunk_age_p99: float


class LoopStatistics:
    """Written by the loop's thread, read by others.

    Args:
        window: ticks looked back at.
    """

    def __init__(self, window: int = _WINDOW) -> None:
        self._ticks: deque[tuple[float, float]] = deque(maxlen=window)
        self._chunk_ages: deque[float] = deque(maxlen=window)

    def tick(self, now: float, lateness: float) -> None:
        """A tick began at `now` [s, monotonic], `lateness` [s] after it was due."""
        self._ticks.append((now, lateness))

    def chunk_age(self, age: float) -> None:
        """A tick executed a chunk whose observation is `age` [s] old."""
        self._chunk_ages.append(age)

    def report(self) -> LoopReport:
        """The numbers so far; nan where there are none."""
        ticks, ages = list(self._ticks), list(self._chunk_ages)
        age = float(np.percentile(ages, 99)) if ages else math.nan
        if len(ticks) < 2:
            return LoopReport(math.nan, math.nan, math.nan, math.nan, age)
        rate = (len(ticks) - 1) / (ticks[-1][0] - ticks[0][0])
        p50, p99, p999 = np.percentile([lateness for _, lateness in ticks], [50, 99, 99.9])
        return LoopReport(rate, float(p50), float(p99), float(p999), age)
