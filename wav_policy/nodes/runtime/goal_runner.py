"""Hands goals to the control loop for `chunk_gateway`, and tells it where the motions are and how they end."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from wav_models.types import FloatArray
from wav_policy.control.calm_motion import Motion
from wav_policy.control.control_loop import SETTLE_TIMEOUT, ControlLoop
from wav_policy.control.joint_trajectory import GoalCode, GoalError, TrajectoryGoal
from wav_policy.nodes.messages.gateway_words import Cancel, Ended, Goal, GoalPart, HomeGoal, UnderWay, goal_of
from wav_policy.piper.absent_arm import ABSENT
from wav_policy.piper.errors import PiperError
from wav_policy.robot.joints import JOINT_NAMES

_PERIOD: Final = 0.05
"""Between two reports of a motion [s]."""


@dataclass(frozen=True)
class Configured:
    """What goals leave to the configuration.

    Attributes:
        home: pose, shape [14], rad and m.
        home_speed: on the way there [rad/s].
        gripper_effort: that grippers are told [N m].
        absent: the arm that is left out: "left", "right", or "" when both are there.
    """

    home: FloatArray
    home_speed: float
    gripper_effort: float
    absent: str = ""


@dataclass
class _Active:
    number: int
    loop: ControlLoop
    motion: Motion
    until: float
    is_cancelled: bool = False


class GoalRunner:
    """In a thread of its own, one goal after the other.

    Args:
        loop: the one there is; None while there is none.
        configured: what goals do not say.
        translate: a stamp in ROS time [s] to monotonic time.
        tell: tells the gateway; never waits.
        note: of the log.
    """

    def __init__(
        self,
        loop: Callable[[], ControlLoop | None],
        configured: Configured,
        translate: Callable[[float], float],
        tell: Callable[[UnderWay | Ended], None],
        note: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._configured = configured
        self._translate = translate
        self._tell = tell
        self._note = note
        self._words: queue.SimpleQueue[tuple[GoalPart | Cancel | None, float]] = queue.SimpleQueue()
        self._parts = b""
        self._active: _Active | None = None
        self._thread = threading.Thread(target=self._run, name="goals", daemon=True)
        self._thread.start()

    def hear(self, word: GoalPart | Cancel) -> None:
        """What the gateway says; from any thread, without waiting."""
        self._words.put((word, time.monotonic()))

    def close(self) -> None:
        """End the thread."""
        self._words.put((None, time.monotonic()))
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                word, heard = self._words.get(timeout=None if self._active is None else _PERIOD)
            except queue.Empty:
                pass
            else:
                if word is None:
                    return
                self._act(word, heard)
            self._report()

    def _act(self, word: GoalPart | Cancel, heard: float) -> None:
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
            self._begin(word.number, data, heard)

    def _begin(self, number: int, data: bytes, heard: float) -> None:
        try:
            loop = self._loop()
            if loop is None:
                raise GoalError(GoalCode.INVALID_GOAL, "piper_node is not configured")
            motion = self._start(loop, goal_of(data), heard)
        except Exception as error:  # whatever it is, the next goal and a cancel must be heard
            code = error.code if isinstance(error, GoalError) else GoalCode.INVALID_GOAL
            self._note(f"goal refused: {error}")
            self._tell(Ended(number, code, False, str(error)))
            return
        self._report()  # how the one before ended
        self._active = _Active(number, loop, motion, time.monotonic() + motion.patience + SETTLE_TIMEOUT)

    def _start(self, loop: ControlLoop, goal: Goal, heard: float) -> Motion:
        told = self._configured
        if isinstance(goal, HomeGoal):
            return loop.go_home(told.home, told.home_speed, heard)
        for joint in goal.joints if isinstance(goal, TrajectoryGoal) else [goal.joint]:
            name = JOINT_NAMES[joint]
            if told.absent and name.startswith(told.absent):
                raise GoalError(GoalCode.INVALID_JOINTS, f"{name}: the {told.absent} arm is {ABSENT}")
        if isinstance(goal, TrajectoryGoal):
            return loop.follow(replace(goal, start=self._translate(goal.start)), heard)
        if goal.effort < told.gripper_effort:
            text = f"effort {goal.effort:g} N m: grippers are told {told.gripper_effort:g} N m (arm.gripper_effort)"
            raise GoalError(GoalCode.INVALID_GOAL, text)
        return loop.grip(goal, heard)

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
        if not motion.has_ended and time.monotonic() > active.until:
            self._end(active, "it took too long")
        if not motion.has_ended:
            if motion.progress is not None:
                self._tell(UnderWay(active.number, motion.progress))
            return
        self._active = None
        if not motion.has_arrived:
            self._note(f"{motion.name} ended: {motion.why}")
        is_cancelled = active.is_cancelled and not motion.has_arrived
        code = GoalCode.SUCCESSFUL if is_cancelled else motion.code
        self._tell(Ended(active.number, code, is_cancelled, motion.why))
