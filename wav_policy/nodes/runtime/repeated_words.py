"""Lines of the log that come again and again: the first at once, then one in a while that says how many there were."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from wav_models.words import counted

PAUSE: Final = 30.0
"""Between two lines of one text [s]."""
_MAX_TEXTS: Final = 64
"""That are remembered; of others nothing is folded."""


class RepeatedWords:
    """Folds what is the same.

    Args:
        say: writes a line.
        clock: seconds, going up.
    """

    def __init__(self, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._last: dict[str, tuple[float, int]] = {}
        """When a text was written, and how often it has come since."""

    def __call__(self, text: str) -> None:
        now = self._clock()
        since, count = self._last.get(text, (now - PAUSE, 0))
        if now - since < PAUSE:
            self._last[text] = since, count + 1
            return
        self._last.pop(text, None)
        while len(self._last) >= _MAX_TEXTS:
            del self._last[next(iter(self._last))]
        self._last[text] = now, 0
        self._say(f"{text} ({counted(count, 'time')} more within {now - since:.0f} s)" if count else text)
