"""The arms as thick lines in space, which a browser draws without a graphics card."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.description import WORLD, Body, Joint, Shape, arm_bodies, joint_values, rotate

_AXES: Final = np.eye(3)


@dataclass(frozen=True)
class Stroke:
    """A line with round ends.

    Attributes:
        body: index in `arm_bodies` of the one it belongs to.
        ends: in the body's frame, shape [2, 3], m.
        radius: [m].
        colour: as in HTML.
    """

    body: int
    ends: FloatArray
    radius: float
    colour: str

    @classmethod
    def of(cls, body: int, shape: Shape) -> Stroke:
        """Along the longest edge of a box, along the axis of anything else."""
        radius, axis, length = shape.size[0], _AXES[2], shape.size[-1]
        if shape.kind == "box":
            *thin, longest = np.argsort(shape.size)
            radius, axis = float(np.mean([shape.size[edge] for edge in thin])) / 2, _AXES[longest]
            length = max(shape.size[longest] - 2 * radius, 0.0)
        elif shape.kind == "sphere":
            length = 0.0
        half = rotate(shape.quaternion, axis * length / 2)
        red, green, blue = (round(255 * channel) for channel in shape.rgba[:3].tolist())
        ends = np.stack([shape.position - half, shape.position + half])
        return cls(body, ends, radius, f"#{red:02x}{green:02x}{blue:02x}")


@cache
def strokes() -> tuple[Stroke, ...]:
    """Of both arms, left first."""
    return tuple(Stroke.of(number, shape) for number, body in enumerate(arm_bodies()) for shape in body.shapes)


def stroke_ends(positions: FloatArray) -> FloatArray:
    """Where they are in the world at joint positions [14]: shape [S, 2, 3], m."""
    values = joint_values(positions)
    poses = {WORLD: np.eye(4)}
    for body in arm_bodies():
        pose = poses[body.parent] @ _at_zero(body.name)
        poses[body.name] = pose if body.joint is None else pose @ _moved(body.joint, values[body.joint.name])
    indices, ends = _stacked()
    turned = np.array([poses[body.name] for body in arm_bodies()])[indices]
    return np.asarray(ends @ turned[:, :3, :3].transpose(0, 2, 1) + turned[:, None, :3, 3])


@cache
def _stacked() -> tuple[list[int], FloatArray]:
    return [stroke.body for stroke in strokes()], np.array([stroke.ends for stroke in strokes()])


@cache
def _at_zero(name: str) -> FloatArray:
    """Pose [4, 4] of a body in its parent with its joint at zero."""
    body: Body = next(body for body in arm_bodies() if body.name == name)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([rotate(body.quaternion, axis) for axis in _AXES], axis=1)
    pose[:3, 3] = body.position
    return pose


def _moved(joint: Joint, value: float) -> FloatArray:
    """Pose [4, 4] of a body in its frame at zero; a turn by Rodrigues' formula."""
    pose = np.eye(4)
    if joint.slides:
        pose[:3, 3] = joint.axis * value
        return pose
    x, y, z = joint.axis.tolist()
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    pose[:3, :3] += math.sin(value) * cross + (1.0 - math.cos(value)) * (cross @ cross)
    return pose
