"""slcan (LAWICEL text over a serial line), read and written in batches.

python-can 4.6 makes two system calls for each of a frame's 22 bytes and builds a Message per frame; `docs/driver.md`
has what this saves.
"""

from __future__ import annotations

import os
import re
import select
import termios
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import can
from can.interfaces.slcan import slcanBus

from wav_policy.piper.channel_lock import ChannelLock
from wav_policy.piper.frames import BITRATE, BusCondition, Frame

_CLOSING_TIME: Final = 0.01  # s the adapter has to take the closing command
_ERROR_WARNING: Final = 1 << 2
_ERROR_PASSIVE: Final = 1 << 5
_BUS_ERROR: Final = 1 << 7
_WORDS: Final = {_ERROR_WARNING: "error warning", _ERROR_PASSIVE: "error passive", _BUS_ERROR: "bus error"}

_FRAME: Final = re.compile(rb"t([0-9A-Fa-f]{3})([0-8])((?:[0-9A-Fa-f]{2})*)")
_FLAGS: Final = re.compile(rb"F([0-9A-Fa-f]{2})")
_TIME_STAMP: Final = 4  # digits at the end of a line from an adapter that was left with time stamps on (Z1)


class BatchedSlcanBus(slcanBus):
    """`ArmBus` over a serial device. `receive` is for one thread.

    Attributes:
        garbled: lines that were no frame.
        local_setpoints: 0; a serial line does not tell.
        flags: the adapter's last answer to F (bits of the SJA1000); None where it has not told.
    """

    _buffer: bytearray

    def __init__(self, channel: str, lock: ChannelLock | None = None, **options: Any) -> None:
        self.garbled = 0
        self.local_setpoints = 0
        self.flags: int | None = None
        self._is_cut = False
        self._channel_lock = lock
        super().__init__(channel, **options)

    def open(self) -> None:
        """Without time stamps, which some adapters keep switched on in their memory."""
        self._write("Z0")
        super().open()

    def receive(self, timeout: float) -> list[Frame]:
        """As `ArmBus.receive`."""
        ready, _, _ = select.select([self.serialPortOrig.fileno()], [], [], timeout)
        if not ready:
            return []
        *lines, rest = bytes(self._buffer + self._read_available()).split(b"\r")
        self._buffer = bytearray(rest[-64:])
        frames = [self._frame(line.lstrip(b"\a")) for line in lines]
        return [frame for frame in frames if frame is not None]

    def transmit(self, frames: Iterable[Frame]) -> None:
        """As `ArmBus.transmit`."""
        self._write_all(b"".join(b"t%03X%d%s\r" % (number, len(data), data.hex().encode()) for number, data in frames))

    def ask_condition(self) -> None:
        """As `ArmBus.ask_condition`: the LAWICEL command F."""
        self.flags = None
        self._write_all(b"F\r")

    def condition(self) -> BusCondition:
        """As `ArmBus.condition`. There is no flag for bus-off itself: a bus that has worked and has errors is off."""
        if self.flags is None:
            return BusCondition(words="the adapter does not tell the state of the bus")
        words = [text for bit, text in _WORDS.items() if self.flags & bit]
        if not words:
            return BusCondition(bitrate=BITRATE)
        return BusCondition(has_errors=True, bitrate=BITRATE, words=f"the adapter reports {', '.join(words)}")

    def shutdown(self) -> None:
        """Close the channel and the port; closing twice does nothing, an unplugged or stalled port closes too."""
        if not self.serialPortOrig.is_open:
            return
        with suppress(can.CanOperationError):
            self.close()
            time.sleep(_CLOSING_TIME)
        with suppress(termios.error):  # the kernel would wait up to 30 s for an adapter to take what is left
            termios.tcflush(self.serialPortOrig.fileno(), termios.TCOFLUSH)
        self.serialPortOrig.close()
        if self._channel_lock is not None:
            self._channel_lock.release()
        can.BusABC.shutdown(self)

    def _frame(self, line: bytes) -> Frame | None:
        found = _FRAME.fullmatch(line)
        if found is not None:
            length, digits = 2 * int(found[2]), found[3]
            if len(digits) == length or len(digits) == length + _TIME_STAMP:
                return int(found[1], 16), bytes.fromhex(digits[:length].decode("ascii"))
        flags = _FLAGS.fullmatch(line)
        if flags is not None:
            self.flags = int(flags[1], 16)
        elif line and line[:1] not in b"zZVN":
            self.garbled += 1
        return None

    def _write(self, string: str) -> None:
        """Everything python-can sends; its own version waits without end for an adapter that takes nothing."""
        self._write_all(string.encode() + self.LINE_TERMINATOR)

    def _write_all(self, data: bytes) -> None:
        """A line that was cut short is ended first: it must not swallow the next one."""
        data = self.LINE_TERMINATOR + data if self._is_cut else data
        try:
            while data:
                data = data[os.write(self.serialPortOrig.fileno(), data) :]
                self._is_cut = bool(data)
        except BlockingIOError:
            raise can.CanOperationError(f"{self.serialPortOrig.port}: the adapter takes no more") from None
        except OSError as error:
            raise can.CanOperationError(f"{self.serialPortOrig.port}: {error.strerror}") from error

    def _read_available(self) -> bytes:
        try:
            data = os.read(self.serialPortOrig.fileno(), 4096)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise can.CanOperationError(f"{self.serialPortOrig.port}: {error.strerror}") from error
        if not data and self._is_hung_up():
            raise can.CanOperationError(f"{self.serialPortOrig.port}: the adapter was unplugged")
        return data

    def _is_hung_up(self) -> bool:
        """Whether the device is gone: an empty read alone may be a select that woke up for nothing."""
        poll = select.poll()
        poll.register(self.serialPortOrig.fileno(), 0)
        return bool(poll.poll(0))
