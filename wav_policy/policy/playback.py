"""Shows frames at the times they belong to. No ROS in here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from wav_models.types import ImageArray

_LATE: Final = 0.15
"""A frame that is later than this is not worth showing any more [s]."""


@dataclass(frozen=True)
class TimedFrame:
    """One instant of a future: `stamp` [s], `images` of all views, uint8, shape [V, H, W, 3]."""

    stamp: float
    images: ImageArray


class Playback:
    """A thread that shows every frame when it is due.

    A newer future takes over from its first frame on: for every instant the prediction made last is shown, and what an
    older one says about the time before that stays.

    Args:
        show: called with each frame when it is due, from the thread.
        now: clock of the stamps [s].
    """

    def __init__(self, show: Callable[[TimedFrame], None], now: Callable[[], float]) -> None:
        self._show = show
        self._now = now
        self._condition = threading.Condition()
        self._frames: list[TimedFrame] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="playback")
        self._thread.start()

    def play(self, frames: Sequence[TimedFrame]) -> None:
        """Show these frames, in the order of their stamps, each when it is due."""
        with self._condition:
            earlier = [frame for frame in self._frames if frame.stamp < frames[0].stamp]
            self._frames = [*earlier, *frames]
            self._condition.notify()

    def clear(self) -> None:
        """Show nothing more until the next `play`."""
        with self._condition:
            self._frames.clear()

    def close(self) -> None:
        """End the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _run(self) -> None:
        while (frame := self._await_due()) is not None:
            self._show(frame)

    def _await_due(self) -> TimedFrame | None:
        with self._condition:
            while not self._closed:
                now = self._now()
                while self._frames and self._frames[0].stamp < now - _LATE:
                    del self._frames[0]
                if self._frames and self._frames[0].stamp <= now:
                    return self._frames.pop(0)
                self._condition.wait(self._frames[0].stamp - now if self._frames else None)
        return None
