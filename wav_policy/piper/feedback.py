"""Reads one arm's bus: hands every frame to piper_sdk and keeps what piper_sdk does not.

piper_sdk's own reading thread ends at the first frame it cannot decode, and the objects its getters return change
while they are read. Here a bad frame is counted, and a joint reading is taken when all six joints are in.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import can
import numpy as np
from piper_sdk import C_PiperInterface_V2

from wav_models.types import ARM_DOF, FloatArray
from wav_policy.piper import units
from wav_policy.piper.frames import FrameId

_VELOCITY_WINDOW = 0.03  # s; one count of 0.001 deg over this is 0.0006 rad/s
_OFFSET_IDS = range(0x3A1, 0x3A9)


@dataclass(frozen=True)
class ArmFeedback:
    """One consistent reading of an arm.

    Attributes:
        position: six joints [rad], gripper stroke [m]; shape [7].
        velocity: differences of the positions over at least 30 ms, shape [7], rad/s and m/s.
        stamp: when the last of the six joints arrived [s].
    """

    position: FloatArray
    velocity: FloatArray
    stamp: float


class FeedbackReader:
    """The reading thread of one bus; calls `on_feedback` after every reading.

    Attributes:
        latest: the newest reading; None before the first.
        undecodable: frames the SDK could not decode; `last_error` says why for the newest.
        offset_frames: feedback seen on the 0x3A* identifiers.
        seen: identifiers of all frames so far.
        lost: why the bus is gone; None while it is there.
    """

    def __init__(
        self,
        bus: can.BusABC,
        sdk: C_PiperInterface_V2,
        name: str,
        clock: Callable[[], float],
        on_feedback: Callable[[], None],
    ) -> None:
        self.latest: ArmFeedback | None = None
        self.undecodable = 0
        self.offset_frames = 0
        self.seen: set[int] = set()
        self.last_error = ""
        self.lost: str | None = None
        self._bus = bus
        self._sdk = sdk
        self._clock = clock
        self._on_feedback = on_feedback
        self._history: deque[tuple[float, FloatArray]] = deque(maxlen=32)
        self._stamps: deque[float] = deque(maxlen=100)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} feedback", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    @property
    def rate(self) -> float:
        """Readings per second over the last hundred [Hz]; 0 when they ended over a second ago."""
        stamps = list(self._stamps)
        if len(stamps) < 2 or self._clock() - stamps[-1] > 1.0 or stamps[-1] <= stamps[0]:
            return 0.0
        return (len(stamps) - 1) / (stamps[-1] - stamps[0])

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._bus.recv(timeout=0.1)
            except (can.CanError, OSError) as error:
                self.lost = str(error)
                return
            except (ValueError, IndexError) as error:  # a garbled slcan line
                self._note(f"garbled line: {error}")
                continue
            if message is not None:
                self._take(message)

    def _take(self, message: can.Message) -> None:
        try:
            self._sdk.ParseCANFrame(message)
        except Exception as error:  # the SDK raises many kinds; none may end the reading
            self._note(f"frame {message.arbitration_id:#x} {message.data.hex()}: {error}")
            return
        self.seen.add(message.arbitration_id)
        if message.arbitration_id == FrameId.JOINTS_56 and FrameId.GRIPPER in self.seen:
            self._snapshot()
            self._on_feedback()
        elif message.arbitration_id in _OFFSET_IDS:
            self.offset_frames += 1

    def _snapshot(self) -> None:
        """All six joints are in: 0x2A7 comes last of the three."""
        joints = self._sdk.GetArmJointMsgs().joint_state
        counts = (joints.joint_1, joints.joint_2, joints.joint_3, joints.joint_4, joints.joint_5, joints.joint_6)
        position = np.empty(ARM_DOF)
        position[:-1] = units.radians_from_millidegrees(counts)
        position[-1] = units.metres_from_micrometres(self._sdk.GetArmGripperMsgs().gripper_state.grippers_angle)
        now = self._clock()
        self._history.append((now, position))
        self.latest = ArmFeedback(position, self._velocity(now, position), now)
        self._stamps.append(now)

    def _velocity(self, now: float, position: FloatArray) -> FloatArray:
        while len(self._history) > 2 and now - self._history[1][0] >= _VELOCITY_WINDOW:
            self._history.popleft()
        then, before = self._history[0]
        return (position - before) / (now - then) if now > then else np.zeros(ARM_DOF)

    def _note(self, error: str) -> None:
        self.undecodable += 1
        self.last_error = error
