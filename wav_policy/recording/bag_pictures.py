"""Which picture of a recorded camera belongs to every row of a grid; damaged ones are replaced by the one before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from wav_models.alignment import newest_at
from wav_models.types import FloatArray, ImageArray
from wav_policy.recording.bag_file import BagError

Decode = Callable[[Any], ImageArray]
"""An Image or CompressedImage to uint8 RGB [H, W, 3]; ValueError where it is no usable picture."""


class _Picture(NamedTuple):
    stamp: float
    rgb: ImageArray


class RecordedPictures:
    """Of one camera. Only what a row shows is decoded.

    Args:
        name: recording and topic, for errors.
        stamps: by number of the message on its topic, in order [s]; messages that are not in it are left out.
        times: of the rows, shape [T], s.
        max_gap: so much older than its row may the picture be that replaces a damaged one [s].
        decode: makes pictures of messages.

    Attributes:
        num_damaged: pictures that could not be decoded.
    """

    def __init__(self, name: str, stamps: dict[int, float], times: FloatArray, max_gap: float, decode: Decode) -> None:
        self.num_damaged = 0
        self._name, self._stamps, self._times, self._max_gap, self._decode = name, stamps, times, max_gap, decode
        numbers = list(stamps)
        self._shown = [numbers[index] for index in newest_at(list(stamps.values()), times)]
        self._wanted = frozenset(self._shown)
        self._recent: list[tuple[float, Any]] = []
        self._good: _Picture | None = None
        self._known: dict[int, _Picture | None] = {}
        self._fault = ""

    def add(self, number: int, message: Any) -> None:
        """The next message of the topic."""
        stamp = self._stamps.get(number)
        if stamp is None or stamp < self._times[0] - self._max_gap or number > self._shown[-1]:
            return
        self._recent.append((stamp, message))
        if number in self._wanted:
            self._good = self._known[number] = self._newest_good()
            self._recent.clear()

    def _newest_good(self) -> _Picture | None:
        for stamp, message in reversed(self._recent):
            try:
                return _Picture(stamp, self._decode(message))
            except ValueError as error:
                self.num_damaged += 1
                self._fault = str(error)
        return self._good

    def is_known(self, row: int) -> bool:
        """Whether the message that a row shows has come."""
        return self._shown[row] in self._known

    def take(self, row: int) -> ImageArray | None:
        """What a row shows; rows are asked for in order. None where no good picture has come yet.

        Raises:
            BagError: pictures were damaged for longer than `max_gap`.
        """
        number = self._shown[row]
        for old in [known for known in self._known if known < number]:
            del self._known[old]
        picture = self._known[number]
        if picture is None:
            return None
        if picture.stamp != self._stamps[number] and self._times[row] - picture.stamp > self._max_gap:
            raise BagError(
                f"{self._name}: no whole picture for {self._times[row] - picture.stamp:.2f} s (max_gap "
                f"{self._max_gap:g} s): {self._fault}; cut the recording there"
            )
        return picture.rgb
