"""The monitor's page with a time line of the recording in place of the buttons."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable

from wav_policy.monitor.commands import EPISODE, PLAY, SEEK, SPEED, CommandError
from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.recording import Recording
from wav_policy.monitor.replay import Replay
from wav_policy.monitor.snapshot import ReplayPlace

_PAUSE: float = 1.0
"""On the last frame, before it begins anew [s]."""


class ReplayPage:
    """Plays a recording over and over, or shows the moment that was asked for. A `Commander` of its own page.

    Args:
        replay: of what is shown first; it is closed with the page.
        open_episode: another episode of the same dataset, by its number.
    """

    def __init__(self, replay: Replay, open_episode: Callable[[int], Recording]) -> None:
        self._replay = replay
        self._open_episode = open_episode
        self._opening = threading.Lock()
        self._lock = threading.Lock()
        self._playback = _beginning(replay.recording)
        self._last = time.monotonic()
        self.page = MonitorPage(self)

    def close(self) -> None:
        """End the replay; waits for a plan that is being made, and for an episode that is being opened."""
        with self._opening:
            self._replay.close()

    def obey(self, command: str, text: str = "") -> str:
        """See `Commander.obey`: `PLAY`, `SPEED`, `SEEK` and `EPISODE`."""
        if command == PLAY:
            self._change(playing=text == "yes")
        elif command == SPEED:
            self._change(speed=min(max(_number(text), 0.1), 10.0))
        elif command == SEEK:
            self._change(position=min(max(_number(text), 0.0), self._playback.end), playing=False)
        elif command == EPISODE:
            self._show_episode(_number(text))
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
            replay, playback = self._replay, self._playback
            if playback.playing:
                position = (playback.position + passed * playback.speed) % (playback.end + _PAUSE)
                self._playback = dataclasses.replace(playback, position=position)
            shown = dataclasses.replace(self._playback, position=min(self._playback.position, playback.end))
        index = round(shown.position / shown.step)
        self.page.show(dataclasses.replace(replay.snapshot(index), playback=shown))

    def _show_episode(self, number: float) -> None:
        """What was shown goes on until the other one is open."""
        if number not in range(self._playback.num_episodes):
            raise CommandError(f"there is no episode {number:g}; the last one is {self._playback.num_episodes - 1}")
        if not self._opening.acquire(blocking=False):
            raise CommandError("another episode is being opened")
        try:
            recording = self._open_episode(int(number))
            replay = self._replay.instead(recording)
            with self._lock:
                self._replay = replay
                self._playback = dataclasses.replace(_beginning(recording), speed=self._playback.speed)
        finally:
            self._opening.release()

    def _change(self, **changes: float | bool) -> None:
        with self._lock:
            self._playback = dataclasses.replace(self._playback, **changes)  # type: ignore[arg-type]


def _beginning(recording: Recording) -> ReplayPlace:
    return ReplayPlace(
        0.0,
        (len(recording) - 1) / recording.fps,
        playing=True,
        speed=1.0,
        step=1.0 / recording.fps,
        episode=recording.episode,
        num_episodes=recording.num_episodes,
    )


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CommandError(f"{text!r} is no number")
    return number
