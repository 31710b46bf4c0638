"""How joints brake: along the same curve, whatever the lengths of the ticks.

A target moves by `velocity * tick` in a tick, so `velocity` is a mean, taken to be that of the tick's middle. The
velocities of two ticks may then differ by the acceleration times the time between the middles. A joint that brakes as
hard as that allows has, at the end of a tick, `end_speed`, and stops `end_speed^2 / 2a` further on: its targets are
points of one parabola, for ticks of any length. So joints that brake together go one way, which can be looked along
beforehand.
"""

from __future__ import annotations

import numpy as np

from wav_models.types import FloatArray


def end_speed(velocity: FloatArray, acceleration: FloatArray, tick: float) -> FloatArray:
    """Speed at the end of a tick, of joints that brake from its middle on.

    Args:
        velocity: of the tick, shape [N], rad/s and m/s.
        acceleration: with which they brake, shape [N].
        tick: its length [s].
    """
    return np.maximum(np.abs(velocity) - (0.5 * tick) * acceleration, 0.0)


def braking_distance(speed: FloatArray, acceleration: FloatArray, time: float) -> FloatArray:
    """How far joints get that brake for `time` [s], shape [N], rad and m.

    Args:
        speed: at the beginning, shape [N], rad/s and m/s.
        acceleration: with which they brake, shape [N].
        time: since the beginning [s].
    """
    moving = np.minimum(speed / acceleration, time)
    return moving * (speed - 0.5 * acceleration * moving)


def stoppable_speed(distance: FloatArray, acceleration: FloatArray, tick: float) -> FloatArray:
    """Largest speed in a tick that lets a joint stop within `distance` of the tick's beginning, shape [N].

    Args:
        distance: not negative, shape [N], rad and m.
        acceleration: with which it brakes, shape [N].
        tick: its length [s].
    """
    speed = np.sqrt(2.0 * acceleration * distance)
    change = acceleration * tick
    return np.where(speed < change, distance / tick, speed - 0.5 * change)
