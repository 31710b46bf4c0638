"""Nothing reaches the arms around this filter: limits, watchdogs, emergency-stop latch.

Pure numpy, no ROS, no clock of its own. One call of `SafetyFilter.step` per control tick turns whatever was asked
for into a joint target that is finite and inside the position, velocity and acceleration limits, or holds.

Why the limits cannot be broken. The filter integrates its own target: `p' = p + v dt`. It keeps the invariant
`p + u^2 / 2a <= p_max` (and its mirror image), where `u = v - a dt / 2` is the speed at the tick's end: braking from
there covers `u^2 / 2a` in ticks of any length (`wav_policy.control.braking`). The largest `v` that keeps it is
`stoppable_speed`, and braking is always among the velocities this allows. So the velocity clamp, the acceleration clamp
and the position limit never contradict each other, and no clamp ever makes the target overshoot a position limit. A
joint that is outside its limits when it is enabled starts where it is; from there its limit is its own target, so it
can only move inwards, and slowly (`_INWARD_SPEED`) until it is inside.

Why nothing collides. A step is taken only if it and the whole way on which the arms would brake after it are clear
(`LookAhead`). Otherwise they brake: on the way that was found clear when the last step was taken.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wav_models.types import FloatArray
from wav_policy.control.braking import braking_distance, end_speed, stoppable_speed
from wav_policy.control.interventions import OF_COMMAND, OF_MEASUREMENT, Cause, Doubts, Intervention
from wav_policy.control.look_ahead import LookAhead
from wav_policy.control.reach import Reach
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.robot.joints import ARM_DOF, GRIPPERS, JOINT_DIM, JOINT_NAMES, both_arms

__all__ = ["Cause", "Intervention", "SafetyDecision", "SafetyFilter", "SafetyLimits"]

_MIN_TICK = 1e-6
"""Ticks closer together than this do not move the target [s]; dividing by them would only amplify rounding."""

_INWARD_SPEED = both_arms((0.2,) * 6 + (0.02,))
"""Of joints outside their limits [rad/s], [m/s]."""

_REPORTED_EXCESS = 1e-9
"""Smaller excesses of a velocity are rounding, not interventions."""


class SafetyDecision(NamedTuple):
    """What may be sent to the arms at this tick.

    Attributes:
        target: joint targets, shape [14], rad and m; None while no valid measurement has ever been latched, in which
            case nothing may be sent.
        holding: the command was not followed; the target is at rest or braking towards rest (in a threatening
            collision that of one arm at least).
        interventions: at most one per cause.
    """

    target: FloatArray | None
    holding: bool
    interventions: tuple[Intervention, ...]


class SafetyFilter:
    """Turns commands into safe targets, one call of `step` per control tick.

    `trip` and `reset` may be called from another thread; `step` from one thread only.

    Args:
        limits: of positions, motion, ages.
        look_ahead: finds collisions; None: they are not looked for.
        reach: of the arms themselves: targets stay inside it too, and what is measured inside it is believed.
    """

    def __init__(
        self,
        limits: SafetyLimits | None = None,
        look_ahead: LookAhead | None = None,
        reach: Reach | None = None,
    ) -> None:
        self.limits = limits or SafetyLimits()
        reach = reach or Reach.unknown()
        self._lower, self._upper = reach.narrow(self.limits)
        believed = reach.widen(self.limits)
        self._velocity_limit = both_arms(self.limits.velocity)
        self._acceleration = both_arms(self.limits.acceleration)
        self._max_step = both_arms(self.limits.max_step)
        tolerance = both_arms(self.limits.measurement_tolerance)
        self._plausible = believed[0] - tolerance, believed[1] + tolerance
        tolerance = both_arms(self.limits.command_tolerance)
        self._sane = self._lower - tolerance, self._upper + tolerance
        self._target: FloatArray = np.zeros(JOINT_DIM)
        self._velocity: FloatArray = np.zeros(JOINT_DIM)
        self._last_duration = 0.0  # of the tick in which the target had that velocity [s]
        self._lower_bound, self._upper_bound = self._lower.copy(), self._upper.copy()
        self._previous_goal = np.zeros(JOINT_DIM)
        self._has_goal = False
        self._latched = self._has_target = False
        self._kept_grips: list[int] = []
        self._last_time: float | None = None
        self._stop_reason: str | None = None
        self._look_ahead = look_ahead
        self._work = np.zeros((5, JOINT_DIM))

    @property
    def stop_reason(self) -> str | None:
        """Why the filter is stopped; None while it is not."""
        return self._stop_reason

    @property
    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Where targets may lie, lowest and highest, shape [14] each, rad and m."""
        return self._lower, self._upper

    @property
    def speed(self) -> float:
        """Of the target, the largest of all joints [rad/s], grippers [m/s]; 0 at rest."""
        return float(np.abs(self._velocity).max())

    @property
    def velocity(self) -> FloatArray:
        """Of the target, shape [14], rad/s and m/s."""
        return self._velocity

    def trip(self, reason: str) -> None:
        """Latch the stop: from the next tick the target brakes to rest and stays until `reset`. First reason wins."""
        if self._stop_reason is None:
            self._stop_reason = reason

    def reset(self) -> None:
        """Release the stop. The next tick holds on the measured position: the arm may have moved meanwhile."""
        self.relatch()
        self._stop_reason = None

    def relatch(self, keep_grips: Iterable[int] = ()) -> None:
        """Forget the target; the next tick with a valid measurement holds there. For when arms are (re-)enabled.

        Args:
            keep_grips: grippers, as indices of joints, that keep their target where it is further closed than
                measured: what they hold would drop. Only for arms that were under power all along.
        """
        self._kept_grips = list(keep_grips)
        self._latched = False

    def displace(self, joints: NDArray[np.bool_], position: FloatArray) -> None:
        """Take these joints for where they are, at rest; the others go on as they were. For what was measured to jump.

        Args:
            joints: shape [14].
            position: as measured, shape [14], rad and m.
        """
        self._velocity = np.where(joints, 0.0, self._velocity)
        self._set_target(np.where(joints, position, self._target))
        if self._look_ahead is not None:
            self._look_ahead.start_at(self._target)

    def step(
        self,
        now: float,
        command: FloatArray | None,
        measured: FloatArray | None,
        measured_stamp: float,
        command_stamp: float | None = None,
        velocity: FloatArray | None = None,
    ) -> SafetyDecision:
        """The target for this tick.

        Args:
            now: time of this tick, same clock as the stamps [s].
            command: wanted joint positions, shape [14], rad and m; None = nothing to execute.
            measured: measured joint positions, shape [14].
            measured_stamp: time of the measurement [s].
            command_stamp: time of what the command was computed from; None = made for this very tick [s].
            velocity: follow the command no faster than this, shape [14], rad/s and m/s, however far behind the target
                is; None = as fast as the limits allow.
        """
        found: list[Intervention] = []
        position = self._check(
            measured, now - measured_stamp, self.limits.max_measurement_age, self._plausible, OF_MEASUREMENT, found
        )
        if not self._latched:
            if position is None:
                return SafetyDecision(None, True, tuple(found))
            self._latch(position, now)
        duration = self._tick(now, found)
        goal = None
        if self._stop_reason is not None:
            found.append(Intervention(Cause.STOPPED))
        elif position is not None:
            age = 0.0 if command_stamp is None else now - command_stamp
            wanted = self._check(command, age, self.limits.max_command_age, self._sane, OF_COMMAND, found)
            goal = None if wanted is None else self._restrict(wanted, position, found)
        follows = goal is not None
        if duration > 0.0:
            limit = self._velocity_limit if velocity is None else np.minimum(velocity, self._velocity_limit)
            follows = self._advance(goal, duration, limit, found)
        return SafetyDecision(self._target.copy(), not follows, tuple(found))

    def _latch(self, position: FloatArray, now: float) -> None:
        """Start from rest on the measured position, wherever it is: anything else would be a jump."""
        kept = self._kept_grips if self._has_target else []
        target = position.copy()
        target[kept] = np.minimum(target[kept], self._target[kept])
        self._set_target(target)
        self._has_target = True
        self._rest()
        self._last_time = now if math.isfinite(now) else None
        self._latched = True
        if self._look_ahead is not None:
            self._look_ahead.start_at(self._target)

    def _set_target(self, target: FloatArray) -> None:
        """Be there, with the bounds of the next target: the limits, or for a joint outside them where it is."""
        self._target = target
        np.minimum(self._lower, target, out=self._lower_bound)
        np.maximum(self._upper, target, out=self._upper_bound)

    def _tick(self, now: float, found: list[Intervention]) -> float:
        """Length of this tick [s]; 0 when time stands still or went backwards."""
        if not math.isfinite(now):
            found.append(Intervention(Cause.CLOCK_STEP, requested=now))
            return 0.0
        elapsed = 0.0 if self._last_time is None else now - self._last_time
        if elapsed < _MIN_TICK:
            if elapsed < 0.0:
                found.append(Intervention(Cause.CLOCK_STEP, requested=elapsed))
                self._last_time = now
            return 0.0
        self._last_time = now
        if elapsed > self.limits.max_tick:
            found.append(Intervention(Cause.LATE_TICK, requested=elapsed, allowed=self.limits.max_tick))
            self._rest()
            return self.limits.max_tick
        return elapsed

    def _rest(self) -> None:
        self._velocity = np.zeros(JOINT_DIM)
        self._last_duration = 0.0
        self._has_goal = False

    def _check(
        self,
        values: FloatArray | None,
        age: float,
        max_age: float,
        bounds: tuple[FloatArray, FloatArray],
        doubts: Doubts,
        found: list[Intervention],
    ) -> FloatArray | None:
        """The values, shape [14], if they can be believed, else None and the reason in `found`."""
        if values is None:
            found.append(Intervention(doubts.missing))
            return None
        vector = _as_joint_vector(values)
        if vector is None:
            found.append(Intervention(doubts.malformed))
            return None
        if not _is_finite(vector):
            found.append(_name_non_finite(doubts.non_finite, vector))
            return None
        if not abs(age) <= max_age:
            found.append(Intervention(doubts.stale, "", age, max_age))
            return None
        return vector if self._is_plausible(doubts.implausible, vector, bounds, found) else None

    def _is_plausible(
        self, cause: Cause, values: FloatArray, bounds: tuple[FloatArray, FloatArray], found: list[Intervention]
    ) -> bool:
        """Whether all values are within the bounds; else the worst is in `found`."""
        excess = self._work[0]
        np.maximum(values, bounds[0], out=excess)
        np.minimum(excess, bounds[1], out=excess)
        np.subtract(values, excess, out=excess)
        if not excess.any():
            return True
        worst = int(np.abs(excess).argmax())
        bound = self._lower[worst] if excess[worst] < 0.0 else self._upper[worst]
        found.append(Intervention(cause, JOINT_NAMES[worst], float(values[worst]), float(bound)))
        return False

    def _restrict(self, wanted: FloatArray, position: FloatArray, found: list[Intervention]) -> FloatArray:
        """Move the command into the bounds and to within `max_step` of the measured position."""
        goal, inside, change = self._work[0], self._work[1], self._work[2]
        np.maximum(wanted, self._lower_bound, out=inside)
        np.minimum(inside, self._upper_bound, out=inside)
        np.subtract(wanted, inside, out=change)
        if change.any():
            if change[GRIPPERS].any():
                worst = GRIPPERS[int(np.abs(change[GRIPPERS]).argmax())]
                found.append(_name_change(Cause.GRIPPER_RANGE, worst, wanted, inside))
                change[GRIPPERS] = 0.0
            if change.any():
                found.append(_name_change(Cause.POSITION_LIMIT, int(np.abs(change).argmax()), wanted, inside))
        np.subtract(inside, position, out=change)
        np.maximum(change, -self._max_step, out=goal)
        np.minimum(goal, self._max_step, out=goal)
        np.subtract(change, goal, out=change)
        if not change.any():
            return inside
        np.add(position, goal, out=goal)
        found.append(_name_change(Cause.STEP_CHANGE, int(np.abs(change).argmax()), wanted, goal))
        np.maximum(goal, self._lower_bound, out=goal)
        np.minimum(goal, self._upper_bound, out=goal)
        return goal

    def _advance(self, goal: FloatArray | None, duration: float, limit: FloatArray, found: list[Intervention]) -> bool:
        """Move the target by one tick towards the goal, or brake to rest where there is none or the way is not clear.
        Where it is faster than `limit` [14] it brakes to it.

        Returns:
            Whether the goal was followed.
        """
        speed = end_speed(self._velocity, self._acceleration, self._last_duration)
        braking = np.copysign(braking_distance(speed, self._acceleration, duration) / duration, self._velocity)
        if goal is None:
            velocity = braking
            self._has_goal = False
        else:
            velocity = wanted = self._towards(goal, duration, limit, found)
            if self._look_ahead is not None:
                velocity = self._keep_clear(self._look_ahead, wanted, braking, duration, found)
            self._previous_goal[:] = goal
            self._has_goal = True
        self._set_target(self._after(velocity, duration))
        self._velocity, self._last_duration = velocity, duration
        if self._look_ahead is not None:
            self._look_ahead.arrived_at(self._target)
        return goal is not None and velocity is wanted

    def _towards(self, goal: FloatArray, duration: float, limit: FloatArray, found: list[Intervention]) -> FloatArray:
        """Velocity towards the goal within all limits but those of collisions, shape [14]."""
        reachable = self._acceleration * (0.5 * (duration + self._last_duration))
        wanted = self._velocity_towards(goal, duration)
        self._report_limits(wanted, limit, reachable, found)
        highest, lowest = self._work[3], self._work[4]
        outside = (self._target < self._lower) | (self._target > self._upper)
        if outside.any():
            limit = np.where(outside, np.minimum(limit, _INWARD_SPEED), limit)
            wanted *= _common_share(wanted, limit, outside)
        limit = np.maximum(limit, np.abs(self._velocity) - reachable)
        np.add(self._velocity, reachable, out=highest)
        np.minimum(highest, limit, out=highest)
        up = stoppable_speed(self._upper_bound - self._target, self._acceleration, duration)
        np.minimum(highest, up, out=highest)
        np.subtract(self._velocity, reachable, out=lowest)
        np.maximum(lowest, -limit, out=lowest)
        down = stoppable_speed(self._target - self._lower_bound, self._acceleration, duration)
        np.maximum(lowest, -down, out=lowest)
        np.maximum(wanted, lowest, out=wanted)
        np.minimum(wanted, highest, out=wanted)
        return wanted

    def _after(self, velocity: FloatArray, duration: float) -> FloatArray:
        """The target one tick on, shape [14]."""
        target = velocity * duration
        target += self._target
        np.maximum(target, self._lower_bound, out=target)
        np.minimum(target, self._upper_bound, out=target)
        return target

    def _keep_clear(
        self,
        look_ahead: LookAhead,
        wanted: FloatArray,
        braking: FloatArray,
        duration: float,
        found: list[Intervention],
    ) -> FloatArray:
        """The wanted velocity if all is clear; else one of braking for the arms concerned, or for both."""
        approach = look_ahead.find(self._target, wanted, duration)
        if approach is None:
            return wanted
        bodies = " and ".join(approach.bodies)
        found.insert(0, Intervention(Cause.COLLISION, bodies, approach.distance, approach.allowed))
        for side, other in (("left", slice(ARM_DOF, None)), ("right", slice(ARM_DOF))):
            if all(body.startswith((side, "table")) for body in approach.bodies):
                velocity = braking.copy()
                velocity[other] = wanted[other]
                if look_ahead.find(self._target, velocity, duration) is None:
                    return velocity
        return braking

    def _velocity_towards(self, goal: FloatArray, duration: float) -> FloatArray:
        """Velocity that follows a moving goal without lag and approaches a jumped one without overshoot, shape [14].

        Where the goal moved by no more than the velocity limit allows, its own velocity is fed forward and only the
        remaining error is closed at a speed that can still brake relative to the goal.
        """
        if self._has_goal:
            velocity = (goal - self._previous_goal) / duration
            velocity[np.abs(velocity) > self._velocity_limit] = 0.0
        else:
            velocity = np.zeros(JOINT_DIM)
        error = goal - self._target - velocity * duration
        return velocity + np.copysign(stoppable_speed(np.abs(error), self._acceleration, duration), error)

    def _report_limits(
        self,
        wanted: FloatArray,
        limit: FloatArray,
        reachable: FloatArray,
        found: list[Intervention],
    ) -> None:
        """Record the joint that is slowed down most, by velocity and by acceleration."""
        excess = np.abs(wanted) - limit
        worst = int(excess.argmax())
        if excess[worst] > _REPORTED_EXCESS:
            asked, allowed = float(wanted[worst]), float(limit[worst])
            found.append(Intervention(Cause.VELOCITY_LIMIT, JOINT_NAMES[worst], asked, allowed))
            wanted = np.minimum(np.maximum(wanted, -limit), limit)
        change = wanted - self._velocity
        excess = np.abs(change) - reachable
        worst = int(excess.argmax())
        if excess[worst] > _REPORTED_EXCESS:
            allowed = float(self._acceleration[worst])
            asked = float(change[worst]) / float(reachable[worst]) * allowed
            found.append(Intervention(Cause.ACCELERATION_LIMIT, JOINT_NAMES[worst], asked, allowed))


def _common_share(wanted: FloatArray, limit: FloatArray, concerned: NDArray[np.bool_]) -> FloatArray:
    """By how much the joints of an arm slow down together, so that it stays on its way, shape [14].

    Args:
        wanted: velocities, shape [14].
        limit: of the concerned ones, shape [14].
        concerned: which joints must keep it, shape [14].
    """
    share = np.where(concerned, np.minimum(1.0, limit / np.maximum(np.abs(wanted), _REPORTED_EXCESS)), 1.0)
    return np.repeat([share[:ARM_DOF].min(), share[ARM_DOF:].min()], ARM_DOF)


def _as_joint_vector(values: object) -> FloatArray | None:
    """As float64 of shape [14]; None where that is impossible."""
    if type(values) is not np.ndarray or values.dtype != np.float64:
        try:
            values = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            return None
    return values if values.shape == (JOINT_DIM,) else None


def _is_finite(values: NDArray[np.float64]) -> bool:
    """Whether all are finite: one sum instead of an element-wise test and a reduction. A sum that overflows is no
    joint position either."""
    return math.isfinite(sum(values.tolist()))


def _name_non_finite(cause: Cause, values: FloatArray) -> Intervention:
    worst = int(np.argmin(np.isfinite(values)))
    return Intervention(cause, JOINT_NAMES[worst], float(values[worst]))


def _name_change(cause: Cause, joint: int, before: FloatArray, after: FloatArray) -> Intervention:
    return Intervention(cause, JOINT_NAMES[joint], float(before[joint]), float(after[joint]))
