"""The robot as a URDF for RViz and robot_state_publisher: `python -m wav_policy.robot.urdf [FILE]`.

Generated from the simulator's own bodies, so frames, joint names and limits are those of the simulation and of the
topic `joint_states`. A gripper is one joint, `<side>_gripper`, whose position is the stroke; both fingers mimic half of
it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.description import WORLD, Body, Camera, Joint, Shape, arm_bodies, cameras, table_shapes
from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import MAX_JOINT_VELOCITY, MAX_STROKE

FILE: Final = "config/piper_bimanual.urdf"
"""Where the generated file is kept in the checkout."""

_EFFORT: Final = "100"
"""URDF demands a number; nothing here uses it [N m]."""
_GRIPPER_SPEED: Final = "0.1"
"""The same [m/s]."""
_MIN_MASS: Final = 0.01
"""Links without a mass in the model, such as the bases [kg]."""


def robot_urdf() -> str:
    """URDF of both arms on their table."""
    robot = Element("robot", name="piper_bimanual")
    _add_link(robot, WORLD, table_shapes(), mass=0.0)
    for body in arm_bodies():
        _add_link(robot, body.name, body.shapes, body.mass)
        _add_joint(robot, body)
    for side in SIDES:
        _add_gripper(robot, side)
    for camera in cameras():
        _add_camera(robot, camera)
    ElementTree.indent(robot)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(robot, encoding="unicode") + "\n"


def _add_link(robot: Element, name: str, shapes: Iterable[Shape], mass: float) -> None:
    link = SubElement(robot, "link", name=name)
    if name != WORLD:
        inertial = SubElement(link, "inertial")
        SubElement(inertial, "mass", value=f"{max(mass, _MIN_MASS):g}")
        moments = {"ixx": "1e-4", "iyy": "1e-4", "izz": "1e-4", "ixy": "0", "ixz": "0", "iyz": "0"}
        SubElement(inertial, "inertia", moments)
    for number, shape in enumerate(shapes):
        visual = SubElement(link, "visual")
        _add_origin(visual, shape.position, shape.quaternion)
        geometry = SubElement(visual, "geometry")
        if shape.kind == "box":
            SubElement(geometry, "box", size=_numbers(shape.size))
        elif shape.kind == "sphere":
            SubElement(geometry, "sphere", radius=f"{shape.size[0]:g}")
        else:  # URDF has no capsules
            SubElement(geometry, "cylinder", radius=f"{shape.size[0]:g}", length=f"{shape.size[1]:g}")
        material = SubElement(visual, "material", name=f"{name}_{number}")
        SubElement(material, "color", rgba=_numbers(shape.rgba))


def _add_joint(robot: Element, body: Body) -> None:
    joint = body.joint
    kind = "fixed" if joint is None else "prismatic" if joint.slides else "revolute"
    element = SubElement(robot, "joint", name=f"{body.name}_mount" if joint is None else joint.name, type=kind)
    _add_origin(element, body.position, body.quaternion)
    SubElement(element, "parent", link=body.parent)
    SubElement(element, "child", link=body.name)
    if joint is not None:
        SubElement(element, "axis", xyz=_numbers(joint.axis))
        _add_limits(element, joint)
        if joint.slides:
            side = body.name.partition("_")[0]
            SubElement(element, "mimic", joint=f"{side}_gripper", multiplier="0.5", offset="0")


def _add_limits(element: Element, joint: Joint) -> None:
    low, high = joint.limits
    speed = _GRIPPER_SPEED if joint.slides else f"{MAX_JOINT_VELOCITY:g}"
    SubElement(element, "limit", lower=f"{low:.9g}", upper=f"{high:.9g}", effort=_EFFORT, velocity=speed)


def _add_gripper(robot: Element, side: str) -> None:
    """The contract's gripper joint: an empty link that slides by the stroke, for the fingers to mimic."""
    SubElement(robot, "link", name=f"{side}_stroke")
    element = SubElement(robot, "joint", name=f"{side}_gripper", type="prismatic")
    _add_origin(element, np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0]))
    SubElement(element, "parent", link=f"{side}_link6")
    SubElement(element, "child", link=f"{side}_stroke")
    SubElement(element, "axis", xyz="0 1 0")
    SubElement(element, "limit", lower="0", upper=f"{MAX_STROKE:g}", effort=_EFFORT, velocity=_GRIPPER_SPEED)


def _add_camera(robot: Element, camera: Camera) -> None:
    """An empty link, its optical frame."""
    SubElement(robot, "link", name=camera.frame)
    element = SubElement(robot, "joint", name=f"{camera.frame}_mount", type="fixed")
    _add_origin(element, camera.position, camera.quaternion)
    SubElement(element, "parent", link=camera.parent)
    SubElement(element, "child", link=camera.frame)


def _add_origin(element: Element, position: FloatArray, quaternion: FloatArray) -> None:
    SubElement(element, "origin", xyz=_numbers(position), rpy=_numbers(_roll_pitch_yaw(quaternion)))


def _roll_pitch_yaw(quaternion: FloatArray) -> FloatArray:
    """Angles [3] with R = Rz(yaw) Ry(pitch) Rx(roll), as URDF means them [rad]."""
    w, x, y, z = quaternion
    sine = float(np.clip(2 * (w * y - z * x), -1.0, 1.0))
    if abs(sine) > 1.0 - 1e-12:  # gimbal lock: only the difference of the other two angles counts
        return np.array([2 * np.sign(sine) * np.arctan2(x, w), np.pi / 2 * np.sign(sine), 0.0])
    return np.array(
        [
            np.arctan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
            np.arcsin(sine),
            np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
        ]
    )


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{float(value):.9g}" for value in values)


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else FILE).write_text(robot_urdf(), encoding="utf-8")
