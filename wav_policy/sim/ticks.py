"""Real time in equal ticks: of a pause the most is lost, and nothing that is simulated jumps for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Final

_MAX_LAG: Final = 0.05
"""What may be made up for [s]: on a busy machine threads wait that long for their turn."""


def ticks(period: float, stopping: threading.Event) -> Iterator[None]:
    """Once every `period` [s] of the monotonic clock until `stopping` is set.

    Each stands for one period of simulated time, however late it comes. Missed ones follow at once, as far as
    `_MAX_LAG` goes; what exceeds it is lost.
    """
    due = time.monotonic()
    while not stopping.is_set():
        yield
        now = time.monotonic()
        due = max(due + period, now - _MAX_LAG)
        stopping.wait(max(0.0, due - now))
