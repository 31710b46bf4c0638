"""The monitor's page with a time line of the recording in place of the buttons."""

from __future__ import annotations

import dataclasses
import math
import threading
import time

from wav_policy.monitor.commands import PLAY, SEEK, SPEED, CommandError
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.recording import Recording
from wav_policy.monitor.replay import Replay
from wav_policy.monitor.snapshot import Playback

_PAUSE: float = 1.0
"""On the last frame, before it begins anew [s]."""


class ReplayPage:
    """Plays a recording over and over, or shows the moment that was asked for. A `Commander` of its own page.

    Args:
        recording: what is shown.
        replay: makes its snapshots.
    """

    def __init__(self, recording: Recording, replay: Replay) -> None:
        self._recording = recording
        self._replay = replay
        self._lock = threading.Lock()
        self._playback = Playback(0.0, (len(recording) - 1) / recording.fps, playing=True, speed=1.0)
        self._last = time.monotonic()
        self.page = MonitorPage(self)

    def obey(self, command: str, text: str = "") -> str:
        """See `Commander.obey`: `PLAY`, `SPEED` and `SEEK`."""
        if command == PLAY:
            self._change(playing=text == "yes")
        elif command in (SPEED, SEEK):
            number = _number(text)
            if command == SPEED:
                self._change(speed=min(max(number, 0.1), 10.0))
            else:
                self._change(position=min(max(number, 0.0), self._playback.end), playing=False)
        else:
            raise CommandError("a recording is only looked at")
        return ""

    def update(self) -> None:
        """Advance by the time that has passed, and show."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        if not self.page.watched:
            return
        with self._lock:
            playback = self._playback
            if playback.playing:
                position = (playback.position + passed * playback.speed) % (playback.end + _PAUSE)
                self._playback = dataclasses.replace(playback, position=position)
        shown = dataclasses.replace(self._playback, position=min(self._playback.position, self._playback.end))
        index = round(shown.position * self._recording.fps)
        self.page.show(dataclasses.replace(self._replay.snapshot(index), playback=shown))

    def _change(self, **changes: float | bool) -> None:
        with self._lock:
            self._playback = dataclasses.replace(self._playback, **changes)  # type: ignore[arg-type]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CommandError(f"{text!r} is no number")
    return number
