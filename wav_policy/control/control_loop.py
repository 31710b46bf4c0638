"""The one thread that commands the arms: chunk -> safety -> bus, at a fixed rate.

Every target passes `SafetyFilter.step`; there is no other caller of `write` but the enable procedure, which sends the
measured position back.

One rule for threads: what others ask for is posted (`mailbox`), and only the loop's own thread acts and changes the
state. A loop that was not started, or was closed, has no thread: then the caller's is it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.arms import Arms
from wav_policy.control.calm_motion import HOME, PARKING, CalmMotion, Motion
from wav_policy.control.chunk_executor import ChunkingConfig
from wav_policy.control.collision import make_checker
from wav_policy.control.command_source import CommandSource
from wav_policy.control.followed_trajectory import FollowedTrajectory
from wav_policy.control.gripper_motion import GripperGoal, GripperMotion
from wav_policy.control.interventions import Tally
from wav_policy.control.joint_trajectory import GoalCode, GoalError, Reachable, TrajectoryGoal, make_path
from wav_policy.control.loop_phases import TRANSITIONS, TRIGGERS, Phase, Trigger
from wav_policy.control.loop_state import LoopState, missed_targets, why_holding
from wav_policy.control.loop_statistics import LoopStatistics
from wav_policy.control.loop_thread import LoopThread
from wav_policy.control.reach import Reach
from wav_policy.control.safety import Cause, SafetyDecision, SafetyFilter, SafetyLimits
from wav_policy.control.stamp_clock import ClockWatch, StampClock
from wav_policy.control.tracking import Tracking, Whereabouts, jump_text
from wav_policy.control.trusted_readings import TrustedReadings
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import RESET_REMEDY, Inhibit, Reaction
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, REVOLUTE

SETTLE_TIMEOUT: Final = 2.0
"""Longest wait for the target to rest [s]; braking from 3 rad/s at 5 rad/s^2 takes 0.6 s."""
_AnyMotion = TypeVar("_AnyMotion", bound=Motion)
_MEASURING: Final = 0.5
"""Longest wait for the first target after arms were enabled [s]: it takes two readings that agree."""
_SETTLED = 2e-5  # rad/s, m/s
_RELATCHED = 0.02  # rad; farther than this from their targets arms are taken where they are after an inhibit
_RESTING = 0.05  # rad/s; an arm that lags by up to 0.4 s has then come nearer to its target than that


class ControlLoop:
    """Reads feedback always; commands only between `engage` and `disengage` or `trip`.

    Its state is a `Phase`. What every `Trigger` makes of it; a pair that is not here leaves the phase as it is:

    | phase | trigger | next phase |
    |---|---|---|
    | IDLE, MOVING, WAITING, PAUSED, HELD, LEAVING, RELEASING, RELEASED | ENGAGE | FOLLOWING |
    | FOLLOWING | MOVE | MOVING |
    | MOVING | HOLD, ARRIVE | FOLLOWING |
    | MOVING | INTERRUPT | PAUSED |
    | FOLLOWING | INTERRUPT | WAITING |
    | FOLLOWING, MOVING, PAUSED | INHIBIT | WAITING |
    | PAUSED | HOLD, ARRIVE | WAITING |
    | WAITING | CLEAR | FOLLOWING |
    | PAUSED | CLEAR | MOVING |
    | FOLLOWING, MOVING | LAG | HELD |
    | FOLLOWING, MOVING, WAITING, PAUSED | JUMP | HELD |
    | WAITING, PAUSED, HELD | MOVED | RELEASED |
    | FOLLOWING, MOVING, WAITING, PAUSED, HELD | DISENGAGE | LEAVING |
    | LEAVING | REST | IDLE |
    | FOLLOWING, MOVING, WAITING, PAUSED, HELD, LEAVING | RELEASE | RELEASING |
    | RELEASING | REST | RELEASED |
    | FOLLOWING, MOVING, WAITING, PAUSED, HELD, LEAVING, RELEASING | FAULT | STOPPING |
    | STOPPING | REST | STOPPED |
    | FOLLOWING, MOVING, WAITING, PAUSED, HELD, LEAVING, RELEASING, STOPPING | TRIP, SILENCE | STOPPED |
    | IDLE, RELEASED | FAULT, TRIP | STOPPED |
    | FOLLOWING, MOVING, WAITING, PAUSED, HELD, LEAVING, RELEASING, RELEASED, STOPPING, STOPPED | RESET | IDLE |

    Args:
        arms: connected arms.
        rate: ticks per second [Hz].
        limits: of the safety filter.
        on_fault: called in the loop's thread with the text of an error that stopped the loop.
        clock: monotonic [s]; of ticks, and of the stamps of readings and chunks.
        on_inhibit: called in the loop's thread with why an arm must not be commanded, and "" when it may be again.
        on_hold: called in the loop's thread when the safety filter begins to hold, with the reason in a word or phrase
            and its details.
        statistics: of the ticks; one of its own if None.
        on_target: called in the loop's thread with every target that was sent, shape [14], and its time [s].
        stamps: the arms hold when it steps; None: nothing has stamps of another clock.
        reach: of the arms, from their flash.
    """

    def __init__(
        self,
        arms: Arms,
        rate: float,
        limits: SafetyLimits,
        chunking: ChunkingConfig | None = None,
        on_fault: Callable[[str], None] = lambda fault: None,
        clock: Callable[[], float] = time.monotonic,
        on_target: Callable[[FloatArray, float], None] = lambda target, now: None,
        on_inhibit: Callable[[str], None] = lambda text: None,
        statistics: LoopStatistics | None = None,
        stamps: StampClock | None = None,
        reach: Reach | None = None,
        on_hold: Callable[[str, str], None] = lambda reason, detail: None,
    ) -> None:
        self._arms = arms
        self._period = 1.0 / rate
        self._max_age = limits.max_measurement_age
        self._safety = SafetyFilter(limits, make_checker(limits), reach)
        self._reachable = Reachable.of(*self._safety.bounds, limits)
        self._on_fault = on_fault
        self._on_inhibit = on_inhibit
        self._on_hold = on_hold
        self._on_target = on_target
        self._clock = clock
        self._statistics = statistics or LoopStatistics()
        self._source = CommandSource(chunking, clock, self._statistics)
        self._readings = TrustedReadings(self._max_age)
        self._tracking = Tracking()
        self._whereabouts = Whereabouts()
        self._is_silent = threading.Event()
        self._is_silent.set()
        self._held_at = -np.inf
        self._has_target = threading.Event()
        self._thread = LoopThread("control loop", self._period, self.tick, self._fail, self._statistics)

        self._phase = Phase.IDLE
        self._last_tick = np.inf
        self._decision: SafetyDecision | None = None
        self._holds_for = Cause.NO_COMMAND.value
        self._fault = ""
        self._inhibit: Inhibit | None = None
        self._needs_enable: Inhibit | None = None
        self._cut_off = False, False
        self._is_off = np.zeros(JOINT_DIM, dtype=bool)  # grippers without power
        self._tally = Tally()
        self._clock_watch = None if stamps is None else ClockWatch(stamps, self._tally)

    # For any thread

    def start(self) -> None:
        """Begin to read; commands nothing before `engage`."""
        self._thread.start()

    def tick(self) -> None:
        """One control step, now. The thread that `start` begins calls it at the set rate."""
        try:
            self._control(self._clock())
        except Exception as error:  # whatever it is, the arms must not go on
            self._fail(error)

    def close(self) -> None:
        """End the thread. The arms keep their last target."""
        self._thread.close()
        self._source.end_motion("the control loop was closed")

    def engage(self, were_ready: tuple[bool, bool] = (False, False)) -> bool:
        """Command the arms from now on, starting from where they are; chunks planned earlier are not executed. Waits
        until they have been measured.

        Args:
            were_ready: per arm, whether it was under power all along: its gripper keeps holding what it holds.

        Returns:
            False, and nothing is commanded, if the loop is stopped.
        """
        is_engaged = self._thread.ask(lambda: self._engage(were_ready))
        if is_engaged and self._thread.is_running:
            self._has_target.wait(_MEASURING)
        return is_engaged

    def disengage(self) -> None:
        """Brake until target and arms rest, then stop commanding: the arms hold. A loop that does not answer does so
        before all else."""
        self._thread.urge(lambda: self._go(Trigger.DISENGAGE))
        if self._thread.is_running:
            self._is_silent.wait(SETTLE_TIMEOUT)
        self._thread.urge(lambda: self._go(Trigger.REST))

    def trip(self, reason: str) -> None:
        """Stop commanding at once and until `reset`. A loop that does not answer sends nothing more either."""
        self._thread.urge(lambda: self._trip(reason))

    def reset(self, is_stopped_anew: Callable[[], bool] = lambda: False) -> bool:
        """Release the stop; commands nothing before `engage`.

        Args:
            is_stopped_anew: asked in the loop's thread: a stop that came meanwhile stands, though it may still be on
                its way here.

        Returns:
            Whether it was released.
        """
        return self._thread.ask(lambda: self._reset(is_stopped_anew))

    @property
    def stop_reason(self) -> str | None:
        """Why the loop was stopped; None if it was not."""
        return self._safety.stop_reason

    def accept(self, chunk: ActionChunk) -> None:
        """Execute a chunk, soon. One that is malformed also ends the one in force: its planner is not to be trusted."""
        self._thread.offer(lambda: self._source.accept(chunk, self._newest_target))

    def reject(self, reason: str) -> None:
        """Note a chunk that cannot be executed, and hold until a good one comes."""
        self._thread.offer(lambda: self._source.reject(reason))

    def hold(self, reason: str) -> None:
        """Brake and hold until a chunk comes that was planned after now; ends a calm motion."""
        self._thread.ask(lambda: self._hold(reason))

    def move_to(self, goal: FloatArray, speed: float, asked: float = np.inf) -> bool:
        """Move calmly to a pose, through the safety filter; chunks are ignored meanwhile. Blocks.

        Args:
            goal: shape [14], rad and m; where the arms cannot get there, as near to it as their limits are.
            speed: largest joint speed [rad/s], kept whatever delays the motion.
            asked: when somebody asked for it, monotonic [s]: not done where a hold or a stop came since. So below.

        Returns:
            Whether the target has arrived: not stopped, held, disengaged or interrupted on the way.
        """
        return self._travel(goal, speed, asked, keeps_grippers=False)

    def park(self, pose: FloatArray, speed: float, asked: float = np.inf) -> bool:
        """As `move_to`, but the grippers stay as they are: what they hold is not dropped."""
        return self._travel(pose, speed, asked, keeps_grippers=True)

    def follow(self, goal: TrajectoryGoal, asked: float = np.inf) -> FollowedTrajectory:
        """Follow a trajectory from now on, instead of the one that is followed; chunks are refused meanwhile. What
        makes the arms hold ends it, and so do `hold`, `move_to` and `park`.

        Args:
            goal: what is wanted; its start in monotonic time [s].

        Raises:
            GoalError: it is not followed; the one that is goes on.
        """
        start = self._present_target()
        if start is not None:  # the loop must not wait while all of a long path is held against the limits
            make_path(goal, goal.elapsed(self._clock()), start, self._safety.velocity, self._reachable)
        return self._take_over(
            lambda target: FollowedTrajectory(
                goal, goal.elapsed(self._clock()), target, self._safety.velocity, self._reachable
            ),
            asked,
        )

    def grip(self, goal: GripperGoal, asked: float = np.inf) -> GripperMotion:
        """Open or close a gripper, as `follow` follows a trajectory.

        Raises:
            GoalError: nothing is done; what is under way goes on.
        """
        return self._take_over(
            lambda target: GripperMotion(goal, target, self._safety.velocity, self._reachable), asked
        )

    def go_home(self, pose: FloatArray, speed: float, asked: float = np.inf) -> CalmMotion:
        """Begin what `move_to` does, instead of a goal that is followed, and do not wait for it.

        Raises:
            GoalError: nothing is done; what is under way goes on.
        """
        pose = np.clip(pose, *self._safety.bounds)
        return self._take_over(lambda target: CalmMotion(HOME, target, pose, speed), asked)

    def end(self, motion: Motion, why: str) -> None:
        """Brake and hold, if that motion is still under way."""
        self._thread.ask(lambda: self._finish(motion, has_arrived=False, why=why))

    def state(self) -> LoopState:
        """For diagnostics."""
        reason, detail = self._reason()
        stamp, decision, phase = self._source.stamp, self._decision, self._phase
        return LoopState(
            phase=phase,
            engaged=phase.commands,
            holding=not phase.commands or decision is None or decision.holding,
            reason=reason,
            detail=detail,
            fault=self._fault,
            rejected_chunk=self._source.rejected_chunk,
            chunk_age=None if stamp is None else self._clock() - stamp,
            interventions=self._tally.counts,
            newest=self._tally.newest,
            timing=self._statistics.report(),
            tracking=self._tracking.report,
            commander=self._source.name(phase),
        )

    def _reason(self) -> tuple[str, str]:
        stop = self._safety.stop_reason
        if stop is not None:
            return "stopped", stop
        inhibit = self._needs_enable or self._inhibit
        if inhibit is not None:
            return inhibit.cause, inhibit.text
        if not self._phase.commands:
            return "not enabled", ""
        return why_holding(self._decision, self._cut_off)

    def _take_over(self, begin: Callable[[FloatArray], _AnyMotion], asked: float) -> _AnyMotion:
        answer = self._thread.ask(lambda: self._begin_goal(begin, asked))
        if isinstance(answer, GoalError):
            raise answer
        return answer

    def _travel(self, goal: FloatArray, speed: float, asked: float, keeps_grippers: bool) -> bool:
        motion = self._thread.ask(lambda: None if asked < self._held_at else self._begin(goal, speed, keeps_grippers))
        if motion is None:
            return False
        if not motion.wait(SETTLE_TIMEOUT):
            self.end(motion, "it took too long")
        return motion.has_arrived

    # For the loop's thread only

    def _go(self, trigger: Trigger, why: str = "") -> bool:
        """Change the phase as the table says; whether it says anything. `why` is told to whoever waits for a motion
        that this ends."""
        phase = TRANSITIONS.get((self._phase, trigger))
        if phase is None:
            return False
        self._phase = phase
        if phase not in (Phase.MOVING, Phase.PAUSED):
            self._source.end_motion(why or self._reason()[1] or trigger.value)
        if phase.commands:
            self._is_silent.clear()
        else:
            self._is_silent.set()
        return True

    def _engage(self, were_ready: tuple[bool, bool]) -> bool:
        if self._phase.is_stopped:
            return False
        self._tally.clear()
        self._source.rejected_chunk = ""
        self._begin_anew()
        self._safety.relatch([gripper for gripper, ready in zip(GRIPPERS, were_ready, strict=True) if ready])
        self._go(Trigger.ENGAGE)
        return True

    def _reset(self, is_stopped_anew: Callable[[], bool]) -> bool:
        if is_stopped_anew():
            return False
        self._fault = ""
        self._begin_anew()
        self._safety.reset()
        self._go(Trigger.RESET)
        return True

    def _begin_anew(self) -> None:
        self._held_at = self._clock()
        self._decision = self._inhibit = self._needs_enable = None
        self._holds_for = Cause.NO_COMMAND.value
        self._has_target.clear()
        self._cut_off = False, False
        self._source.drop_plans()
        self._readings.forget()
        self._tracking.forget()
        self._whereabouts.forget()

    def _trip(self, reason: str) -> None:
        self._safety.trip(reason)
        self._go(Trigger.TRIP)

    def _hold(self, reason: str) -> None:
        self._held_at = self._clock()
        self._source.drop_plans()
        self._go(Trigger.HOLD, reason)
        self._source.rejected_chunk = reason

    def _begin(self, goal: FloatArray, speed: float, keeps_grippers: bool) -> CalmMotion | None:
        start = self._present_target()
        name = PARKING if keeps_grippers else HOME
        if self._source.motion is not None:
            self._finish(self._source.motion, has_arrived=False, why=f"{name} has the arms now")
        if start is None or not self._go(Trigger.MOVE):
            return None
        goal = np.clip(goal, *self._safety.bounds)
        if keeps_grippers:
            goal[GRIPPERS] = start[GRIPPERS]
        motion = self._source.motion = CalmMotion(name, start, goal, speed)
        return motion

    def _begin_goal(self, begin: Callable[[FloatArray], _AnyMotion], asked: float) -> _AnyMotion | GoalError:
        start, why = self._newest_target, self._why_not_to_follow()
        if asked < self._held_at:
            why = why or "the arms were held, stopped or enabled while this waited; ask again if it is still wanted"
        if start is None or why:
            return GoalError(GoalCode.INVALID_GOAL, why or "the arms have not been measured yet")
        try:
            motion = begin(start)
        except GoalError as error:
            return error
        self._end_trajectory("replaced by a newer goal")
        self._source.drop_plans()
        self._go(Trigger.MOVE)
        self._source.motion = motion
        return motion

    def _why_not_to_follow(self) -> str:
        """Why no trajectory may begin; "" where one may."""
        motion = self._source.motion
        if motion is not None and motion.can_pause:
            return f"{motion.name} has the arms"
        if self._phase not in (Phase.FOLLOWING, Phase.MOVING):
            reason, detail = self._reason()
            return f"the arms are not to be moved: {detail or reason or self._phase.value}"
        return ""

    def _end_trajectory(self, why: str) -> None:
        motion = self._source.motion
        if motion is not None and not motion.can_pause:
            self._finish(motion, has_arrived=False, why=why)

    def _finish(self, motion: Motion, has_arrived: bool, why: str = "") -> None:
        if self._source.motion is motion:
            motion.end(has_arrived, why)
            self._source.drop_plans()
            self._go(Trigger.ARRIVE)

    def _control(self, now: float) -> None:
        elapsed = max(now - self._last_tick, 0.0)
        if elapsed > self._safety.limits.max_tick:
            elapsed = self._period  # such a tick continues from rest, and is not made up for
        self._last_tick = now
        clock_inhibit = None if self._clock_watch is None else self._clock_watch.look(now)
        reading = self._readings.take(self._arms.read())
        if not self._phase.commands:
            return
        self._notice_silence(now, reading)
        self._notice_jump(reading)
        self._notice_grippers(reading)
        self._heed(self._arms.inhibit() or clock_inhibit, reading)
        command, stamp, velocity = self._source.command(self._phase, now, elapsed)
        measured, measured_at = (None, now) if reading is None else (reading.position, reading.stamp)
        decision = self._safety.step(now, command, measured, measured_at, stamp, velocity)
        self._decision = decision
        if decision.target is not None and not self._has_target.is_set():
            self._has_target.set()
        self._tally.count(decision.interventions)
        self._tell_hold(decision)
        rests = self._safety.speed <= _SETTLED
        if rests and self._phase in (Phase.RELEASING, Phase.STOPPING):
            self._go(Trigger.REST)  # not one more target
        if self._source.motion is not None:
            blocked = ": ".join(filter(None, why_holding(decision, self._cut_off)))
            verdict = self._source.motion.judge(decision.target, rests, reading, blocked)
            if verdict is not None:
                self._finish(self._source.motion, verdict)
        if decision.target is not None and self._phase.commands and not self._thread.must_hurry:
            self._send(now, self._supervise(decision.target, reading))
        if rests and self._phase is Phase.LEAVING and not self._is_moving(reading):
            self._go(Trigger.REST)

    def _tell_hold(self, decision: SafetyDecision) -> None:
        """Why the filter begins to hold. Not that a chunk has come to its end, nor what is told where it is found."""
        if decision.target is None:
            return
        reason, detail = why_holding(decision, self._cut_off)
        before, self._holds_for = self._holds_for, reason
        if reason in ("", before) or self._inhibit or self._needs_enable or self._phase.brakes:
            return
        if reason == Cause.NO_COMMAND.value:
            detail = "" if before else self._source.rejected_chunk
        if detail:
            self._on_hold(reason, detail)

    def _send(self, now: float, target: FloatArray) -> None:
        took = self._arms.write(target, self._cut_off)
        self._whereabouts.sent(target, self._cut_off, took)
        self._statistics.wrote(now, self._clock())
        self._cut_off = self._cut_off[0] or not took[0], self._cut_off[1] or not took[1]
        self._on_target(target, now)

    def _notice_silence(self, now: float, reading: JointReading | None) -> None:
        """An arm that is not heard may not hear either, and one whose bus takes no target does not. Its target goes on,
        so it gets none until all is at rest and the loop has gone on from where it is: it would jump."""
        if reading is not None:
            left, right = (now - stamp > self._max_age for stamp in reading.stamps)
            self._cut_off = self._cut_off[0] or left, self._cut_off[1] or right

    def _notice_jump(self, reading: JointReading | None) -> None:
        """A joint that lost its zero says that it is elsewhere than it is: it would run after its target."""
        jumped = self._readings.jumped.copy()
        jumped[GRIPPERS] = False
        if reading is None or not jumped.any():
            return
        self._whereabouts.jumped(jumped, reading.position)
        self._take_where_they_are(jumped, reading)
        self._require_enable(Trigger.JUMP, "jumped", jump_text(int(jumped.argmax()), reading.position))

    def _notice_grippers(self, reading: JointReading | None) -> None:
        """One that gets its power back goes on from where it is: it would close at once, on whoever has freed it."""
        if reading is None:
            return
        was_off, self._is_off = self._is_off, np.zeros(JOINT_DIM, dtype=bool)
        self._is_off[GRIPPERS] = reading.grippers_off
        is_back = was_off & ~self._is_off
        if is_back.any():
            self._safety.displace(is_back, reading.position)

    def _take_where_they_are(self, joints: NDArray[np.bool_], reading: JointReading) -> None:
        """These joints, shape [14], at rest; the others go on as they were."""
        self._safety.displace(joints, reading.position)
        self._tracking.forget()

    def _heed(self, inhibit: Inhibit | None, reading: JointReading | None) -> None:
        """Hold, release or stop while there is an inhibit or an arm is cut off, and then until all is at rest."""
        present = self._inhibit
        if inhibit is None and present is None and not any(self._cut_off):
            return
        if inhibit is None:
            self._end_trajectory(missed_targets(self._cut_off))
            self._go(Trigger.INTERRUPT)
            if reading is not None and self._is_at_rest(reading):
                self._go_on_from(reading)
                return
        self._source.drop_plans()
        inhibit = inhibit or present
        if inhibit is None:
            return
        if inhibit is not present:
            self._inhibit = inhibit
            self._on_inhibit(inhibit.text)
        if inhibit.reaction == Reaction.PAUSE:
            self._end_trajectory(inhibit.text)
        if inhibit.reaction == Reaction.RELEASE:
            self._needs_enable = inhibit
        if inhibit.reaction >= Reaction.STOP:
            self._stop_on(inhibit.text, TRIGGERS[inhibit.reaction])
        else:
            self._go(TRIGGERS[inhibit.reaction])

    def _is_at_rest(self, reading: JointReading) -> bool:
        """Target and arms: an arm on its way lags its target, and is not to be mistaken for one that was moved."""
        is_heard = self._last_tick - reading.stamp <= self._max_age
        return is_heard and self._safety.speed <= _SETTLED and not self._is_moving(reading)

    def _is_moving(self, reading: JointReading | None) -> bool:
        """Whether the arms are known to be."""
        if reading is None or self._last_tick - reading.stamp > self._max_age:
            return False
        return bool(np.abs(reading.velocity[REVOLUTE]).max() >= _RESTING)

    def _go_on_from(self, reading: JointReading) -> None:
        """The arms may have moved meanwhile, or missed targets; a gripper that stayed closed on something keeps its
        target. An arm that is not where it was left is not commanded: it may be another one, or have dropped."""
        target = self._newest_target
        moved = "" if target is None else self._whereabouts.find_moved(reading.position)
        if moved:
            self._require_enable(Trigger.MOVED, "not where it was", moved)
        gap = np.inf if target is None else np.abs(reading.position - target)[REVOLUTE].max()
        if any(self._cut_off) or gap > _RELATCHED:
            self._safety.relatch(GRIPPERS)
            self._tracking.forget()
        told, self._inhibit, self._cut_off = self._inhibit, None, (False, False)
        if self._go(Trigger.CLEAR) and told is not None:
            self._on_inhibit("")

    def _require_enable(self, trigger: Trigger, cause: str, text: str) -> None:
        if self._go(trigger, text):
            self._needs_enable = Inhibit(Reaction.RELEASE, cause, text)
            self._source.drop_plans()
            self._on_inhibit(text)

    def _supervise(self, target: FloatArray, reading: JointReading | None) -> FloatArray:
        """What is sent for it. Joints that stay away from it are taken where they are, at once: they would jump after
        it. One that was moved while the arms wait is not followed, but found once nothing is in the way. A gripper
        without power is told to be where it is."""
        if reading is None:
            return target
        waits = self._phase in (Phase.WAITING, Phase.PAUSED)
        if not waits and not any(self._cut_off):
            self._whereabouts.heard(reading.position, target)
        report = self._tracking.look(reading.stamps, target, reading.position)
        stays = self._is_off.copy()
        if report.is_lost and not (waits and self._whereabouts.find_moved(reading.position)):
            if self._phase in (Phase.FOLLOWING, Phase.MOVING):
                self._require_enable(Trigger.LAG, "not following", report.text)
            lags = (np.abs(target - reading.position) > _RELATCHED) & (np.abs(reading.velocity) < _RESTING)
            lags[GRIPPERS] = False
            lags |= self._tracking.lost
            self._take_where_they_are(lags, reading)
            stays |= lags
        return np.where(stays, reading.position, target)

    @property
    def _newest_target(self) -> FloatArray | None:
        return None if self._decision is None else self._decision.target

    def _present_target(self) -> FloatArray | None:
        """Where a motion begins: at the newest target, before the first one where the arms are."""
        target = self._newest_target
        if target is not None:
            return target
        reading = self._arms.read()
        return None if reading is None else reading.position

    def _fail(self, error: Exception) -> None:
        self._stop_on(f"{type(error).__name__}: {error}. {RESET_REMEDY}", Trigger.FAULT)

    def _stop_on(self, fault: str, trigger: Trigger) -> None:
        """Latch the stop; further ticks brake to rest, as far as they still work, then command no more."""
        self._safety.trip(fault)
        self._go(trigger)
        if not self._fault:
            self._fault = fault
            try:
                self._on_fault(fault)
            except Exception:  # whoever is told must not end the thread that brakes
                logging.getLogger(__name__).exception("the fault could not be reported: %s", fault)
