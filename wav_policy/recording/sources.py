"""What comes in while recording, by source and capture time, and the synced samples taken from it.

Cameras, joints and commands come asynchronously, each at its own rate. A dataset has frames at an even rate: the frame
of a tick takes from every source the newest capture that is not newer than the tick (`wav_models.alignment`), so no
frame knows the future, and the command that is to be reached one period later, as the model's action rows are due.
A camera that sends the very same picture again has captured nothing new: the picture counts from when it came first,
so that a frozen camera is a source that stopped.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from wav_models.data.layout import EFFORT_KEY
from wav_models.types import FloatArray, ImageArray
from wav_policy.policy.stream_buffer import Capture, StampLimits, StreamBuffer, is_same_picture
from wav_policy.robot.cameras import SOURCES, VIEWS
from wav_policy.robot.joints import JOINT_NAMES, first_not_finite

KEPT = 3.0
"""How long captures wait to be sampled [s]; a recorder that falls behind by more cannot keep up."""

_STAMPS = StampLimits(max_age=KEPT, max_ahead=0.1)


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


class JointMessage(NamedTuple):
    """One message of joints.

    Attributes:
        positions: shape [14], rad and m.
        efforts: shape [14], N m; None where they are not told.
    """

    positions: FloatArray
    efforts: FloatArray | None


@dataclass(frozen=True)
class SyncedSample:
    """One frame to be.

    Attributes:
        time: of the tick [s].
        wanted: per source the time its capture is wanted at [s]: the tick; of the action, one period later.
        captures: per source the newest that has come in and is not newer than wanted: an image uint8 RGB [H, W, 3],
            or `JointMessage`.
        stale: sources whose capture is older than its limit.
    """

    time: float
    wanted: dict[str, float]
    captures: dict[str, Capture[Any]]
    stale: tuple[str, ...]

    @property
    def images(self) -> dict[str, ImageArray]:
        """Per view, as captured."""
        return {view: self.captures[view].value for view in VIEWS}

    @property
    def joints(self) -> JointMessage:
        """As measured."""
        measured: JointMessage = self.captures["joint_states"].value
        return measured

    @property
    def action(self) -> FloatArray:
        """As commanded, shape [14], rad and m."""
        commanded: JointMessage = self.captures["action"].value
        return commanded.positions

    @property
    def source_times(self) -> FloatArray:
        """Capture time of each of `SOURCES` [s]; of a picture that was sent again, the first."""
        return np.array([self.captures[source].first_seen for source in SOURCES])


class SourceLostError(Exception):
    """A source has nothing for a tick, or has paused for too long."""


class Sources:
    """Collects captures from any thread.

    Args:
        topics: ROS name of each of `SOURCES`, for messages.
        limits: how old a capture may be.
        clock: the present on the clock of the capture times [s]; None: no clock is known.

    Attributes:
        needs_efforts: joints measured without efforts count as missing.
    """

    def __init__(
        self,
        topics: dict[str, str],
        limits: SamplingLimits | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.topics = topics
        self.limits = limits or SamplingLimits()
        self.needs_efforts = False
        self._efforts_since = math.inf
        self._clock = clock
        self._lock = threading.Lock()
        self._streams: dict[str, StreamBuffer[Any]] = {
            source: StreamBuffer(topics[source], KEPT, _STAMPS, is_same=is_same_picture if source in VIEWS else None)
            for source in SOURCES
        }

    def add_image(self, view: str, rgb: ImageArray, stamp: float) -> None:
        """Keep one camera frame, uint8 RGB [H, W, 3]."""
        self._add(view, rgb, stamp)

    def reject_image(self, view: str, reason: str) -> None:
        """Note why a camera's message was no image."""
        self.reject(view, reason)

    def add_joints(self, source: str, positions: FloatArray, stamp: float, efforts: FloatArray | None = None) -> None:
        """Keep one message of "joint_states" or "action".

        Args:
            source: which.
            positions: shape [14], rad and m.
            stamp: capture time [s].
            efforts: shape [14], N m; taken as not told where any of them is not finite.
        """
        if (bad := first_not_finite(positions)) is not None:
            self.reject(source, f"{JOINT_NAMES[bad]} is {positions[bad]}")
            return
        untold = _without_effort(efforts)
        if self.needs_efforts and untold and source == "joint_states":
            self.reject(source, f"no effort of {untold}, but the dataset has {EFFORT_KEY}")
            return
        is_kept = self._add(source, JointMessage(positions, None if untold else efforts), stamp)
        if is_kept and source == "joint_states":
            self._efforts_since = math.inf if untold else min(stamp, self._efforts_since)

    def tells_efforts(self, now: float) -> bool:
        """Whether joints are measured with efforts, now and in all that has come since."""
        return self._efforts_since <= now

    def _add(self, source: str, value: ImageArray | JointMessage, stamp: float) -> bool:
        """Keep a message unless its stamp is not believed; whether it was kept."""
        with self._lock:
            is_kept = self._streams[source].admits(stamp, None if self._clock is None else self._clock())
            if is_kept:
                self._streams[source].append(stamp, value)
        return is_kept

    def reject(self, source: str, reason: str) -> None:
        """Note why a message of a source could not be used."""
        with self._lock:
            self._streams[source].reject(reason)

    def note(self, source: str, reason: str) -> None:
        """Note why a message was not taken that says nothing about those before it."""
        with self._lock:
            self._streams[source].note(reason)

    def dropped(self) -> dict[str, int]:
        """Messages of every topic whose stamp was not believed."""
        with self._lock:
            return {stream.topic: stream.num_dropped for stream in self._streams.values()}

    def unready(self, now: float) -> str | None:
        """The first source that could not be recorded now, and why; None when all could."""
        with self._lock:
            for stream in self._streams.values():
                if text := stream.staleness(now, self.limits.max_gap) or stream.frozenness(self.limits.max_gap):
                    return f"{stream.topic}: {text}"
        return None

    def sample(self, tick: float, period: float, now: float) -> SyncedSample:
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
        return self._sample(tick, wanted, captures)

    def again(self, sample: SyncedSample) -> SyncedSample:
        """The same sample with what has come in since."""
        with self._lock:
            captures = {
                source: self._streams[source].at(sample.wanted[source]) or found
                for source, found in sample.captures.items()
            }
        return self._sample(sample.time, sample.wanted, captures)

    def _sample(self, tick: float, wanted: dict[str, float], captures: dict[str, Capture[Any]]) -> SyncedSample:
        stale = (source for source in SOURCES if wanted[source] - captures[source].first_seen > self.limits.of(source))
        return SyncedSample(tick, wanted, captures, tuple(stale))

    def _find(self, source: str, time: float, now: float) -> Capture[Any]:
        stream = self._streams[source]
        found = stream.at(time)
        if found is not None and time - found.first_seen <= self.limits.max_gap:
            return found
        if now - time > KEPT - self.limits.max_gap:
            raise SourceLostError(f"the recorder is {now - time:.1f} s behind: this machine cannot encode that fast")
        if found is not None and time - found.stamp <= self.limits.max_gap:
            raise SourceLostError(
                f"{self.topics[source]} frozen: the very same picture for more than {self.limits.max_gap:g} s"
            )
        suffix = f" (last message: {stream.fault})" if stream.fault else ""
        raise SourceLostError(f"{self.topics[source]} stopped for more than {self.limits.max_gap:g} s{suffix}")


def _without_effort(efforts: FloatArray | None) -> str:
    """The first joint of which there is none; "" when there is of all."""
    untold = 0 if efforts is None else first_not_finite(efforts)
    return "" if untold is None else JOINT_NAMES[untold]
