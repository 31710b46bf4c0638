"""The clock of message stamps."""

from __future__ import annotations

import time


def wall_time() -> float:
    """Time as in the stamps of messages that are made here [s]; what the campaign measures, it measures in stamps."""
    return time.time()
