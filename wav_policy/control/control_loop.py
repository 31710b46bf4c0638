"""The one thread that commands the arms: chunk -> safety -> bus, at a fixed rate.

Every target passes `SafetyFilter.step`; there is no other caller of `write` but the enable procedure, which sends the
measured position back.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkError, ChunkExecutor, ChunkingConfig
from wav_policy.control.collision import make_checker
from wav_policy.control.loop_statistics import LoopReport, LoopStatistics
from wav_policy.control.minimum_jerk import MinimumJerkMotion
from wav_policy.control.safety import Cause, Intervention, SafetyDecision, SafetyFilter, SafetyLimits
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction
from wav_policy.robot.joints import GRIPPERS, REVOLUTE, SIDES

_NO_REASON_TO_HOLD = (Cause.LATE_TICK, Cause.CLOCK_STEP)
_SETTLED = 2e-5  # rad/s, m/s
_ARRIVED = 1e-4  # rad, m
_SETTLE_TIMEOUT = 2.0  # s; braking from 3 rad/s at 5 rad/s^2 takes 0.6 s
_PATIENCE = 1.5  # what a calm motion may take of its duration: late ticks are not made up for
_MOVED_AWAY = 0.02  # rad; an arm farther than this from its target after an inhibit is taken where it is
_RESTING = 0.05  # rad/s; an arm that lags by up to 0.4 s has then come nearer to its target than that


class Arms(Protocol):
    """What the loop needs of `BimanualPiper`."""

    def read(self) -> JointReading | None:
        """The newest feedback, however old; None while there is none."""

    def inhibit(self) -> Inhibit | None:
        """Why the arms must not be commanded; None when they may; the same object while nothing changes."""

    def write(self, position: FloatArray, mute: tuple[bool, bool]) -> tuple[bool, bool]:
        """Send targets, shape [14], but not to muted arms (left, right); per arm, whether its bus takes them."""


@dataclass(frozen=True)
class LoopState:
    """One look at the loop.

    Attributes:
        engaged: the loop commands the arms.
        holding: it commands them to stay.
        reason: why it holds or does not command, one word or phrase without changing numbers; "" while it follows.
        detail: the same with numbers.
        fault: the error that stopped the loop; "" without.
        rejected_chunk: why the newest chunk was not accepted; "" if it was.
        chunk_age: age of the observation behind the chunk in force [s]; None without.
        interventions: ticks with an intervention, by cause, since the last `engage`.
        newest: of every cause the newest, in words with joint and numbers.
        timing: punctuality.
    """

    engaged: bool
    holding: bool
    reason: str
    detail: str
    fault: str
    rejected_chunk: str
    chunk_age: float | None
    interventions: dict[str, int]
    newest: dict[str, str]
    timing: LoopReport


class ControlLoop:
    """Reads feedback always; commands only between `engage` and `disengage` or `trip`.

    Args:
        arms: connected arms.
        rate: ticks per second [Hz].
        limits: of the safety filter.
        on_fault: called in the loop's thread with the text of an error that stopped the loop.
        clock: same as the stamps of readings and chunks [s].
        on_inhibit: called in the loop's thread with why an arm must not be commanded, and "" when it may be again.
        statistics: of the ticks; one of its own if None.
        on_target: called in the loop's thread with every target that was sent, shape [14], and its time [s].
    """

    def __init__(
        self,
        arms: Arms,
        rate: float,
        limits: SafetyLimits,
        chunking: ChunkingConfig | None = None,
        on_fault: Callable[[str], None] = lambda fault: None,
        clock: Callable[[], float] = time.time,
        on_target: Callable[[FloatArray, float], None] = lambda target, now: None,
        on_inhibit: Callable[[str], None] = lambda text: None,
        statistics: LoopStatistics | None = None,
    ) -> None:
        self._arms = arms
        self._period = 1.0 / rate
        self._max_age = limits.max_measurement_age
        self._safety = SafetyFilter(limits, make_checker(limits))
        self._executor = ChunkExecutor(chunking)
        self._on_fault = on_fault
        self._on_inhibit = on_inhibit
        self._on_target = on_target
        self._clock = clock
        self._statistics = statistics or LoopStatistics()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control loop", daemon=True)

        self._engaged = False
        self._following = False
        self._motion: MinimumJerkMotion | None = None
        self._planning = threading.Lock()
        self._valid_from = -np.inf
        self._last_tick = np.inf
        self._decision: SafetyDecision | None = None
        self._fault = ""
        self._inhibit: Inhibit | None = None
        self._cut_off = False, False
        self._released: Inhibit | None = None
        self._rejected_chunk = ""
        self._interventions: collections.Counter[str] = collections.Counter()
        self._newest: dict[str, Intervention] = {}

    def start(self) -> None:
        """Begin to read; commands nothing before `engage`."""
        self._thread.start()

    def tick(self) -> None:
        """One control step, now. The thread that `start` begins calls it at the set rate."""
        try:
            self._control(self._clock())
        except Exception as error:  # whatever it is, the arms must not go on
            self._stop_on(f"{type(error).__name__}: {error}")

    def close(self) -> None:
        """End the thread. The arms keep their last target."""
        self._stopping.set()
        self._thread.join()

    def engage(self, were_ready: tuple[bool, bool] = (False, False)) -> None:
        """Command the arms from now on, starting from where they are; chunks planned earlier are not executed.

        Args:
            were_ready: per arm, whether it was under power all along: its gripper keeps holding what it holds.
        """
        self._interventions.clear()
        self._newest = {}
        self._rejected_chunk = ""
        self._motion = self._decision = self._inhibit = self._released = None
        self._cut_off = False, False
        self._start_afresh()
        self._safety.relatch([gripper for gripper, ready in zip(GRIPPERS, were_ready, strict=True) if ready])
        self._following = self._engaged = True

    def disengage(self) -> None:
        """Brake to rest, then stop commanding: the arms hold."""
        self._following = False
        deadline = time.monotonic() + _SETTLE_TIMEOUT
        while self._engaged and self._safety.speed > _SETTLED and time.monotonic() < deadline:
            time.sleep(self._period)
        self._engaged = False

    def trip(self, reason: str) -> None:
        """Stop commanding at once and until `reset`."""
        self._safety.trip(reason)
        self._engaged = self._following = False

    def reset(self) -> None:
        """Release the stop; commands nothing before `engage`."""
        self._engaged = self._following = False
        self._fault = ""
        self._inhibit = self._released = None
        self._cut_off = False, False
        self._start_afresh()
        self._safety.reset()

    @property
    def stop_reason(self) -> str | None:
        """Why the loop was stopped; None if it was not."""
        return self._safety.stop_reason

    def accept(self, chunk: ActionChunk) -> None:
        """Execute a chunk. One that is malformed also ends the one in force: its planner is not to be trusted."""
        now = self._clock()
        target = None if self._decision is None else self._decision.target
        try:
            with self._planning:
                if chunk.stamp < self._valid_from:
                    self._rejected_chunk = "planned before the arms were enabled, homed, held or back"
                    return
                accepted = self._executor.accept(chunk, now, target)
        except ChunkError as error:
            self.reject(str(error))
            return
        expired = chunk.times[-1] <= now
        self._rejected_chunk = "" if accepted else "came too late" if expired else "older than the one in force"

    def reject(self, reason: str) -> None:
        """Note a chunk that cannot be executed, and hold until a good one comes."""
        self._executor.clear()
        self._rejected_chunk = reason

    def hold(self, reason: str) -> None:
        """Brake and hold until a chunk comes that was planned after now; ends a calm motion."""
        self._start_afresh()
        self._motion = None
        self._rejected_chunk = reason

    def move_to(self, goal: FloatArray, speed: float) -> bool:
        """Move calmly to a pose, through the safety filter; chunks are ignored meanwhile. Blocks.

        Args:
            goal: shape [14], rad and m.
            speed: largest joint speed [rad/s], kept whatever delays the motion.

        Returns:
            Whether the target has arrived: not stopped, held, disengaged or redirected on the way.
        """
        if not (self._engaged and self._following):
            return False
        start = self._present_target()
        if start is None:
            return False
        motion = MinimumJerkMotion(start, goal, speed)
        self._motion = motion
        deadline = time.monotonic() + _PATIENCE * motion.duration + _SETTLE_TIMEOUT
        arrived = False
        while not arrived and self._motion is motion and self._engaged and time.monotonic() < deadline:
            time.sleep(self._period)
            arrived = self._rests_at(goal)
        if self._motion is motion:
            self._start_afresh()
            self._motion = None
        return arrived

    def park(self, pose: FloatArray, speed: float) -> bool:
        """As `move_to`, but the grippers stay as they are: what they hold is not dropped."""
        start = self._present_target()
        if start is None:
            return False
        goal = pose.copy()
        goal[GRIPPERS] = start[GRIPPERS]
        return self.move_to(goal, speed)

    def state(self) -> LoopState:
        """For diagnostics."""
        reason, detail = self._reason()
        stamp = self._executor.stamp
        return LoopState(
            engaged=self._engaged,
            holding=self._holding,
            reason=reason,
            detail=detail,
            fault=self._fault,
            rejected_chunk=self._rejected_chunk,
            chunk_age=None if stamp is None else self._clock() - stamp,
            interventions=dict(self._interventions),
            newest={cause: found.detail for cause, found in self._newest.copy().items()},
            timing=self._statistics.report(),
        )

    @property
    def _holding(self) -> bool:
        return not self._engaged or self._decision is None or self._decision.holding

    def _reason(self) -> tuple[str, str]:
        stop = self._safety.stop_reason
        if stop is not None:
            return "stopped", stop
        inhibit = self._released or self._inhibit
        if inhibit is not None:
            return inhibit.cause, inhibit.text
        if not self._engaged:
            return "not enabled", ""
        decision = self._decision
        if decision is None or not decision.holding or not decision.interventions:
            return "", ""
        causes = [found for found in decision.interventions if found.cause not in _NO_REASON_TO_HOLD]
        if not causes:
            return "", ""
        if causes[0].cause is Cause.NO_COMMAND and any(self._cut_off):
            cut_off = " and ".join(side for side, cut in zip(SIDES, self._cut_off, strict=True) if cut)
            return "targets missed", f"the {cut_off} arm missed targets: nothing moves before all is at rest"
        return causes[0].cause.value, causes[0].detail

    def _rests_at(self, goal: FloatArray) -> bool:
        decision = self._decision
        if decision is None or decision.target is None or self._safety.speed > _SETTLED:
            return False
        return bool(np.abs(decision.target - goal).max() < _ARRIVED)

    def _start_afresh(self) -> None:
        with self._planning:
            self._valid_from = self._clock()
            self._executor.clear()

    def _run(self) -> None:
        due, overrun = time.monotonic(), 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._statistics.tick(began, began - due + overrun)
            self.tick()
            due += self._period
            wait = due - time.monotonic()
            overrun = max(-wait, 0.0)
            due += overrun  # what is lost is not made up for
            if wait > 0:
                time.sleep(wait)

    def _control(self, now: float) -> None:
        elapsed = min(max(now - self._last_tick, 0.0), self._period)  # stalls and clock steps are not made up for
        if now < self._last_tick < np.inf:  # a clock that was set back would lead back along the chunk
            self._start_afresh()
        self._last_tick = now
        reading = self._arms.read()
        if not self._engaged:
            return
        self._notice_silence(now, reading)
        self._heed(self._arms.inhibit(), reading)
        command, stamp, velocity = self._command(now, elapsed)
        measured, measured_at = (None, now) if reading is None else (reading.position, reading.stamp)
        decision = self._safety.step(now, command, measured, measured_at, stamp, velocity)
        self._note(decision)
        if (self._released or self._safety.stop_reason) and self._safety.speed <= _SETTLED:
            self._engaged = False
        if decision.target is not None and self._engaged:
            took = self._arms.write(decision.target, self._cut_off)
            self._cut_off = self._cut_off[0] or not took[0], self._cut_off[1] or not took[1]
            self._on_target(decision.target, now)

    def _notice_silence(self, now: float, reading: JointReading | None) -> None:
        """An arm that is not heard may not hear either, and one whose bus takes no target does not. Its target goes on,
        so it gets none until all is at rest and the loop has gone on from where it is: it would jump."""
        if reading is not None:
            left, right = (abs(now - stamp) > self._max_age for stamp in reading.stamps)
            self._cut_off = self._cut_off[0] or left, self._cut_off[1] or right

    def _heed(self, inhibit: Inhibit | None, reading: JointReading | None) -> None:
        """Hold, release or stop while there is an inhibit or an arm is cut off, and then until all is at rest."""
        present = self._inhibit
        if inhibit is None and present is None and not any(self._cut_off):
            return
        if inhibit is None and self._is_at_rest(reading):
            self._go_on_from(reading)
            self._inhibit, self._cut_off = None, (False, False)
            if self._following and present is not None:
                self._on_inhibit("")
            return
        self._start_afresh()
        inhibit = inhibit or present
        if inhibit is None:
            return  # a calm motion waits
        self._motion = None
        if inhibit is not present:
            self._inhibit = inhibit
            self._on_inhibit(inhibit.text)
        self._react(inhibit)

    def _react(self, inhibit: Inhibit) -> None:
        """Beyond holding."""
        if inhibit.reaction == Reaction.RELEASE:
            self._following, self._released = False, inhibit
        elif inhibit.reaction >= Reaction.STOP:
            self._stop_on(inhibit.text)
        if inhibit.reaction == Reaction.SILENCE:
            self._engaged = False

    def _is_at_rest(self, reading: JointReading | None) -> bool:
        """Target and arms: an arm on its way lags its target, and is not to be mistaken for one that was moved."""
        if reading is None or self._safety.speed > _SETTLED or self._last_tick - reading.stamp > self._max_age:
            return False
        return bool(np.abs(reading.velocity[REVOLUTE]).max() < _RESTING)

    def _go_on_from(self, reading: JointReading | None) -> None:
        """The arms may have moved meanwhile, or missed targets; a gripper that stayed closed on something keeps its
        target."""
        target = self._decision.target if self._decision is not None else None
        if any(self._cut_off) or target is None or reading is None or _gap(reading.position, target) > _MOVED_AWAY:
            self._safety.relatch(GRIPPERS)

    def _present_target(self) -> FloatArray | None:
        if self._decision is not None and self._decision.target is not None:
            return self._decision.target
        reading = self._arms.read()
        return None if reading is None else reading.position

    def _command(self, now: float, elapsed: float) -> tuple[FloatArray | None, float | None, FloatArray | None]:
        """What to do, the time it stems from (None: made for this tick), how fast at most (None: as the limits allow).

        Args:
            now: of this tick [s].
            elapsed: since the last one, at most a period [s].
        """
        if not self._following or self._inhibit is not None or any(self._cut_off):
            return None, None, None
        motion = self._motion
        if motion is not None:
            return motion.advance(elapsed), None, motion.velocity
        command, stamp = self._executor.sample(now), self._executor.stamp
        if command is not None and stamp is not None:
            self._statistics.chunk_age(now - stamp)
        return command, stamp, None

    def _note(self, decision: SafetyDecision) -> None:
        self._decision = decision
        for intervention in decision.interventions:
            self._interventions[intervention.cause.value] += 1
            self._newest[intervention.cause.value] = intervention

    def _stop_on(self, fault: str) -> None:
        """Latch the stop; further ticks brake to rest, as far as they still work, then command no more."""
        self._safety.trip(fault)
        self._following = False
        if not self._fault:
            self._fault = fault
            self._on_fault(fault)


def _gap(position: FloatArray, target: FloatArray) -> float:
    """The largest of all joints but the grippers [rad]."""
    return float(np.abs(position - target)[REVOLUTE].max())
