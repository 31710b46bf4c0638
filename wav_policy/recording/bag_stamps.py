"""Which stamps of a recorded stream are believed, and where its clock became another one.

As with live streams (`wav_policy/policy/stream_buffer.py`) one stamp is never believed about a stream. One that
contradicts those before it waits: where the next ones go on from those before, it was a stray; where `NUM_AGREEING` in
a row agree with each other, the clock is another one from the first of them on, as after a simulation was reset.
Unlike live ones a recording also knows when each message was recorded: after a pause the stamps may be as far apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from wav_policy.policy.stream_buffer import NUM_AGREEING

LONGEST_PAUSE: Final = 600.0
"""Between two stamps of one clock: the rows in a longer one would fill the memory [s]."""
_MAX_STEP: Final = 0.5
"""So far a stamp may lie before the newest one, and is late, or lead more than was recorded meanwhile [s]."""


class BelievedStamps(NamedTuple):
    """Of one stream, as rows of what was recorded.

    Attributes:
        rows: whose stamps are believed, in order; within a part the stamps never go back.
        starts: those of `rows` with which another clock begins.
    """

    rows: list[int]
    starts: list[int]


def believed(stamps: Sequence[float], recorded: Sequence[float]) -> BelievedStamps:
    """Sort out one stream.

    Args:
        stamps: of its messages, in the order of recording [s].
        recorded: when each was recorded [s].
    """
    rows: list[int] = []
    starts: list[int] = []
    waiting: list[int] = []
    for row, (stamp, time) in enumerate(zip(stamps, recorded, strict=True)):

        def follows(before: int, stamp: float = stamp, time: float = time) -> bool:
            since = stamp - stamps[before]
            return 0.0 <= since <= LONGEST_PAUSE and since - (time - recorded[before]) <= _MAX_STEP

        if not rows or follows(rows[-1]):
            rows.append(row)
            waiting.clear()
        elif not -_MAX_STEP <= stamp - stamps[rows[-1]] < 0.0:  # else late: nothing speaks against those before it
            if waiting and not follows(waiting[-1]):
                waiting.clear()
            waiting.append(row)
            if len(waiting) == NUM_AGREEING:
                starts.append(waiting[0])
                rows += waiting
                waiting.clear()
    return BelievedStamps(rows, starts)
