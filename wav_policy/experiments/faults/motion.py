"""From the targets that were sent: when did the arms begin to brake, and when did they rest?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import REVOLUTE

_REST = 1e-6
"""Motion per tick that counts as none [rad]."""

_RESTING_TIME = 0.06
"""Arms that did not move for so long rest [s]."""

_REST_SPEED = 0.02
"""Of a joint that rests, with the tremor of its servo [rad/s]."""

_WINDOW = 0.05
"""Over which speeds and accelerations are taken: stamps are not exact to the tick [s]."""

_SLACK = 1.3
"""Of the limits, for the same reason."""

_BRAKING_SHARE = 0.4
"""Of the greatest deceleration; less is a motion that was planned to slow down."""


@dataclass(frozen=True)
class Hold:
    """How the arms came to a halt, counted from the fault.

    Attributes:
        reaction: until braking began [s]; 0 where they rested already, None where nobody reported the targets.
        rest: until they rested [s].
        moved_again: until they moved on after that [s]; None where they stayed for as long as they were watched.
    """

    reaction: float | None
    rest: float
    moved_again: float | None = None


def find_hold(times: FloatArray, targets: FloatArray, since: float, acceleration: float) -> Hold | None:
    """The first halt of the arms after `since`; None if they have not rested.

    Args:
        times: when each target was sent, shape [T], increasing; the last one is when watching ended if nothing was
            sent any more [s].
        targets: shape [T, 14], rad and m.
        since: when the fault began [s].
        acceleration: with which the arms brake [rad/s^2].
    """
    moved = np.abs(np.diff(targets[:, REVOLUTE], axis=0)).max(axis=1)
    rest = _first_rest(times, moved, since)
    if rest is None:
        return None
    speed = moved / np.maximum(np.diff(times), 1e-6)
    first = rest - 1  # the last tick of a braking slows down by any amount
    while (
        first > 0
        and times[first] > since
        and speed[first - 1] - speed[first] > _BRAKING_SHARE * acceleration * (times[first] - times[first - 1])
    ):
        first -= 1
    if first == rest - 1:
        first = rest
    later = np.flatnonzero(moved[rest:] > _REST)
    moved_again = float(times[rest + 1 + later[0]] - since) if len(later) else None
    return Hold(max(0.0, float(times[first] - since)), max(0.0, float(times[rest] - since)), moved_again)


def find_lasting_hold(
    times: FloatArray, targets: FloatArray, since: float, acceleration: float, knowable: float
) -> Hold | None:
    """As `find_hold`, past halts of other causes: those after which the arms move on sooner than `knowable` [s], when
    the fault must have been noticed at last.
    """
    hold = find_hold(times, targets, since, acceleration)
    while hold is not None and hold.moved_again is not None and hold.moved_again < knowable:
        passed = hold.moved_again
        hold = find_hold(times, targets, since + passed, acceleration)
        if hold is not None:
            reaction = None if hold.reaction is None else hold.reaction + passed
            again = None if hold.moved_again is None else hold.moved_again + passed
            hold = replace(hold, reaction=reaction, rest=hold.rest + passed, moved_again=again)
    return hold


def _first_rest(times: FloatArray, moved: FloatArray, since: float) -> int | None:
    """Index of the first target after `since` from which on nothing moves for `_RESTING_TIME`."""
    moving = np.flatnonzero((moved > _REST) & (times[1:] > since)) + 1
    start = int(np.searchsorted(times, since))
    for candidate in (start, *moving):
        if candidate >= len(times):
            return None
        later = moving[moving > candidate]
        until = times[later[0] - 1] if len(later) else times[-1]
        if until - times[candidate] >= _RESTING_TIME:
            return int(candidate)
    return None


def find_rest(times: FloatArray, speeds: FloatArray, since: float) -> float | None:
    """From `since` until the arms really rested for as long as they were seen [s]; None if they did not.

    Args:
        times: shape [T], increasing [s].
        speeds: of the joints, shape [T, 14], rad/s and m/s.
        since: when the fault began [s].
    """
    moving = np.abs(speeds[:, REVOLUTE]).max(axis=1) > _REST_SPEED
    last = int(np.flatnonzero(moving)[-1]) if moving.any() else -1
    if last + 1 >= len(times) or times[-1] - times[last + 1] < _RESTING_TIME:
        return None
    return max(0.0, float(times[last + 1] - since))


def is_moving(times: FloatArray, targets: FloatArray, speed: float) -> bool:
    """Whether the newest targets move an arm joint faster than `speed` [rad/s]."""
    if len(times) < 6:
        return False
    change = np.abs(targets[-1, REVOLUTE] - targets[-6, REVOLUTE]).max()
    return bool(change > speed * (times[-1] - times[-6]))


def find_excess(times: FloatArray, targets: FloatArray, speed: float, acceleration: float) -> str:
    """Where targets change faster than they may, in words with numbers; "" if they do not.

    Args:
        times: when each target was sent, shape [T], increasing [s]. Longer pauses are passed over: after one, the arms
            are commanded from rest.
        targets: shape [T, 14], rad and m.
        speed: largest of a joint [rad/s].
        acceleration: largest of a joint [rad/s^2].
    """
    positions = targets[:, REVOLUTE]
    last, last_at = None, -np.inf
    for first, after in _windows(times):
        if after is None:
            last = None
            continue
        velocity = (positions[after] - positions[first]) / (times[after] - times[first])
        middle = 0.5 * (times[after] + times[first])
        if np.abs(velocity).max() > _SLACK * speed:
            return f"targets moved at {np.abs(velocity).max():.2f} rad/s, allowed {speed:g}"
        if last is not None and np.abs(velocity - last).max() > _SLACK * acceleration * (middle - last_at):
            gain = np.abs(velocity - last).max() / (middle - last_at)
            return f"targets accelerated with {gain:.1f} rad/s^2, allowed {acceleration:g}"
        last, last_at = velocity, middle
    return ""


def _windows(times: FloatArray) -> Iterator[tuple[int, int | None]]:
    """First and last index of stretches of `_WINDOW`, one after the other; (index, None) at a pause."""
    first = 0
    for index in range(1, len(times)):
        if times[index] - times[index - 1] > _WINDOW:
            yield index, None
            first = index
        elif times[index] - times[first] >= _WINDOW:
            yield first, index
            first = index


def find_fastest(times: FloatArray, speeds: FloatArray, since: float, until: float) -> float:
    """Largest speed of a joint between two times, 0.0 without any [rad/s].

    Args:
        times: shape [T] [s].
        speeds: of the joints, shape [T, 14], rad/s and m/s.
        since, until: bounds [s].
    """
    between = (times >= since) & (times <= until)
    return float(np.abs(speeds[between][:, REVOLUTE]).max(initial=0.0))
