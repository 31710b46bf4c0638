"""What a plan thought, as standard messages: value over the horizon, scores per round, gripper paths.

`imagined/value` and `imagined/rounds` are std_msgs/Float32MultiArray whose dimensions say what they hold. A round has
one row of mean values and one of scores over its M futures, and one that is 1 at the future that is acted on, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point
from std_msgs.msg import ColorRGBA, Float32MultiArray, MultiArrayDimension
from visualization_msgs.msg import Marker, MarkerArray

from wav_models.types import FloatArray, Plan
from wav_models.words import counted
from wav_policy.nodes.messages.joint_state import seconds_to_stamp
from wav_policy.nodes.messages.limits import MessageError
from wav_policy.policy.imagined_motion import ImaginedMotion, gripper_paths, value_colours, value_scale, values_along
from wav_policy.robot.description import WORLD
from wav_policy.robot.joints import SIDES

VALUE_TOPIC: Final = "imagined/value"
ROUNDS_TOPIC: Final = "imagined/rounds"
MARKERS_TOPIC: Final = "imagined/markers"

_VALUE_LABELS: Final = ("time [s], value", "step")
_ROUND_LABELS: Final = ("round", "mean value, score, taken", "future")


@dataclass(frozen=True)
class PlanRounds:
    """How the planner concentrated: mean value and score of every future of every round, shapes [K, M]; round and
    future that is acted on, from 0, None where that is none of them."""

    mean_values: FloatArray
    scores: FloatArray
    taken: tuple[int, int] | None = None


def value_message(plan: Plan) -> Float32MultiArray:
    """Predicted value of the chosen future over time after the observation."""
    times = plan.chunk.step * np.linspace(1.0, len(plan.chunk.positions), len(plan.values))
    return _array(np.stack([times, plan.values]), _VALUE_LABELS)


def value_from_message(message: Float32MultiArray) -> tuple[FloatArray, FloatArray]:
    """Times [T] after the observation [s] and values [T]; MessageError where it says something else."""
    times, values = _from_array(message, _VALUE_LABELS, rows=2)
    if not len(values):
        raise MessageError("a plan without a value")
    return times, values


def rounds_message(plan: Plan) -> Float32MultiArray:
    """Mean value and score per round and future, and which one is acted on."""
    values = np.zeros((len(plan.rounds), 3, len(plan.rounds[0].video_score) if plan.rounds else 0))
    for row, entry in zip(values, plan.rounds, strict=True):
        row[:2] = entry.mean_value, entry.video_score
    if plan.chosen is not None:
        number, future = plan.chosen
        values[number, 2, future] = 1.0
    return _array(values, _ROUND_LABELS)


def rounds_from_message(message: Float32MultiArray) -> PlanRounds:
    """The inverse of `rounds_message`; MessageError where it says something else."""
    rounds = _from_array(message, _ROUND_LABELS, rows=3)
    taken = [(int(number), int(future)) for number, future in np.argwhere(rounds[:, 2] > 0.5)]
    return PlanRounds(rounds[:, 0], rounds[:, 1], taken[0] if taken else None)


def markers_message(chosen: ImaginedMotion, others: Sequence[ImaginedMotion], lifetime: float) -> MarkerArray:
    """Gripper paths of both arms, coloured by value: thick for the chosen chunk, thin for others; values as text.

    Args:
        chosen, others: what is shown.
        lifetime: the markers vanish after this time unless new ones come [s].
    """
    seconds, fraction = divmod(lifetime, 1.0)
    vanish = Duration(sec=int(seconds), nanosec=int(1e9 * fraction))
    scale = value_scale([chosen, *others])
    stamp = seconds_to_stamp(chosen.chunk.stamp)
    markers = [Marker(action=Marker.DELETEALL)]
    for number, motion in enumerate((chosen, *others)):
        kind, width, alpha = ("chosen", 0.006, 1.0) if number == 0 else ("other", 0.002, 0.6)
        colours = [_colour(rgb, alpha) for rgb in value_colours(values_along(motion), scale)]
        for arm, (side, path) in enumerate(zip(SIDES, gripper_paths(motion.chunk.positions), strict=True)):
            identity: dict[str, Any] = {"id": number * len(SIDES) + arm, "lifetime": vanish}
            points = [_point(point) for point in path]
            line = Marker(ns=f"{kind} {side}", type=Marker.LINE_STRIP, points=points, colors=colours, **identity)
            line.scale.x = width
            text = Marker(ns=f"value {side}", type=Marker.TEXT_VIEW_FACING, text=f"{motion.value:.2f}", **identity)
            text.pose.position, text.color, text.scale.z = _point(path[-1] + [0.0, 0.0, 0.03]), colours[-1], 0.03
            markers += [line, text]
    for marker in markers:
        marker.header.frame_id, marker.header.stamp = WORLD, stamp
        marker.pose.orientation.w = 1.0
    return MarkerArray(markers=markers)


def _point(xyz: FloatArray) -> Point:
    x, y, z = map(float, xyz)
    return Point(x=x, y=y, z=z)


def _colour(rgb: FloatArray, alpha: float) -> ColorRGBA:
    red, green, blue = map(float, rgb)
    return ColorRGBA(r=red, g=green, b=blue, a=alpha)


def _array(values: FloatArray, labels: Sequence[str]) -> Float32MultiArray:
    message = Float32MultiArray(data=values.ravel().tolist())
    stride = values.size
    for label, size in zip(labels, values.shape, strict=True):
        message.layout.dim.append(MultiArrayDimension(label=label, size=size, stride=stride))
        stride //= max(size, 1)
    return message


def _from_array(message: Float32MultiArray, labels: Sequence[str], rows: int) -> FloatArray:
    """The values in their shape, so many along the axis before the last; MessageError where it is another one, or they
    are not finite."""
    found = [dimension.label for dimension in message.layout.dim]
    shape = [dimension.size for dimension in message.layout.dim]
    values = np.asarray(message.data, dtype=np.float64)
    if found != list(labels) or shape[-2] != rows or math.prod(shape) != values.size:
        raise MessageError(
            f"{counted(values.size, 'value')} in {shape} {found}; {list(labels)} with {counted(rows, 'row')} "
            "were expected"
        )
    if not np.isfinite(values).all():
        raise MessageError(f"{found[-1]} values that are not finite")
    return values.reshape(shape)
