from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from wav_policy.policy.playback import Playback, TimedFrame


class Screen:
    """Notes which frame was shown when."""

    def __init__(self) -> None:
        self.shown: list[tuple[float, float]] = []
        self.playback = Playback(self._show, time.time)

    def _show(self, frame: TimedFrame) -> None:
        self.shown.append((time.time(), frame.stamp))

    def wait_for(self, number: int) -> None:
        deadline = time.monotonic() + 10
        while len(self.shown) < number and time.monotonic() < deadline:
            time.sleep(0.01)


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    yield screen
    screen.playback.close()


def frames(*stamps: float) -> list[TimedFrame]:
    return [TimedFrame(stamp, np.zeros((3, 2, 2, 3), np.uint8)) for stamp in stamps]


def test_every_frame_is_shown_when_it_is_due(screen: Screen) -> None:
    now = time.time()
    screen.playback.play(frames(now - 5.0, now + 0.2, now + 0.5))
    screen.wait_for(2)
    assert [stamp for _, stamp in screen.shown] == [now + 0.2, now + 0.5]  # the first one is long past
    assert all(when >= stamp for when, stamp in screen.shown)


def test_a_newer_future_takes_over_from_its_first_frame(screen: Screen) -> None:
    now = time.time()
    screen.playback.play(frames(now + 0.2, now + 0.6, now + 30.0))
    screen.playback.play(frames(now + 0.4, now + 0.8))
    screen.wait_for(3)
    assert [stamp for _, stamp in screen.shown] == [now + 0.2, now + 0.4, now + 0.8]


def test_nothing_is_shown_after_clear(screen: Screen) -> None:
    screen.playback.play(frames(time.time() + 0.2))
    screen.playback.clear()
    time.sleep(0.4)
    assert not screen.shown
