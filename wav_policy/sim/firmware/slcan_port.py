"""A CAN adapter that speaks slcan text on a pseudo-terminal (the LAWICEL protocol, as python-can uses it).

A reader that falls behind must find recent feedback, not old: what waits in the terminal is bounded, the rest is
held here, and the oldest of it is dropped and counted.
"""

from __future__ import annotations

import array
import fcntl
import os
import re
import termios
import time
import tty
from collections import deque
from collections.abc import Iterable
from typing import Final

from wav_policy.piper.frames import Frame

_TERMINAL_LIMIT: Final = 2048  # bytes; the kernel's line buffer takes 4096
_HELD_FRAMES: Final = 64
_LINE_LIMIT: Final = 64  # bytes; the longest legal line has 31

_OK = b"\r"
_ERROR = b"\a"
_REPLIES: Final = {b"V": b"V1013\r", b"N": b"NWAV1\r"}
_SETTINGS: Final = b"sYMmWXQ"
_FRAME: Final = re.compile(rb"(t[0-9A-Fa-f]{3}|T[0-9A-Fa-f]{8})([0-8])((?:[0-9A-Fa-f]{2})*)")
_ARM_BITRATE: Final = b"8"  # 1 Mbit/s


class SlcanPort:
    """Controller side of the terminal.

    Attributes:
        path: the device a client opens.
        is_open: a client has opened the CAN channel (command O or L).
        dropped: feedback frames lost because the client did not read.
        garbled: lines that were no slcan command.
        flags: the adapter's answer to F, bits as the SJA1000's (bit 2 error warning, 5 error passive, 7 bus error).
        at_arm_bitrate: the client has set 1 Mbit/s, or nothing.
        time_stamps: frames end with four digits of milliseconds (command Z).
        obeys_z: some adapters do not.
    """

    def __init__(self) -> None:
        self._controller, self._client = os.openpty()
        tty.setraw(self._client)
        os.set_blocking(self._controller, False)
        self.path = os.ttyname(self._client)
        self.is_open = False
        self.dropped = 0
        self.garbled = 0
        self.flags = 0
        self.at_arm_bitrate = True
        self.time_stamps = False
        self.obeys_z = True
        self._received = bytearray()
        self._held: deque[bytes] = deque()
        self._unfinished = b""

    def fileno(self) -> int:
        """For select()."""
        return self._controller

    def receive(self) -> list[Frame]:
        """Frames the client sent since the last call; adapter commands are answered on the way."""
        while True:
            try:
                chunk = os.read(self._controller, 4096)
            except BlockingIOError:
                break
            self._received += chunk
            if len(chunk) < 4096:
                break
        *lines, rest = bytes(self._received).split(b"\r")
        self._received = bytearray(rest[-_LINE_LIMIT:])
        received = [self._obey(line) for line in lines]
        return [frame for frame in received if frame is not None]

    def send(self, frames: Iterable[Frame]) -> None:
        """Pass frames to the client, without ever blocking; does nothing while the channel is closed."""
        if not self.is_open:
            return
        stamp = b"%04X" % (int(1000 * time.monotonic()) % 60_000) if self.time_stamps else b""
        self._held.extend(b"t%03X8%s%s\r" % (identifier, data.hex().encode(), stamp) for identifier, data in frames)
        while len(self._held) > _HELD_FRAMES:
            self._held.popleft()
            self.dropped += 1
        self._flush()

    def close(self) -> None:
        """Close both ends; a client sees the adapter unplugged."""
        os.close(self._controller)
        os.close(self._client)

    def _flush(self) -> None:
        room = _TERMINAL_LIMIT - self._waiting()
        batch = self._unfinished
        while self._held and len(batch) + len(self._held[0]) <= room:
            batch += self._held.popleft()
        self._unfinished = batch[self._write(batch) :]

    def _waiting(self) -> int:
        count = array.array("i", [0])
        fcntl.ioctl(self._client, termios.FIONREAD, count)
        return count[0]

    def _write(self, data: bytes) -> int:
        if not data:
            return 0
        try:
            return os.write(self._controller, data)
        except BlockingIOError:
            return 0

    def _obey(self, line: bytes) -> Frame | None:
        command, argument = line[:1], line[1:]
        if command in (b"t", b"T"):
            return self._parse_frame(line)
        if command in (b"O", b"L", b"C"):
            self._set_open(command != b"C")
            self._write(_OK)
        elif command in _REPLIES and not argument:
            self._write(_REPLIES[command])
        elif command in (b"r", b"R"):
            pass  # remote frames: the arm answers none
        elif command == b"F" and not argument:
            self._write(b"F%02X\r" % self.flags)
        elif command == b"S":
            self.at_arm_bitrate = argument == _ARM_BITRATE
            self._write(_OK)
        elif command == b"Z" and argument in (b"0", b"1"):
            self.time_stamps = argument == b"1" if self.obeys_z else self.time_stamps
            self._write(_OK)
        elif not command or command in _SETTINGS:
            self._write(_OK)
        else:
            self.garbled += 1
            self._write(_ERROR)
        return None

    def _parse_frame(self, line: bytes) -> Frame | None:
        """`tIIILDD..`; data frames are not acknowledged, as with the common USB adapters."""
        found = _FRAME.fullmatch(line)
        if found is None or len(found[3]) != 2 * int(found[2]):
            self.garbled += 1
            return None
        return (int(found[1][1:], 16), bytes.fromhex(found[3].decode("ascii"))) if line[:1] == b"t" else None

    def _set_open(self, is_open: bool) -> None:
        """A new client must not read what was meant for the last one."""
        self.is_open = is_open
        self._held.clear()
        self._unfinished = b""
        termios.tcflush(self._client, termios.TCIFLUSH)
