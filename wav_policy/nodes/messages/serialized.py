"""Messages as the bytes that came: to be measured before they are decoded, and pictures without a copy."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from builtin_interfaces.msg import Time
from std_msgs.msg import Header


class Reader:
    """Walks over a serialized message (OMG CDR, XCDR version 1); alignment counts from behind the four first bytes.

    struct.error or IndexError where it ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)[4:]
        self._format = "<I" if data[1] & 1 else ">I"
        self._place = 0

    def count(self) -> int:
        """The next 32-bit number: also the length of a text or a list."""
        self._place += -self._place % 4
        (number,) = struct.unpack_from(self._format, self._data, self._place)
        self._place += 4
        return int(number)

    def signed(self) -> int:
        """The same with a sign."""
        number = self.count()
        return number - (1 << 32) if number >> 31 else number

    def skip_text(self) -> None:
        """Beyond a text."""
        length = self.count()  # moves on by itself
        self._place += length

    def skip_header(self) -> None:
        """Beyond a std_msgs/Header."""
        self.count()
        self.count()
        self.skip_text()

    def text(self) -> str:
        """The next text; UnicodeDecodeError where it is none."""
        return bytes(self.data()[:-1]).decode()

    def flag(self) -> bool:
        """The next truth value."""
        self._place += 1
        return bool(self._data[self._place - 1])

    def data(self) -> memoryview:
        """The bytes of the next text or list of bytes."""
        length = self.count()
        self._place += length
        if self._place > len(self._data):
            raise IndexError(f"{length} bytes were to follow")
        return self._data[self._place - length : self._place]


@dataclass(frozen=True)
class ImageView:
    """A sensor_msgs/Image whose pixels are those that came. rclpy's own message copies them twice, which costs more
    than all that is done with a picture afterwards."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: bool
    step: int
    data: memoryview

    @classmethod
    def read(cls, data: bytes) -> ImageView:
        """Of a serialized message; struct.error, IndexError or UnicodeDecodeError where it is none."""
        reader = Reader(data)
        stamp = Time(sec=reader.signed(), nanosec=reader.count())
        header = Header(stamp=stamp, frame_id=reader.text())
        height, width, encoding = reader.count(), reader.count(), reader.text()
        return cls(header, height, width, encoding, reader.flag(), reader.count(), reader.data())
