"""The latents of the last frames: a frame that is new now is memory later, and is encoded once."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from torch import Tensor

from wav_models.types import ImageArray

NUM_FRAMES: Final = 32
"""Latents kept, in frames of all views: more than the memory span of a control loop needs."""


class FrameCache:
    """Latents found by their pixels; the `capacity` used last are kept."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._latents: OrderedDict[bytes, Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, frame: ImageArray, encode: Callable[[ImageArray], Tensor]) -> Tensor:
        """The latents of `frame`, encoding it if its pixels are new."""
        key = hashlib.blake2b(frame.tobytes(), digest_size=16).digest()
        with self._lock:
            if key in self._latents:
                self._latents.move_to_end(key)
                return self._latents[key]
        latents = encode(frame)
        with self._lock:
            self._latents[key] = latents
            if len(self._latents) > self._capacity:
                self._latents.popitem(last=False)
        return latents
