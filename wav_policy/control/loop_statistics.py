"""How punctual the control loop is."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

_WINDOW = 2000  # ticks: 20 s at 100 Hz
_HOPS = ("camera_to_loop", "tick_to_can", "camera_to_can")


@dataclass(frozen=True)
class LoopReport:
    """Over the last ticks.

    Attributes:
        rate: ticks per second [Hz].
        lateness_p50: start of a tick after it was due, median [s].
        lateness_p99: 99th percentile [s].
        lateness_p999: 99.9th percentile [s].
        chunk_age_p99: age of the observation behind the executed target, 99th percentile [s]; nan without chunks.
        hops: "<hop>_ms_p50" and "<hop>_ms_p99" on the way of a chunk, for hops that there were [ms]: `camera_to_loop`,
            until the loop takes it; `tick_to_can`, from the start of a tick until its targets are written to the buses;
            `camera_to_can`, until the first targets of a chunk are.
    """

    rate: float
    lateness_p50: float
    lateness_p99: float
    lateness_p999: float
    chunk_age_p99: float
    hops: Mapping[str, float] = field(default_factory=dict)


class LoopStatistics:
    """Written by the loop's thread, read by others.

    Args:
        window: ticks looked back at.
    """

    def __init__(self, window: int = _WINDOW) -> None:
        self._ticks: deque[tuple[float, float]] = deque(maxlen=window)
        self._chunk_ages: deque[float] = deque(maxlen=window)
        self._hops: dict[str, deque[float]] = {name: deque(maxlen=window) for name in _HOPS}
        self._unsent: float | None = None

    def tick(self, now: float, lateness: float) -> None:
        """A tick began at `now` [s, monotonic], `lateness` [s] after it was due."""
        self._ticks.append((now, lateness))

    def chunk_age(self, age: float) -> None:
        """A tick executed a chunk whose observation is `age` [s] old."""
        self._chunk_ages.append(age)

    def took_over(self, stamp: float, now: float) -> None:
        """A chunk is in force from `now` on; its observation is of `stamp` [s, monotonic]."""
        self._hops["camera_to_loop"].append(now - stamp)
        self._unsent = stamp

    def wrote(self, began: float, now: float) -> None:
        """The targets of the tick that began at `began` are written to the buses at `now` [s, monotonic]."""
        self._hops["tick_to_can"].append(now - began)
        if self._unsent is not None:
            self._hops["camera_to_can"].append(now - self._unsent)
            self._unsent = None

    def _hop_percentiles(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, values in self._hops.items():
            if kept := list(values):
                p50, p99 = np.percentile(kept, [50, 99])
                found[f"{name}_ms_p50"], found[f"{name}_ms_p99"] = 1e3 * float(p50), 1e3 * float(p99)
        return found

    def report(self) -> LoopReport:
        """The numbers so far; nan where there are none."""
        ticks, ages = list(self._ticks), list(self._chunk_ages)
        age = float(np.percentile(ages, 99)) if ages else math.nan
        if len(ticks) < 2:
            return LoopReport(math.nan, math.nan, math.nan, math.nan, age, self._hop_percentiles())
        rate = (len(ticks) - 1) / (ticks[-1][0] - ticks[0][0])
        p50, p99, p999 = np.percentile([lateness for _, lateness in ticks], [50, 99, 99.9])
        return LoopReport(rate, float(p50), float(p99), float(p999), age, self._hop_percentiles())
