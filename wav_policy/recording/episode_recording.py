"""One episode while it is recorded from live sources: ticks to frames, gaps bridged or the end of it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from wav_models.data.images import resize_image
from wav_models.data.layout import RATE_TOLERANCE
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.sources import SourceLostError, Sources, SyncedSample
from wav_policy.robot.cameras import SOURCES, VIEWS

SETTLE: Final = 0.05
"""A tick is sampled this much later, when what was captured before it has come in [s]."""

_CLOCK_STEP: Final = 0.5
"""Two clocks that drift apart by more between two looks have not drifted: one was set [s]."""

MIN_SECONDS: Final = 0.5
"""A shorter episode is a slip of the finger [s]."""


class EpisodeRecording:
    """Feeds an episode of the writer; `advance` often, then `finish` or `discard`.

    A sample in which a source is stale waits until that source has delivered something newer than the sample: what it
    captured before may come late, and nothing older can follow. Only then is the sample written, with the source's last
    capture before it. No sample waits longer than `SamplingLimits.max_gap`: a source that has delivered nothing newer
    by then has stopped, and the episode ends before the gap. What was good is kept, nothing else. So has a camera that
    goes on sending one picture: a picture that was there before is not newer.

    Args:
        writer: gets the episode; `start_episode` has been called.
        sources: what comes in.
        start: time of the first frame [s].
        steady: a clock that nobody sets [s]; None: there is none to compare with.

    Attributes:
        num_frames: frames written.
        notes: what a user of the episode should know.
    """

    def __init__(
        self, writer: DatasetWriter, sources: Sources, start: float, steady: Callable[[], float] | None = None
    ) -> None:
        self.num_frames = 0
        self.notes: list[str] = []
        self._writer = writer
        self._sources = sources
        self._period = 1.0 / writer.fps
        self._start = self._latest = start
        self._steady = steady
        self._looked = 0.0 if steady is None else steady()
        self._tick = 0
        self._waiting: deque[SyncedSample] = deque()
        self._bridged: Counter[str] = Counter()
        self._seen: dict[str, list[float]] = {source: [] for source in SOURCES}

    @property
    def seconds(self) -> float:
        """Length of what was written [s]."""
        return self.num_frames * self._period

    @property
    def elapsed(self) -> float:
        """Time since the start, when `advance` was called last [s]."""
        return self._latest - self._start

    @property
    def awaited(self) -> str:
        """The sources that the next frame waits for, by topic; "" when it waits for none."""
        late = self._late(self._waiting[0].stale) if self._waiting else []
        return ", ".join(self._sources.topics[source] for source in late)

    def advance(self, now: float, settle: float = SETTLE) -> str | None:
        """Write all frames that are due.

        Returns:
            Why the episode must end here; None while it goes on.

        Raises:
            OSError: the disk is full; the episode is lost.
        """
        if now < self._latest - SETTLE:
            return f"the clock was set back by {self._latest - now:.2f} s"
        forward = self._set_forward(now)
        self._latest = max(now, self._latest)
        while (tick := self._start + self._tick * self._period) + self._period + settle <= now:
            try:
                sample = self._sources.sample(tick, self._period, now)
            except SourceLostError as error:
                return f"the clock was set forward by {forward:.2f} s" if forward > _CLOCK_STEP else str(error)
            self._tick += 1
            self._waiting.append(sample)
            self._write_waiting()
        return None

    def _set_forward(self, now: float) -> float:
        """By how much the clock was, since the last look [s]."""
        if self._steady is None:
            return 0.0
        looked, before = self._steady(), self._looked
        self._looked = looked
        return now - self._latest - (looked - before)

    def rates(self) -> dict[str, float]:
        """Distinct captures per second so far, by source; 0 before there are two [Hz]."""
        return {
            source: (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
            for source, times in self._seen.items()
        }

    @property
    def rate(self) -> float:
        """Achieved rate: of the slowest camera, 0 before there are two frames [Hz]."""
        rates = self.rates()
        return min(rates[view] for view in VIEWS)

    def finish(self, success: bool | None, **extra: Any) -> int | None:
        """Make the episode part of the dataset.

        Returns:
            Its index; None when it was too short to be kept.

        Raises:
            OSError: the disk is full; the episode is lost.
        """
        self._write_waiting(ended=True)
        if self.seconds < MIN_SECONDS:
            self.discard()
            return None
        self._note_rate()
        bridged = dict(self._bridged)
        if bridged:
            counts = ", ".join(f"{self._sources.topics[source]} {count}" for source, count in bridged.items())
            self.notes.append(f"frames bridged with an older capture: {counts}")
        rates = {source: round(rate, 3) for source, rate in self.rates().items()}
        self._writer.set_extra(success=success, notes=self.notes, rates=rates, bridged=bridged, **extra)
        return self._writer.end_episode()

    def discard(self) -> None:
        """Forget the episode."""
        self._writer.discard_episode()

    def _write_waiting(self, ended: bool = False) -> None:
        """Write the samples that wait for nothing any more; when `ended`, whatever is not stale is good enough."""
        while self._waiting:
            sample = self._sources.again(self._waiting[0])
            if self._late(sample.stale if ended else self._waiting[0].stale):
                return
            self._write(sample)
            self._waiting.popleft()

    def _late(self, stale: tuple[str, ...]) -> list[str]:
        """Those that have not delivered anything newer than the first sample that waits."""
        wanted, newest = self._waiting[0].wanted, self._waiting[-1].captures
        return [source for source in stale if newest[source].first_seen <= wanted[source]]

    def _write(self, sample: SyncedSample) -> None:
        self._bridged.update(sample.stale)
        sizes = self._writer.image_sizes
        images = {view: resize_image(image, sizes[view]) for view, image in sample.images.items()}
        effort = sample.joints.efforts if self._writer.efforts else None
        self._writer.add_frame(images, sample.joints.positions, sample.action, sample.time, sample.source_times, effort)
        self.num_frames += 1
        self._note_times(sample)

    def _note_times(self, sample: SyncedSample) -> None:
        for source, time in zip(SOURCES, sample.source_times, strict=True):
            if not self._seen[source] or time > self._seen[source][-1]:
                self._seen[source].append(float(time))

    def _note_rate(self) -> None:
        fps = self._writer.fps
        for source, rate in self.rates().items():
            if np.isfinite(rate) and rate < RATE_TOLERANCE * fps:
                self.notes.append(f"{self._sources.topics[source]} came at {rate:.2f} Hz; the dataset says {fps} Hz")
