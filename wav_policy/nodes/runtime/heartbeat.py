"""Asserts the liveliness of `action_chunk` from a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from wav_policy.nodes.messages import chunk_topic


class Heartbeat:
    """Calls `beat` every `HEARTBEAT_PERIOD` until closed.

    Not a timer of the node: an executor that is busy for a moment is no reason to stop the arms. One that hangs is, for
    it hears no instruction and no transition: `beat` looks at when it last did something.
    """

    def __init__(self, beat: Callable[[], None]) -> None:
        self._beat = beat
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and wait for it."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(chunk_topic.HEARTBEAT_PERIOD):
            self._beat()
