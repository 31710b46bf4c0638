"""The clock of message stamps."""

from __future__ import annotations

import time


def wall_time() -> float:
    """Time as in the stamps of messages that are made here [s]; what the campaign measures, it measures in stamps."""
    return time.time()


def in_our_time(stamp: float, offset: float, now: float) -> float:
    """A stamp of a system whose clock was stepped, in our time [s].

    Args:
        stamp: of a message that has just come [s].
        offset: the system's clock minus ours [s]. A message that was under way while it stepped has a stamp of before;
            stamps are recent, so the nearer one is meant.
        now: our time [s].
    """
    return min((stamp - offset, stamp), key=lambda time: abs(time - now))
