"""A motion that somebody waits for, and the calm one to a pose."""

from __future__ import annotations

import threading
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.control.joint_trajectory import GoalCode, Progress
from wav_policy.control.minimum_jerk import MinimumJerkMotion
from wav_policy.piper.bimanual import JointReading

PATIENCE = 1.5
"""What a calm motion may take of its duration: late ticks are not made up for."""
_ARRIVED = 1e-4  # rad, m
HOME: Final = "piper/home"
PARKING: Final = "parking"


class Motion:
    """Moved by the control loop's thread; any other may wait. It has a time of its own, which only `advance` moves.

    Args:
        name: of whoever has the arms meanwhile.
        goal: where it leads, shape [14], rad and m.

    Attributes:
        name: that.
        can_pause: it goes on once what was in the way is gone, and makes way for no other; else what is in its way, or
            another motion, ends it.
        velocity: largest speed of every joint, shape [14], rad/s and m/s; None: as the limits allow.
        patience: what it may take, but for settling [s].
        progress: at the newest tick; None before the first.
        has_arrived: it ended at its goal.
        why: it ended elsewhere.
    """

    can_pause = True
    velocity: FloatArray | None = None
    patience = np.inf

    def __init__(self, name: str, goal: FloatArray) -> None:
        self.name = name
        self.progress: Progress | None = None
        self.has_arrived = False
        self.why = ""
        self._failure = GoalCode.INVALID_GOAL
        self._goal = goal
        self._ended = threading.Event()

    def advance(self, elapsed: float) -> FloatArray:
        """Where to be `elapsed` [s] later, shape [14]."""
        raise NotImplementedError

    def judge(self, target: FloatArray | None, rests: bool, reading: JointReading | None, blocked: str) -> bool | None:
        """Whether it has arrived (True) or failed (False); None while it is under way.

        Args:
            target: sent at this tick, shape [14].
            rests: whether that is at rest.
            reading: of the arms.
            blocked: why the safety filter does not follow; "" while it does.
        """
        return True if rests and self.is_goal(target) else None

    def is_goal(self, target: FloatArray | None) -> bool:
        """Whether a target, shape [14], is the goal."""
        return target is not None and bool(np.abs(target - self._goal).max() < _ARRIVED)

    def end(self, has_arrived: bool, why: str = "") -> None:
        """It is over; the first word stands."""
        if not self._ended.is_set():
            self.has_arrived, self.why = has_arrived, self.why or why
            self._ended.set()

    @property
    def code(self) -> GoalCode:
        """How it ended; INVALID_GOAL where something else ended it."""
        return GoalCode.SUCCESSFUL if self.has_arrived else self._failure

    @property
    def has_ended(self) -> bool:
        """Whether it is over."""
        return self._ended.is_set()

    def _fail(self, code: GoalCode, why: str) -> bool:
        self._failure, self.why = code, why
        return False


class CalmMotion(Motion):
    """The minimum-jerk straight line from rest to rest; arguments as of `MinimumJerkMotion`.

    Attributes:
        duration: [s].
    """

    def __init__(self, name: str, start: FloatArray, goal: FloatArray, speed: float) -> None:
        super().__init__(name, goal)
        self._line = MinimumJerkMotion(start, goal, speed)
        self.velocity = self._line.velocity
        self.duration = self._line.duration
        self.patience = PATIENCE * self.duration
        self._elapsed = 0.0
        self._wanted = np.stack([start, np.zeros_like(start)])

    def advance(self, elapsed: float) -> FloatArray:
        """See `Motion`."""
        self._elapsed += elapsed
        self._wanted = np.stack(self._line.advance(elapsed))
        return self._wanted[0]

    def judge(self, target: FloatArray | None, rests: bool, reading: JointReading | None, blocked: str) -> bool | None:
        """See `Motion`."""
        if reading is not None:
            self.progress = Progress(self._elapsed, self._wanted, np.stack([reading.position, reading.velocity]))
        return super().judge(target, rests, reading, blocked)

    def wait(self, settling: float) -> bool:
        """Whether it was over within its patience and `settling` [s]."""
        return self._ended.wait(self.patience + settling)
