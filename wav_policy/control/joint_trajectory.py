"""A trajectory of some of the joints: checked, then a path through its points.

Points that have positions alone are joined by monotone cubics (`path_tangents`), at rest at the end; with velocities by
cubics, with accelerations too by quintics (Hermite). The path begins where the target is and as fast as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wav_models.types import FloatArray
from wav_policy.control.chunk_executor import path_tangents
from wav_policy.control.safety_limits import SafetyLimits
from wav_policy.robot.joints import GRIPPERS, JOINT_DIM, JOINT_NAMES, REVOLUTE, both_arms

MAX_POINTS: Final = 1000
"""Of a goal."""
MAX_DURATION: Final = 600.0
"""From the first to the last point, and of whatever may be waited for [s]."""
MAX_WAIT: Final = 10.0
"""Until the beginning of a goal that is stamped in the future [s]."""

_GOAL_TOLERANCE: Final = np.where(np.isin(np.arange(JOINT_DIM), GRIPPERS), np.inf, 0.05)
"""Where a goal has none [rad]; a gripper that holds something never arrives."""
_GOAL_TIME: Final = 2.0
"""Where a goal has no goal_time_tolerance [s]."""
_AT_START: Final = 0.05
"""A first point that is due at once may be so far from where the joint is [rad]."""
_AT_ONCE: Final = 0.5
"""What a goal is given whose only point is due at once [s]: enough for `_AT_START`, and for a gripper's stroke."""
_AT_REST: Final = 1e-3
"""Largest velocity of the last point [rad/s], [m/s]."""
_GRIPPER_SLACK: Final = 1e-3
"""Points may be so far outside a gripper's range [m], and those of joints by the margin of their limits: the end of the
range is a point that planners like."""
_SPEED_SLACK: Final = 1.05
"""A spline through points that keep a speed exceeds it a little in between; the filter does not."""
_ACCELERATION_SLACK: Final = 2.0
"""As much more accelerates a spline through samples of a trapezoid; it is followed with a lag of some milliseconds."""
_NUM_OF_START: Final = 2
"""Pieces of a path that depend on where it begins: the second by the velocity between the two."""
_SAMPLES: Final = np.linspace(0.0, 1.0, 9)[1:]
"""Of each piece, where it is held against the limits."""


class GoalCode(IntEnum):
    """Of control_msgs/action/FollowJointTrajectory_Result."""

    SUCCESSFUL = 0
    INVALID_GOAL = -1
    INVALID_JOINTS = -2
    OLD_HEADER_TIMESTAMP = -3
    PATH_TOLERANCE_VIOLATED = -4
    GOAL_TOLERANCE_VIOLATED = -5


class GoalError(ValueError):
    """A goal that is not followed; says what is wrong with it."""

    def __init__(self, code: GoalCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Tolerances:
    """What may be between path and arms; infinite: anything.

    Attributes:
        position: shape [14], rad and m.
        velocity: shape [14], rad/s and m/s.
    """

    position: FloatArray
    velocity: FloatArray


@dataclass(frozen=True)
class TrajectoryGoal:
    """What is wanted of k joints at n times.

    Attributes:
        start: when it begins [s]; NaN: at once.
        joints: their indices, shape [k].
        times: after the start, shape [n], s.
        positions: shape [n, k], rad and m.
        velocities: shape [n, k], or None.
        accelerations: shape [n, k], or None.
        path_tolerance: while the path lasts.
        goal_tolerance: at its end.
        goal_time: what the joints may take to get there after the end [s].
    """

    start: float
    joints: NDArray[np.int64]
    times: FloatArray
    positions: FloatArray
    velocities: FloatArray | None
    accelerations: FloatArray | None
    path_tolerance: Tolerances
    goal_tolerance: Tolerances
    goal_time: float

    def __post_init__(self) -> None:
        """GoalError naming what is wrong in itself, whatever the arms do."""
        names = [JOINT_NAMES[joint] for joint in self.joints]
        if not names or not len(self.times):
            _refuse("the trajectory has no points" if names else "the trajectory names no joints")
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise GoalError(GoalCode.INVALID_JOINTS, f"{twice[0]} is named twice")
        if len(self.times) > MAX_POINTS:
            _refuse(f"the trajectory has {len(self.times)} points; at most {MAX_POINTS} fit")
        if self.times[0] < 0.0 or not (np.diff(self.times) > 0.0).all():
            later = int(np.argmin(np.diff(self.times, prepend=-np.inf) > 0.0))
            _refuse(f"time_from_start must increase from 0 on: point {later} is due at {self.times[later]:g} s")
        if self.times[-1] > MAX_DURATION:
            _refuse(f"the trajectory takes {self.times[-1]:g} s; at most {MAX_DURATION:g} s fit")
        if self.accelerations is not None and self.velocities is None:
            _refuse("points with accelerations need velocities too")
        for what in ("positions", "velocities", "accelerations"):
            rows = getattr(self, what)
            if rows is not None and not np.isfinite(rows).all():
                point, joint = np.argwhere(~np.isfinite(rows))[0]
                _refuse(f"point {point}, {names[joint]}: {what} has {rows[point, joint]}")
        if self.velocities is not None and (fast := np.abs(self.velocities[-1]) > _AT_REST).any():
            joint = int(np.argmax(fast))
            _refuse(f"the last point must be at rest: {names[joint]} has {self.velocities[-1, joint]:g} there")

    def elapsed(self, now: float) -> float:
        """Since the start [s]; below 0 before it."""
        return 0.0 if np.isnan(self.start) else now - self.start


class Progress(NamedTuple):
    """Where a trajectory is.

    Attributes:
        time: since its start [s].
        wanted: position and velocity, shape [2, 14], rad, m, per second.
        measured: likewise.
    """

    time: float
    wanted: FloatArray
    measured: FloatArray


def _refuse(text: str) -> None:
    raise GoalError(GoalCode.INVALID_GOAL, text)


def joints_of(names: Sequence[str]) -> NDArray[np.int64]:
    """Their indices.

    Raises:
        GoalError: one is none of ours, or there are more than we have.
    """
    if len(names) > JOINT_DIM:
        raise GoalError(GoalCode.INVALID_JOINTS, f"{len(names)} joints are named; there are {JOINT_DIM}")
    for name in names:
        if name not in JOINT_NAMES:
            raise GoalError(GoalCode.INVALID_JOINTS, f"there is no joint {name!r}; there are {', '.join(JOINT_NAMES)}")
    return np.array([JOINT_NAMES.index(name) for name in names], dtype=np.int64)


def tolerances(what: str, told: Mapping[str, tuple[float, float]], default: ArrayLike) -> Tolerances:
    """From what a goal tells of its joints, by name: positions [rad], [m] and velocities [rad/s], [m/s]. 0 is the
    default, below 0 there is none.

    Args:
        what: it is called.
        told: (position, velocity) by name.
        default: of positions, shape [14] or one for all.

    Raises:
        GoalError: of no joint of ours, or no number.
    """
    position, velocity = (
        np.broadcast_to(np.asarray(default, dtype=np.float64), JOINT_DIM).copy(),
        np.full(JOINT_DIM, np.inf),
    )
    for joint, (name, pair) in zip(joints_of(list(told)), told.items(), strict=True):
        for values, value in zip((position, velocity), pair, strict=True):
            if np.isnan(value):
                _refuse(f"{what} of {name} is not a number")
            if value != 0.0:
                values[joint] = value if value > 0.0 else np.inf
    return Tolerances(position, velocity)


def path_tolerances(told: Mapping[str, tuple[float, float]]) -> Tolerances:
    """None by default: joints that do not follow at all are noticed by the loop itself."""
    return tolerances("path_tolerance", told, np.inf)


def goal_tolerances(told: Mapping[str, tuple[float, float]]) -> Tolerances:
    """0.05 rad by default, of grippers none."""
    return tolerances("goal_tolerance", told, _GOAL_TOLERANCE)


def goal_time(told: float) -> float:
    """What goal_time_tolerance [s] means: 0 the default, below 0 as long as it takes."""
    return _GOAL_TIME if told == 0.0 else told if told > 0.0 else np.inf


@dataclass(frozen=True)
class Reachable:
    """What a path may do.

    Attributes:
        lower: shape [14], rad and m.
        upper: shape [14].
        margin: how far outside points may be, shape [14]; they are taken for the limit.
        velocity: shape [14], rad/s and m/s.
        acceleration: shape [14], rad/s^2 and m/s^2.
    """

    lower: FloatArray
    upper: FloatArray
    margin: FloatArray
    velocity: FloatArray
    acceleration: FloatArray

    @classmethod
    def of(cls, lower: FloatArray, upper: FloatArray, limits: SafetyLimits) -> Reachable:
        """From the bounds of targets, shape [14], and what the safety filter allows."""
        margins = np.full(JOINT_DIM, limits.position_margin)
        margins[GRIPPERS] = _GRIPPER_SLACK
        return cls(lower, upper, margins, both_arms(limits.velocity), both_arms(limits.acceleration))

    def braked(self, position: FloatArray, velocity: FloatArray) -> FloatArray:
        """Where joints come to rest that brake now, shape [14]."""
        return position + velocity * np.abs(velocity) / (2.0 * self.acceleration)


@dataclass(frozen=True)
class JointPath:
    """Of all joints.

    Attributes:
        knots: increasing times after the start of the goal, length m + 1 [s].
        coefficients: of each piece in `t - knots[i]`, constant term first, shape [m, 6, 14].
    """

    knots: FloatArray
    coefficients: FloatArray

    @property
    def end(self) -> FloatArray:
        """Where it leads, shape [14]."""
        return self.at(self.knots[-1])[0]

    def at(self, time: float) -> tuple[FloatArray, FloatArray]:
        """Position and velocity, shape [14] each; before the first and after the last knot at rest there."""
        inside = min(max(time, self.knots[0]), self.knots[-1])
        piece = min(max(int(self.knots.searchsorted(inside, side="right")) - 1, 0), len(self.coefficients) - 1)
        position, velocity, _ = _evaluate(self.coefficients[piece], np.array(inside - self.knots[piece]))
        return position, velocity if inside == time else np.zeros(JOINT_DIM)


def make_path(
    goal: TrajectoryGoal,
    elapsed: float,
    position: FloatArray,
    velocity: FloatArray,
    reachable: Reachable,
    *,
    is_checked: bool = False,
) -> JointPath:
    """The path of a goal from where the target is. Points that were due by now are left out; joints without points
    brake, and stay.

    Args:
        goal: what is wanted.
        elapsed: since the start of the goal [s]; below 0 before it.
        position: of the target, shape [14], rad and m.
        velocity: of the target, shape [14].
        reachable: what the path has to keep.
        is_checked: a path of the goal was made before, so only what depends on where it begins is held against the
            limits: its first pieces.

    Raises:
        GoalError: all is past or far off, or the path leaves the limits; names the joint.
    """
    if elapsed < -MAX_WAIT:
        _refuse(f"it begins in {-elapsed:.1f} s; at most {MAX_WAIT:g} s are waited for")
    if elapsed <= 0.0 and goal.times[-1] == 0.0:
        _check_start(goal, position)
        goal = replace(goal, times=np.array([_AT_ONCE]))
    begin = max(elapsed, 0.0)
    due = goal.times > begin
    if not due.any():
        code = GoalCode.OLD_HEADER_TIMESTAMP if elapsed > 0.0 else GoalCode.INVALID_GOAL
        raise GoalError(code, f"nothing is left to be done: the last point was due {begin - goal.times[-1]:.3f} s ago")
    first = int(due.argmax())
    if elapsed <= 0.0 and first > 0:
        _check_start(goal, position)
    if elapsed > 0.0 and goal.times[first] - begin < 0.5 * np.diff(goal.times[first:], append=begin)[0]:
        due[first] = False  # so little time to get there would ask for a huge velocity
    _check_points(goal, due, reachable)
    if elapsed < 0.0:
        velocity = np.zeros(JOINT_DIM)
    knots = np.concatenate([[begin], goal.times[due]])
    rows = np.tile(reachable.braked(position, velocity), (len(knots), 1))
    rows[0, goal.joints] = position[goal.joints]
    columns = goal.joints[None]
    lower, upper = reachable.lower[columns], reachable.upper[columns]
    rows[1:, goal.joints] = np.clip(goal.positions[due], lower, upper)
    tangents = np.zeros_like(rows)
    accelerations = np.zeros_like(rows) if goal.accelerations is not None else None
    if goal.velocities is None:
        tangents[:, goal.joints] = path_tangents(knots, rows[:, goal.joints], velocity[goal.joints], 0.0)
    else:
        tangents[0, goal.joints] = velocity[goal.joints]
        tangents[1:, goal.joints] = goal.velocities[due]
    if accelerations is not None and goal.accelerations is not None:
        accelerations[1:, goal.joints] = goal.accelerations[due]
    path = JointPath(knots, _hermite(np.diff(knots)[:, None], rows, tangents, accelerations))
    _check_path(path, goal, position, reachable, _NUM_OF_START if is_checked else None)
    return path


def _check_start(goal: TrajectoryGoal, position: FloatArray) -> None:
    gap = goal.positions[0] - position[goal.joints]
    gap[~np.isin(goal.joints, REVOLUTE)] = 0.0
    worst = int(np.abs(gap).argmax())
    if abs(gap[worst]) > _AT_START:
        name, wanted = JOINT_NAMES[goal.joints[worst]], goal.positions[0, worst]
        _refuse(
            f"the first point is due at once, but {name} is at {wanted - gap[worst]:.3f} rad and not at {wanted:.3f}: "
            "give it time to get there, or plan from where it is"
        )


def _check_points(goal: TrajectoryGoal, due: NDArray[np.bool_], reachable: Reachable) -> None:
    lower, upper, margin = (values[goal.joints] for values in (reachable.lower, reachable.upper, reachable.margin))
    outside = due[:, None] & ((goal.positions < lower - margin) | (goal.positions > upper + margin))
    if outside.any():
        point, joint = np.argwhere(outside)[0]
        _refuse(
            f"point {point}, {JOINT_NAMES[goal.joints[joint]]}: {goal.positions[point, joint]:.4f} is outside its "
            f"limits, {lower[joint]:.4f} .. {upper[joint]:.4f}"
        )


def _check_path(
    path: JointPath, goal: TrajectoryGoal, start: FloatArray, reachable: Reachable, num_pieces: int | None
) -> None:
    """Hold samples of so many pieces, or all, against the limits. A joint that begins outside may come inside."""
    times = np.diff(path.knots)[:num_pieces, None] * _SAMPLES
    coefficients = path.coefficients[:num_pieces, :, goal.joints]
    position, velocity, acceleration = _evaluate(coefficients.swapaxes(0, 1)[:, :, None], times)
    lower = np.minimum(reachable.lower, start)[goal.joints]
    upper = np.maximum(reachable.upper, start)[goal.joints]
    middle, reach = 0.5 * (lower + upper), 0.5 * (upper - lower) + reachable.margin[goal.joints]
    fastest = _SPEED_SLACK * reachable.velocity[goal.joints]
    hardest = _ACCELERATION_SLACK * reachable.acceleration[goal.joints]
    for values, most, verb, allowed in (
        (position - middle, reach, "pass its limits, at", "{lower:.4f} .. {upper:.4f} fit"),
        (velocity, fastest, "move at", "at most {velocity:g} is allowed: give it more time"),
        (acceleration, hardest, "accelerate by", "{acceleration:g} is its limit: give it more time"),
    ):
        excess = np.abs(values) - most
        if excess.max() <= 0.0:
            continue
        piece, sample, joint = np.unravel_index(int(excess.argmax()), excess.shape)
        value = values[piece, sample, joint] + (middle[joint] if verb.startswith("pass") else 0.0)
        column = goal.joints[joint]
        limits = {
            "lower": reachable.lower[column],
            "upper": reachable.upper[column],
            "velocity": reachable.velocity[column],
            "acceleration": reachable.acceleration[column],
        }
        when = path.knots[piece] + times[piece, sample]
        _refuse(f"{JOINT_NAMES[column]} would {verb} {value:.3f} at {when:.2f} s; {allowed.format(**limits)}")


def _evaluate(coefficients: FloatArray, time: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Position, velocity and acceleration: coefficients with their order on the first axis."""
    c0, c1, c2, c3, c4, c5 = coefficients
    t = time[..., None]
    position = c0 + t * (c1 + t * (c2 + t * (c3 + t * (c4 + t * c5))))
    velocity = c1 + t * (2.0 * c2 + t * (3.0 * c3 + t * (4.0 * c4 + t * 5.0 * c5)))
    return position, velocity, 2.0 * c2 + t * (6.0 * c3 + t * (12.0 * c4 + t * 20.0 * c5))


def _hermite(
    width: FloatArray, rows: FloatArray, velocities: FloatArray, accelerations: FloatArray | None
) -> FloatArray:
    """Coefficients of the pieces through rows [m + 1, 14] with these velocities, and accelerations if there are any;
    shape [m, 6, 14]. `width` [m, 1] is what a piece lasts."""
    p, v, dv = rows[:-1], velocities[:-1], np.diff(velocities, axis=0)
    ahead = np.diff(rows, axis=0) - v * width
    zero = np.zeros_like(p)
    if accelerations is None:
        c2, c3 = (3.0 * ahead / width - dv) / width, (dv - 2.0 * ahead / width) / width**2
        return np.stack([p, v, c2, c3, zero, zero], axis=1)
    a, da = accelerations[:-1], np.diff(accelerations, axis=0)
    # What is left of way, speed and acceleration after the first three terms, in units of the piece's width.
    way, speed = ahead - 0.5 * a * width**2, (dv - a * width) * width
    change = da * width**2
    c3 = (10.0 * way - 4.0 * speed + 0.5 * change) / width**3
    c4 = (-15.0 * way + 7.0 * speed - change) / width**4
    c5 = (6.0 * way - 3.0 * speed + 0.5 * change) / width**5
    return np.stack([p, v, 0.5 * a, c3, c4, c5], axis=1)
