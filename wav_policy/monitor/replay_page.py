"""The monitor's page with a time line in place of the buttons."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from wav_policy.monitor.page import MonitorPage
from wav_policy.monitor.recording import Recording
from wav_policy.monitor.replay import Replay

if TYPE_CHECKING:
    import viser

_SPEEDS: Final = ("0.25", "0.5", "1", "2", "4")


class ReplayPage:
    """Plays a recording over and over, or shows the moment that the slider is set to.

    Args:
        server: an empty viser server.
        recording: what is shown.
        replay: makes its snapshots.
    """

    def __init__(self, server: viser.ViserServer, recording: Recording, replay: Replay) -> None:
        self._recording = recording
        self._replay = replay
        self._page = MonitorPage(server, None)
        end = (len(recording) - 1) / recording.fps
        self._playing = server.gui.add_checkbox("Play", True)
        self._speed = server.gui.add_dropdown("Speed", _SPEEDS, initial_value="1")
        self._slider = server.gui.add_slider("Time [s]", 0.0, max(end, 1.0 / recording.fps), 1.0 / recording.fps, 0.0)
        self._last = time.monotonic()
        self._position = 0.0

    def update(self) -> None:
        """Advance by the time that has passed, and show."""
        now = time.monotonic()
        passed, self._last = now - self._last, now
        end = (len(self._recording) - 1) / self._recording.fps
        if not self._page.watched:
            return
        if self._playing.value:
            self._position = (self._position + passed * float(self._speed.value)) % (end + 1.0)
            self._slider.value = min(self._position, end)  # type: ignore[misc]
        else:
            self._position = float(self._slider.value)
        index = min(round(self._position * self._recording.fps), len(self._recording) - 1)
        self._page.show(self._replay.snapshot(index))
