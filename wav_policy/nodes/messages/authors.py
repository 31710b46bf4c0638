"""Whether one publisher speaks on a topic, or several in turn.

rclpy does not tell whose a message is, and the number of publishers on the graph counts for seconds those that were
killed. But every publisher numbers its messages from 1, and a subscription hears the numbers rise. One that is started
again lets them fall once; two that live let them fall again and again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

REMEMBERED: Final = 5.0
"""How long a fall counts, and several publishers are said to speak after they did [s]."""


class Authors:
    """Of the messages of one topic.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = 0
        self._falls: deque[float] = deque(maxlen=2)

    def are_several(self, number: int) -> bool:
        """To be asked once for every message, with its publication sequence number."""
        now = self._clock()
        if number <= self._last:
            self._falls.append(now)
        self._last = number
        return len(self._falls) == 2 and now - self._falls[0] <= REMEMBERED
