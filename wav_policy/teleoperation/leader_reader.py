"""Listens to one leader arm on its own bus; sends nothing.

A leader says where it is with the very frames that would command a follower (0x155-0x157, 0x159), and is silent while
it does not move: silence is no fault, a bus that is gone is one, and feedback of a follower on the same bus is one too.
What it says last before it rests stands for as long as it rests, so no frame is believed alone.
"""

from __future__ import annotations

import struct
import threading
import time

import numpy as np

from wav_models.types import FloatArray
from wav_policy.piper import units
from wav_policy.piper.adapters import find_channel
from wav_policy.piper.belief import Belief
from wav_policy.piper.bus import ArmBus, open_bus
from wav_policy.piper.errors import PiperError
from wav_policy.piper.frames import OFFSET_IDS, FrameId
from wav_policy.robot.joints import ARM_DOF

_RETRY_PERIOD = 0.5
"""Between attempts to open a bus that is gone [s]."""

_JOINT_FRAMES = (FrameId.JOINT_TARGET_12, FrameId.JOINT_TARGET_34, FrameId.JOINT_TARGET_56)
_FOLLOWER_FRAMES = frozenset(range(FrameId.STATUS, FrameId.GRIPPER + 1)) | OFFSET_IDS
_FOREIGN_PERIOD = 1.0
"""A follower sends hundreds of frames a second; one that was the last for so long was damage [s]."""
_COMPLETE = {*_JOINT_FRAMES, FrameId.GRIPPER_TARGET}


class LeaderReader:
    """The reading thread of one leader's bus; opens the bus again when it was lost.

    Args:
        side: "left" or "right"; names the arm in messages.
        interface: "socketcan" or "slcan".
        channel: such as "can_leader_left" or "/dev/ttyACM2".
        usb_serial: of the adapter, which is then found whatever it is called; "" believes the channel's name.

    Attributes:
        num_frames: frames that told joints or stroke.
        num_garbled: frames that could not be read.
    """

    def __init__(self, side: str, interface: str, channel: str, usb_serial: str = "") -> None:
        self.side = side
        self.num_frames = 0
        self.num_garbled = 0
        self._interface = interface
        self._channel = channel
        self._found_at = channel
        self._usb_serial = usb_serial
        self._bus: ArmBus | None = None
        self._lost = ""
        self._foreign_at = float("-inf")
        self._foreign_id = 0
        self._position = np.zeros(ARM_DOF)
        self._begin_anew()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{side} leader", daemon=True)

    def _begin_anew(self) -> None:
        self._seen: set[int] = set()
        self._joints = {number: Belief.of_joints(is_silent_at_rest=True) for number in _JOINT_FRAMES}
        self._stroke = Belief.of_stroke(is_silent_at_rest=True)

    def open(self) -> None:
        """Open the bus and begin to listen.

        Raises:
            PiperError: the bus cannot be opened; names the arm.
        """
        try:
            self._bus = self._open_bus()
        except PiperError as error:
            raise type(error)(f"{self.side} leader arm: {error}") from error
        self._thread.start()

    def _open_bus(self) -> ArmBus:
        self._found_at = find_channel(self._interface, self._channel, self._usb_serial)
        return open_bus(self._interface, self._found_at, f"{self.side} leader arm")

    def close(self) -> None:
        """End the thread and close the bus."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._bus is not None:
            self._bus.shutdown()
            self._bus = None

    @property
    def position(self) -> FloatArray | None:
        """Where the leader is: joints and stroke, shape [7], rad and m; None while nobody can know."""
        with self._lock:
            known = not self._lost and not self._is_shared and self._seen >= _COMPLETE
            return self._position.copy() if known else None

    @property
    def fault(self) -> str:
        """Why the position is not known, in words; "" while it is."""
        with self._lock:
            if self._lost:
                return f"{self.side} leader arm: bus lost ({self._lost}); plug it in again"
            if self._is_shared:
                return self._foreign_text()
            if not self._seen >= _COMPLETE:
                return f"{self.side} leader arm: not heard yet (it is silent at rest): move it and its gripper"
        return ""

    def take(self, identifier: int, data: bytes) -> None:
        """Understand one frame; unknown and damaged ones are counted or ignored, never fatal."""
        with self._lock:
            if identifier in _FOLLOWER_FRAMES:
                self._foreign_at, self._foreign_id = time.monotonic(), identifier
            elif identifier in _COMPLETE:
                try:
                    self._decode(identifier, data)
                except struct.error:
                    self.num_garbled += 1

    @property
    def _is_shared(self) -> bool:
        return time.monotonic() - self._foreign_at < _FOREIGN_PERIOD

    def _foreign_text(self) -> str:
        """Who it is shows once the leader is moved: a follower alone sends no targets."""
        arm, frame = f"{self.side} leader arm", f"frame {self._foreign_id:#x}"
        if self._seen:
            return (
                f"{arm}: there is a follower on its bus ({frame}): the leader would command it directly. Give every "
                "arm a bus of its own"
            )
        return (
            f"{arm}: the arm at '{self._found_at}' is set up as a follower ({frame}), or a follower shares the bus. "
            f"Make it a leader: `wav arm leader --channel {self._found_at}`, then switch its power off and on"
        )

    def _decode(self, identifier: int, data: bytes) -> None:
        self.num_frames += 1
        number, now = FrameId(identifier), time.monotonic()
        if number == FrameId.GRIPPER_TARGET:
            stroke = struct.unpack(">i4x", data)
            if not self._stroke.take(stroke, now):
                return
            self._position[-1] = units.metres_from_micrometres(stroke[0])
        else:
            angles = struct.unpack(">ii", data)
            if not self._joints[number].take(angles, now):
                return
            first = 2 * _JOINT_FRAMES.index(number)
            self._position[first : first + 2] = units.radians_from_millidegrees(angles)
        self._seen.add(identifier)

    def _run(self) -> None:
        while not self._stopping.is_set():
            if self._bus is None:
                self._reopen()
                continue
            bus, before = self._bus, self._bus.garbled
            try:
                arrived = bus.receive(0.1)
                self.num_garbled += bus.garbled - before
                for identifier, data in arrived:
                    self.take(identifier, data)
            except Exception as error:  # whatever it is, a leader that is not heard any more must not seem to rest
                self._lose(str(error))

    def _lose(self, reason: str) -> None:
        with self._lock:
            self._lost = reason
            self._begin_anew()
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.shutdown()

    def _reopen(self) -> None:
        try:
            self._bus = self._open_bus()
        except PiperError:
            self._stopping.wait(_RETRY_PERIOD)
            return
        with self._lock:
            self._lost, self._foreign_at = "", float("-inf")
            self._begin_anew()
