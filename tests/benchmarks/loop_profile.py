"""Where the time of a control tick goes, by cProfile."""

from __future__ import annotations

import cProfile
import io
import pstats
import time

from wav_models.types import ActionChunk
from wav_policy.control.control_loop import ControlLoop

_LINES = 20


def profile_ticks(loop: ControlLoop, chunk: ActionChunk, ticks: int, period: float) -> str:
    """Run a loop that has not been started, tick by tick; the functions that cost most, by their own time.

    Args:
        loop: over connected and enabled arms, not started.
        chunk: executed meanwhile.
        ticks: how many.
        period: between them [s].
    """
    profile = cProfile.Profile()
    loop.engage()
    loop.tick()
    loop.accept(ActionChunk(chunk.positions, time.monotonic(), chunk.step))
    for _ in range(ticks):
        profile.enable()
        loop.tick()
        profile.disable()
        time.sleep(period)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(_LINES)
    return text.getvalue().strip()
