"""Hands trajectories to the control loop for `chunk_gateway`, and tells it where they are and how they end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.followed_trajectory import FollowedTrajectory
from wav_policy.control.joint_trajectory import GoalCode, GoalError
from wav_policy.nodes.messages.gateway_words import Cancel, Ended, Following, GoalPart, goal_of
from wav_policy.piper.errors import PiperError

_PERIOD: Final = 0.05
"""Between two reports of a trajectory [s]."""


@dataclass
class _Active:
    number: int
    loop: ControlLoop
    motion: FollowedTrajectory
    is_cancelled: bool = False


class GoalRunner:
    """In a thread of its own, one goal after the other.

    Args:
        loop: the one there is; None while there is none.
        translate: a stamp in ROS time [s] to monotonic time.
        tell: tells the gateway; never waits.
        note: of the log.
    """

    def __init__(
        self,
        loop: Callable[[], ControlLoop | None],
        translate: Callable[[float], float],
        tell: Callable[[Following | Ended], None],
        note: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._translate = translate
        self._tell = tell
        self._note = note
        self._words: queue.SimpleQueue[GoalPart | Cancel | None] = queue.SimpleQueue()
        self._parts = b""
        self._active: _Active | None = None
        self._thread = threading.Thread(target=self._run, name="trajectories", daemon=True)
        self._thread.start()

    def hear(self, word: GoalPart | Cancel) -> None:
        """What the gateway says; from any thread, without waiting."""
        self._words.put(word)

    def close(self) -> None:
        """End the thread."""
        self._words.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                word = self._words.get(timeout=None if self._active is None else _PERIOD)
            except queue.Empty:
                pass
            else:
                if word is None:
                    return
                self._act(word)
            self._report()

    def _act(self, word: GoalPart | Cancel) -> None:
        if isinstance(word, Cancel):
            self._parts = b""
            active = self._active
            if active is not None and word.number in (active.number, 0):
                active.is_cancelled = word.number != 0
                self._end(active, word.reason)
            return
        self._parts += word.data
        if word.is_last:
            data, self._parts = self._parts, b""
            self._begin(word.number, data)

    def _begin(self, number: int, data: bytes) -> None:
        try:
            loop = self._loop()
            if loop is None:
                raise GoalError(GoalCode.INVALID_GOAL, "piper_node is not configured")
            goal = goal_of(data)
            motion = loop.follow(replace(goal, start=self._translate(goal.start)))
        except Exception as error:  # whatever it is, the next goal and a cancel must be heard
            code = error.code if isinstance(error, GoalError) else GoalCode.INVALID_GOAL
            self._note(f"trajectory refused: {error}")
            self._tell(Ended(number, code, False, str(error)))
            return
        self._report()  # how the one before ended
        self._active = _Active(number, loop, motion)

    def _end(self, active: _Active, reason: str) -> None:
        try:
            active.loop.end(active.motion, reason)
        except PiperError as error:  # of a loop that has failed, which brakes
            self._note(str(error))

    def _report(self) -> None:
        active = self._active
        if active is None:
            return
        motion = active.motion
        if not motion.has_ended:
            if motion.progress is not None:
                self._tell(Following(active.number, motion.progress))
            return
        self._active = None
        if not motion.has_arrived:
            self._note(f"trajectory ended: {motion.why}")
        is_cancelled = active.is_cancelled and not motion.has_arrived
        code = GoalCode.SUCCESSFUL if is_cancelled else motion.code
        self._tell(Ended(active.number, code, is_cancelled, motion.why))
