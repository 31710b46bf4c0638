"""Records episodes from live sources on command: start, stop, discard, re-record; watches disk, sources and rate."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import av

from wav_models.data.dataset import DatasetError
from wav_models.data.layout import RATE_TOLERANCE, STAGING
from wav_models.words import counted
from wav_policy.recording.episode_recording import MIN_SECONDS, EpisodeRecording
from wav_policy.recording.episode_writer import DatasetWriter
from wav_policy.recording.live_recorder_config import LiveRecorderConfig
from wav_policy.recording.sources import Sources

IDLE: Final = "idle"
RECORDING: Final = "recording"

_DISK_CHECK_PERIOD: Final = 0.5
_RATE_KNOWN_AFTER: Final = 5.0
"""Encoders hold back the first frames: what a second needs on the disk is known after this time [s]."""
_SLOW_AFTER: Final = 1.0
"""A rate says something after this time [s]."""
_DISK_ERRORS: Final = (OSError, av.FFmpegError)


class RecorderError(RuntimeError):
    """A command that cannot be carried out now; the message says why and what to do."""


@dataclass(frozen=True)
class RecorderStatus:
    """One look at the recorder.

    Attributes:
        state: "idle" or "recording".
        message: what happened last, for a human.
        failed: the last message is about something that went wrong.
        blocked: why an episode could not start now; "" when it could.
        episodes: in the dataset.
        frames: of the episode in progress.
        seconds: length of it [s].
        rate: achieved by its slowest camera [Hz]; 0 while unknown.
        slow: the rate is below the dataset's, or no frame could be made yet.
        instruction: of the episode in progress, else of the next.
        free_megabytes: on the disk [MB].
        minutes_left: what fits on the disk at the present rate [min]; 0 while unknown.
    """

    state: str
    message: str
    failed: bool
    blocked: str
    episodes: int
    frames: int
    seconds: float
    rate: float
    slow: bool
    instruction: str
    free_megabytes: int
    minutes_left: float


class LiveRecorder:
    """Commands may come from any thread; `close` ends it.

    Args:
        config: where and how.
        sources: what comes in; filled by the caller.
        extra: what is noted of every episode from its beginning on, JSON data; may be changed between episodes.
        clock: of the capture times [s].
        on_event: told what happened, and whether it went wrong; called in the thread where it happened.

    Raises:
        DatasetError: the directory cannot be written to as this dataset.
        OSError: the disk is full or the directory not writable.
    """

    def __init__(
        self,
        config: LiveRecorderConfig,
        sources: Sources,
        extra: dict[str, Any] | None = None,
        clock: Callable[[], float] = time.time,
        on_event: Callable[[str, bool], None] = lambda message, failed: None,
    ) -> None:
        self.config = config
        self.instruction = ""
        self._sources = sources
        self.extra = extra or {}
        self._clock = clock
        self._on_event = on_event
        self._lock = threading.RLock()
        self._recording: EpisodeRecording | None = None
        self._instruction = ""
        self._message, self._failed = "nothing recorded yet", False
        self._num_episodes = 0
        self._removable: int | None = None
        self._disk_checked = float("-inf")
        self._free = 0
        self._bytes_per_second = 0.0
        self._writer: DatasetWriter | None = self._open()
        self._check_disk()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    # Commands

    def start(self) -> str:
        """Begin an episode.

        Raises:
            RecorderError: one is in progress, or something it needs is missing.
        """
        with self._lock:
            if self._recording is not None:
                raise RecorderError("an episode is being recorded; stop, discard or re-record it")
            if blocked := self._blocked():
                raise RecorderError(blocked)
            with self._guarded("cannot start"):
                self._writer = self._writer or self._open()
                now = self._clock()
                efforts = self.config.efforts == "auto" and self._sources.tells_efforts(now)
                self._writer.start_episode(self.instruction, dict(self.extra), efforts=efforts)
            self._sources.needs_efforts = self._writer.efforts
            self._instruction = self.instruction
            self._recording = EpisodeRecording(self._writer, self._sources, now, time.monotonic)
            return self._tell(f"recording episode {self._num_episodes}: {self._instruction!r}")

    def stop(self, success: bool | None = None) -> str:
        """End the episode and keep it, marked as success or failure where known.

        Raises:
            RecorderError: none is in progress, or it could not be written.
        """
        with self._lock:
            recording = self._require_recording()
            with self._guarded("the episode is lost"):
                cut = recording.advance(self._clock(), settle=0.0)
            return self._keep(recording, success, cut)

    def discard(self) -> str:
        """Forget the episode in progress.

        Raises:
            RecorderError: none is in progress.
        """
        with self._lock:
            recording, self._recording = self._require_recording(), None
            recording.discard()
            self._relax_efforts()
            return self._tell("episode discarded")

    def rerecord(self) -> str:
        """Forget the episode in progress, or else the last one recorded since the start, and begin it anew.

        Raises:
            RecorderError: there is none, or the new one cannot start; then the old one stays.
        """
        with self._lock:
            if self._recording is not None:
                self.discard()
            elif self._removable is None or self._writer is None:
                raise RecorderError("there is no episode of this session to record again; call recorder/start")
            elif blocked := self._blocked():
                raise RecorderError(blocked)
            else:
                with self._guarded("the last episode stays"):
                    self._writer.remove_last()
                self._num_episodes, self._removable = self._writer.num_episodes, None
                self._relax_efforts()
            return self.start()

    def status(self) -> RecorderStatus:
        """For diagnostics and displays."""
        with self._lock:
            recording = self._recording
            rate = recording.rate if recording else 0.0
            seconds = (recording.seconds if recording.num_frames else recording.elapsed) if recording else 0.0
            minutes = self._free / self._bytes_per_second / 60 if self._bytes_per_second else 0.0
            return RecorderStatus(
                state=RECORDING if recording else IDLE,
                message=self._message,
                failed=self._failed,
                blocked="" if recording else self._blocked(),
                episodes=self._num_episodes,
                frames=recording.num_frames if recording else 0,
                seconds=recording.seconds if recording else 0.0,
                rate=rate,
                slow=seconds > _SLOW_AFTER and rate < RATE_TOLERANCE * self.config.fps,
                instruction=self._instruction if recording else self.instruction,
                free_megabytes=self._free // 1_000_000,
                minutes_left=minutes,
            )

    def close(self) -> None:
        """Keep what there is of an episode in progress and let others write."""
        self._stopping.set()
        self._thread.join()
        with self._lock:
            if self._recording is not None:
                with suppress(RecorderError):  # told already
                    self._keep(self._recording, None, "the recorder was stopped")
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    # The thread

    def _run(self) -> None:
        while not self._stopping.wait(0.5 / self.config.fps):
            with self._lock:
                try:
                    self._step()
                except RecorderError:
                    pass  # told already
                except Exception as error:  # whatever it is: a thread that ended would be taken for one that records
                    self._lose(error, "no episode goes on")

    def _step(self) -> None:
        if time.monotonic() - self._disk_checked > _DISK_CHECK_PERIOD:
            self._check_disk()
        if self._recording is not None:
            self._advance(self._recording)

    def _advance(self, recording: EpisodeRecording) -> None:
        with self._guarded("the episode is lost"):
            cut = recording.advance(self._clock())
        if cut is None and self._free < self._min_free:
            cut = self._disk_text()
        if cut is not None:
            self._keep(recording, None, cut)

    def _keep(self, recording: EpisodeRecording, success: bool | None, cut: str | None) -> str:
        """Commit what there is; `cut` says why it ended by itself."""
        self._recording = None
        if cut is not None:
            recording.notes.append(f"cut: {cut}")
        if self._instruction != self.instruction:
            recording.notes.append(f"the instruction became {self.instruction!r} meanwhile")
        with self._guarded("the episode is lost"):
            index = recording.finish(success)
        if index is None:
            self._relax_efforts()
            because = cut or (f"no frames without {recording.awaited}" if recording.awaited else "")
            text = f"episode discarded, shorter than {MIN_SECONDS:g} s"
            return self._tell(f"{text}: {because}" if because else text, bool(because))
        self._num_episodes, self._removable = index + 1, index
        marked = {True: ", success", False: ", failure", None: ""}[success]
        notes = f" NOTE: {'; '.join(recording.notes)}." if recording.notes else ""
        length = f"{counted(recording.num_frames, 'frame')}, {recording.seconds:.1f} s, {recording.rate:.2f} Hz"
        return self._tell(f"episode {index} kept{marked}: {length}.{notes}", bool(recording.notes))

    # Disk

    def _open(self) -> DatasetWriter:
        writer = DatasetWriter(self.config.dataset, fps=self.config.fps, source_times=True)
        self._num_episodes = writer.num_episodes
        self._sources.needs_efforts = writer.efforts and writer.num_episodes > 0
        return writer

    @contextmanager
    def _guarded(self, consequence: str) -> Iterator[None]:
        """A disk that fails ends the episode in progress; the dataset is opened anew, and so repaired, at the next."""
        try:
            yield
        except (*_DISK_ERRORS, DatasetError) as error:
            raise RecorderError(self._lose(error, consequence)) from error

    def _lose(self, error: Exception, consequence: str) -> str:
        """Give up the episode in progress and the writer; says so, once."""
        self._recording = self._removable = None
        writer, self._writer = self._writer, None
        if writer is not None:
            self._num_episodes = writer.num_episodes
            writer.close()
        text = f"{self.config.dataset}: {error}; {consequence}, all earlier ones are safe"
        return text if text == self._message else self._tell(text, True)

    def _check_disk(self) -> None:
        self._disk_checked = time.monotonic()
        self._free = shutil.disk_usage(self.config.dataset).free
        if self._recording is not None and self._recording.seconds > _RATE_KNOWN_AFTER:
            staged = (self.config.dataset / STAGING / "current").iterdir()
            self._bytes_per_second = sum(file.stat().st_size for file in staged) / self._recording.seconds

    @property
    def _min_free(self) -> int:
        return self.config.min_free_megabytes * 1_000_000

    def _disk_text(self) -> str:
        return (
            f"{self._free // 1_000_000} MB left on the disk of {self.config.dataset}, "
            f"{self.config.min_free_megabytes} MB are the least: make room or record elsewhere"
        )

    # Helpers

    def _relax_efforts(self) -> None:
        """A dataset without an episode has not been decided yet."""
        self._sources.needs_efforts &= self._num_episodes > 0

    def _blocked(self) -> str:
        """Why an episode cannot start now; "" when it can."""
        if self._free < self._min_free:
            return self._disk_text()
        if not self.instruction.strip():
            return "no instruction: publish one on the topic instruction"
        return self._sources.unready(self._clock()) or ""

    def _require_recording(self) -> EpisodeRecording:
        if self._recording is None:
            raise RecorderError("no episode is being recorded")
        return self._recording

    def _tell(self, message: str, failed: bool = False) -> str:
        self._message, self._failed = message, failed
        self._on_event(message, failed)
        return message
