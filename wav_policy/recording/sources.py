"""What comes in while recording, by source and capture time, and the moments sampled from it.

Cameras, joints and commands come asynchronously, each at its own rate. A dataset has frames at an even rate: the frame
of a tick takes from every source the newest capture that is not newer than the tick, so no frame knows the future, and
the command that is to be reached one period later, as the model's action rows are due.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wav_models.data.layout import SOURCES
from wav_models.types import JOINT_NAMES, VIEWS, FloatArray, ImageArray

KEPT = 3.0
"""How long captures wait to be sampled [s]; a recorder that falls behind by more cannot keep up."""

_MAX_FUTURE = 0.1
"""A capture stamped farther ahead comes from a clock that disagrees with ours [s]."""


@dataclass(frozen=True)
class SamplingLimits:
    """How old a capture may be at a tick.

    Attributes:
        max_image_age: of the newest frame of every camera, which bounds the skew between them too [s].
        max_joint_age: of joints and commands [s].
        max_gap: a source that pauses longer ends the episode; a shorter pause is bridged by its last capture [s].
    """

    max_image_age: float = 0.12
    max_joint_age: float = 0.1
    max_gap: float = 0.5

    def __post_init__(self) -> None:
        """ValueError naming the field that is not usable."""
        for name, value in vars(self).items():
            if not 0.0 < value < KEPT:
                raise ValueError(f"{name} must be above 0 and below {KEPT:g} s, got {value}")
        if self.max_gap < max(self.max_image_age, self.max_joint_age):
            raise ValueError(f"max_gap ({self.max_gap}) must not be below max_image_age and max_joint_age")

    def of(self, source: str) -> float:
        """Largest age of a capture of this source [s]."""
        return self.max_image_age if source in VIEWS else self.max_joint_age


Capture = tuple[float, NDArray[Any]]
"""When it was captured [s], and what: an image uint8 RGB [H, W, 3], or joints [14]."""


@dataclass(frozen=True)
class Moment:
    """One frame to be.

    Attributes:
        time: of the tick [s].
        wanted: per source the time its capture is wanted at [s]: the tick; of the action, one period later.
        captures: per source the newest that has come in and is not newer than wanted.
        stale: sources whose capture is older than its limit.
    """

    time: float
    wanted: dict[str, float]
    captures: dict[str, Capture]
    stale: tuple[str, ...]

    @property
    def images(self) -> dict[str, ImageArray]:
        """Per view, as captured."""
        return {view: self.captures[view][1] for view in VIEWS}

    @property
    def source_times(self) -> FloatArray:
        """Capture time of each of `SOURCES` [s]."""
        return np.array([self.captures[source][0] for source in SOURCES])


class SourceLostError(Exception):
    """A source has nothing for a tick, or has paused for too long."""


class _Track:
    """Recent captures of one source, in order of time."""

    def __init__(self) -> None:
        self.captures: deque[Capture] = deque()
        self.fault = ""

    def add(self, stamp: float, value: NDArray[Any]) -> None:
        if self.newest - stamp > KEPT:  # the clock was set back: what it said before would shadow what comes now
            self.captures.clear()
        if stamp <= self.newest:
            return
        self.fault = ""
        self.captures.append((stamp, value))
        while self.captures[0][0] < stamp - KEPT:
            self.captures.popleft()

    def at(self, time: float) -> Capture | None:
        for stamp, value in reversed(self.captures):
            if stamp <= time:
                return stamp, value
        return None

    @property
    def newest(self) -> float:
        return self.captures[-1][0] if self.captures else -np.inf


class Sources:
    """Collects captures from any thread.

    Args:
        topics: ROS name of each of `SOURCES`, for messages.
        limits: how old a capture may be.
        clock: of the capture times [s].
    """

    def __init__(
        self,
        topics: dict[str, str],
        limits: SamplingLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.topics = topics
        self.limits = limits or SamplingLimits()
        self._clock = clock
        self._lock = threading.Lock()
        self._tracks = {source: _Track() for source in SOURCES}

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        """Keep one camera frame, uint8 RGB [H, W, 3]."""
        self._add(view, rgb, stamp)

    def reject_image(self, view: str, reason: str) -> None:
        """Note why a camera's message was no image."""
        self.reject(view, reason)

    def add_joints(self, source: str, positions: FloatArray, stamp: float) -> None:
        """Keep one joint vector [14] of "joint_states" or "action"."""
        bad = np.flatnonzero(~np.isfinite(positions))
        if len(bad):
            self.reject(source, f"{JOINT_NAMES[bad[0]]} is {positions[bad[0]]}")
        else:
            self._add(source, positions, stamp)

    def _add(self, source: str, value: NDArray[Any], stamp: float) -> None:
        if not np.isfinite(stamp):
            self.reject(source, f"stamp is {stamp}")
            return
        if (ahead := stamp - self._clock()) > _MAX_FUTURE:
            self.reject(source, f"stamped {ahead:.2f} s in the future: synchronise the clocks")
            return
        with self._lock:
            self._tracks[source].add(stamp, value)

    def reject(self, source: str, reason: str) -> None:
        """Note why a message of a source could not be used."""
        with self._lock:
            self._tracks[source].fault = reason

    def unready(self, now: float) -> str | None:
        """The first source that could not be recorded now, and why; None when all could."""
        with self._lock:
            for source, track in self._tracks.items():
                age = now - track.newest
                suffix = f" (last message: {track.fault})" if track.fault else ""
                if age == np.inf:
                    return f"{self.topics[source]}: nothing received{suffix}"
                if age > self.limits.max_gap:
                    return f"{self.topics[source]}: newest message is {age:.2f} s old{suffix}"
                if age < -_MAX_FUTURE:
                    return f"{self.topics[source]}: stamped {-age:.2f} s in the future: synchronise the clocks"
        return None

    def moment(self, tick: float, period: float, now: float) -> Moment:
        """The frame of a tick.

        Args:
            tick: its time [s].
            period: of the dataset; the action is the command at `tick + period` [s].
            now: tells a recorder that fell behind from a source that stopped [s].

        Raises:
            SourceLostError: names the source and says what happened to it.
        """
        wanted = dict.fromkeys(SOURCES, tick) | {"action": tick + period}
        with self._lock:
            captures = {source: self._find(source, wanted[source], now) for source in SOURCES}
        return self._moment(tick, wanted, captures)

    def again(self, moment: Moment) -> Moment:
        """The same moment with what has come in since."""
        with self._lock:
            captures = {
                source: self._tracks[source].at(moment.wanted[source]) or found
                for source, found in moment.captures.items()
            }
        return self._moment(moment.time, moment.wanted, captures)

    def _moment(self, tick: float, wanted: dict[str, float], captures: dict[str, Capture]) -> Moment:
        stale = (source for source in SOURCES if wanted[source] - captures[source][0] > self.limits.of(source))
        return Moment(tick, wanted, captures, tuple(stale))

    def _find(self, source: str, time: float, now: float) -> Capture:
        track = self._tracks[source]
        found = track.at(time)
        if found is not None and time - found[0] <= self.limits.max_gap:
            return found
        if now - time > KEPT - self.limits.max_gap:
            raise SourceLostError(f"the recorder is {now - time:.1f} s behind: this machine cannot encode that fast")
        suffix = f" (last message: {track.fault})" if track.fault else ""
        raise SourceLostError(f"{self.topics[source]} stopped for more than {self.limits.max_gap:g} s{suffix}")
