"""Which joint target at which time: time-aligned chunk_continuation of action chunks, interpolated to the control rate.

A chunk's rows are due at absolute times counted from its observation, so a chunk that took 300 ms to plan starts in
its fourth 100 ms row: what is past is dropped. Between rows the path is a monotone cubic (Fritsch and Carlson, 1980):
continuous in velocity, unlike straight lines, and never outside the two rows it joins, unlike an ordinary spline, so
it cannot leave a joint or gripper range that the rows respect.

At a blend the old and the new path disagree in position and velocity. The new path takes over at once, plus a
correction that starts at the disagreement and fades to zero, with zero slope, over `blend_time` (a cubic Hermite
segment). Position and velocity are therefore continuous at every blend. The fade needs a peak acceleration of
6 offset / blend_time^2: with 0.2 s a disagreement of 0.03 rad (twice the one-step error of `wav-tiny`) stays below
the arm's 5 rad/s^2, and 0.2 s is half of the time one plan is in force.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from wav_models.configuration import NotNegative
from wav_models.types import ActionChunk, FloatArray
from wav_policy.robot.joints import JOINT_DIM, JOINT_NAMES

MAX_MAGNITUDE = 100.0
"""No joint of the robot is anywhere near this [rad], [m]; larger rows are garbage, not motion."""


class ChunkError(ValueError):
    """A chunk that cannot be executed; says what is wrong with it."""


@dataclass(frozen=True)
class ChunkingConfig:
    """How chunks continue one another."""

    blend_time: NotNegative = 0.2
    """Time over which the disagreement with the previous chunk fades [s]; 0: it does not, the path jumps."""
    max_future: NotNegative = 0.1
    """A chunk stamped farther ahead than this comes from a clock that disagrees with ours [s]."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.blend_time < np.inf or not self.max_future >= 0.0:
            raise ValueError(f"blend_time must be finite, it and max_future must not be negative, got {self}")


@dataclass(frozen=True)
class _Blend:
    """One accepted chunk. Immutable, so that `sample` may run in another thread than `accept`.

    Attributes:
        stamp: of the chunk [s].
        start: when it took over [s].
        knots: increasing times, length n + 1 [s].
        coefficients: cubic per interval in `t - knots[i]`, shape [n, 4, 14], constant term first.
        offset: position disagreement at the take-over, shape [14].
        slope: velocity disagreement at the take-over, shape [14].
    """

    stamp: float
    start: float
    knots: FloatArray
    coefficients: FloatArray
    offset: FloatArray
    slope: FloatArray


class ChunkExecutor:
    """Holds the chunk in force and answers where the joints should be."""

    def __init__(self, config: ChunkingConfig | None = None) -> None:
        self._config = config or ChunkingConfig()
        self._blend: _Blend | None = None

    @property
    def stamp(self) -> float | None:
        """Observation time of the chunk in force [s]; None without one."""
        blend = self._blend
        return None if blend is None else blend.stamp

    @property
    def disagreement(self) -> tuple[FloatArray, FloatArray] | None:
        """Position [14] and velocity [14] by which the path before the chunk in force left it at the take-over: what
        an immediate switch would have jumped by. None without a chunk."""
        blend = self._blend
        return None if blend is None else (blend.offset, blend.slope)

    def clear(self) -> None:
        """Forget the chunk in force; the next one starts afresh and may have any stamp."""
        self._blend = None

    def accept(self, chunk: ActionChunk, now: float, current: FloatArray | None = None) -> bool:
        """Let a chunk take over from `now`.

        Args:
            chunk: the new chunk; rows due before `now` are dropped.
            now: same clock as `chunk.stamp` [s].
            current: joint target in force when no chunk is, shape [14]: the path starts there.

        Returns:
            False if the chunk was ignored: older than the one in force, or entirely past.

        Raises:
            ChunkError: the chunk is malformed; the one in force stays.
        """
        self._validate(chunk, now)
        times = chunk.times
        is_older = self._blend is not None and chunk.stamp <= self._blend.stamp
        if is_older or times[-1] <= now:
            return False
        previous = self._evaluate(now)
        if previous is None and current is not None:
            previous = (np.array(current, dtype=np.float64), np.zeros(JOINT_DIM))
        self._blend = _blend(chunk.stamp, times, chunk.positions, now, previous)
        return True

    def sample(self, now: float) -> FloatArray | None:
        """Where the joints should be, shape [14], rad and m; None when no chunk covers `now`."""
        state = self._evaluate(now)
        return None if state is None else state[0]

    def sample_velocity(self, now: float) -> FloatArray | None:
        """Time derivative of `sample`, shape [14], per second."""
        state = self._evaluate(now)
        return None if state is None else state[1]

    def _evaluate(self, now: float) -> tuple[FloatArray, FloatArray] | None:
        blend = self._blend
        if blend is None or not now <= blend.knots[-1]:
            return None
        now = max(now, blend.start)
        position, velocity = _evaluate_path(blend, now)
        duration = self._config.blend_time
        if now - blend.start < duration:
            fade = (now - blend.start) / duration
            # Hermite segment from (offset, slope) to (0, 0).
            position += ((2.0 * fade - 3.0) * fade * fade + 1.0) * blend.offset
            position += duration * fade * (fade - 1.0) ** 2 * blend.slope
            velocity += 6.0 * fade * (fade - 1.0) / duration * blend.offset
            velocity += (3.0 * fade - 1.0) * (fade - 1.0) * blend.slope
        return position, velocity

    def _validate(self, chunk: ActionChunk, now: float) -> None:
        rows = chunk.positions
        if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.shape[1] != JOINT_DIM or not len(rows):
            raise ChunkError(f"action chunk has shape {np.shape(rows)}, expected [H >= 1, {JOINT_DIM}]")
        bad = ~(np.abs(rows) <= MAX_MAGNITUDE)
        if bad.any():
            row, joint = np.argwhere(bad)[0]
            raise ChunkError(f"action chunk row {row}, {JOINT_NAMES[joint]}: {rows[row, joint]} is no joint position")
        if not 0.0 < chunk.step < np.inf or not np.isfinite(chunk.stamp):
            raise ChunkError(f"action chunk times do not increase: stamp {chunk.stamp}, step {chunk.step} s")
        if chunk.stamp > now + self._config.max_future:
            raise ChunkError(
                f"action chunk is stamped {chunk.stamp - now:.3f} s in the future (allowed "
                f"{self._config.max_future} s): synchronise the clocks of planner and robot"
            )


def _blend(
    stamp: float, times: FloatArray, rows: FloatArray, now: float, previous: tuple[FloatArray, FloatArray] | None
) -> _Blend:
    """The new path and its disagreement with `previous` (position, velocity) at `now`."""
    if now < times[0]:
        if len(times) > 1 and times[0] - now < 0.5 * (times[1] - times[0]):
            times, rows = times[1:], rows[1:]  # so little time to get there would ask for a huge velocity
        start = rows[0] if previous is None else previous[0]
        times, rows = np.concatenate([[now], times]), np.concatenate([start[None], rows])
    else:
        # Two past rows are kept: the path runs on from the last one, whose slope depends on the one before.
        first = max(int(np.searchsorted(times, now, side="right")) - 2, 0)
        times, rows = times[first:], rows[first:]
    blend = _Blend(stamp, now, times, _monotone_cubic(times, rows), np.zeros(JOINT_DIM), np.zeros(JOINT_DIM))
    if previous is None:
        return blend
    position, velocity = _evaluate_path(blend, now)
    return _Blend(stamp, now, times, blend.coefficients, previous[0] - position, previous[1] - velocity)


def positions_at(chunk: ActionChunk, times: FloatArray) -> FloatArray:
    """The path of a chunk at `times` [n], shape [n, 14]; before its first and after its last row, that row."""
    knots = chunk.times
    coefficients = _monotone_cubic(knots, chunk.positions)
    inside = np.clip(times, knots[0], knots[-1])
    index = np.clip(knots.searchsorted(inside, side="right") - 1, 0, len(coefficients) - 1)
    t = (inside - knots[index])[:, None]
    c0, c1, c2, c3 = coefficients[index].swapaxes(0, 1)
    return c0 + t * (c1 + t * (c2 + t * c3))


def _evaluate_path(blend: _Blend, now: float) -> tuple[FloatArray, FloatArray]:
    last = len(blend.coefficients) - 1
    index = min(max(int(blend.knots.searchsorted(now, side="right")) - 1, 0), last)
    c0, c1, c2, c3 = blend.coefficients[index]
    t = now - blend.knots[index]
    return c0 + t * (c1 + t * (c2 + t * c3)), c1 + t * (2.0 * c2 + 3.0 * t * c3)


def _monotone_cubic(times: FloatArray, rows: FloatArray) -> FloatArray:
    """Coefficients of the piecewise monotone cubic through the rows.

    Args:
        times: increasing, shape [n + 1], s.
        rows: shape [n + 1, 14].

    Returns:
        Shape [n, 4, 14], constant term first. A single row gives one constant piece.
    """
    if len(times) == 1:
        return np.stack([rows[0], *np.zeros((3, JOINT_DIM))])[None]
    width = np.diff(times)[:, None]
    secant = np.diff(rows, axis=0) / width
    tangent = path_tangents(times, rows, secant[0], secant[-1])
    start, stop = tangent[:-1], tangent[1:]
    c2 = (3.0 * secant - 2.0 * start - stop) / width
    c3 = (start + stop - 2.0 * secant) / width**2
    return np.stack([rows[:-1], start, c2, c3], axis=1)


def path_tangents(times: FloatArray, rows: FloatArray, first: ArrayLike, last: ArrayLike) -> FloatArray:
    """Velocities at the rows that make the cubics through them monotone, shape [n + 1, k].

    Args:
        times: increasing, shape [n + 1], s.
        rows: shape [n + 1, k].
        first, last: velocities at the ends.
    """
    secant = np.diff(rows, axis=0) / np.diff(times)[:, None]
    tangent = np.empty_like(rows)
    tangent[0], tangent[-1] = first, last
    before, after = secant[:-1], secant[1:]
    monotone = before * after > 0.0
    denominator = np.where(monotone, before + after, 1.0)
    tangent[1:-1] = np.where(monotone, 2.0 * before * after / denominator, 0.0)  # harmonic mean; 0 at a turning point
    return tangent
