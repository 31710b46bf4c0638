"""The MuJoCo model of the cell: two Piper arms from primitives, a table, three cameras; tasks add their objects.

The body tree is generated from the DH table of `kinematics`, so it cannot drift from the vendor's kinematics. Masses
and actuator gains are plausible rather than identified. World frame: x away from the bases, y to the left, z up, table
surface at z = 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.joints import SIDES
from wav_policy.robot.kinematics import JOINT_LIMITS, LINKS, MAX_STROKE, TOOL_LENGTH, inverse

if TYPE_CHECKING:
    import mujoco

BASE_POSITIONS: Final = {"left": np.array([0.0, 0.22, 0.05]), "right": np.array([0.0, -0.22, 0.05])}
"""Base frame of every arm in the world [m]; on 5 cm plinths, which keeps joint 5 clear of its limit over the table."""

TIME_STEP: Final = 0.004
"""Physics step [s]."""

GRIP_FORCE: Final = 12.0
"""Largest closing force between the fingers [N]."""

HOME_TIP: Final = np.array([0.16, 0.0, 0.08])
"""Finger tips at home, in the arm's base frame [m]."""

HOME_ROLL: Final = {"left": -np.pi / 2, "right": np.pi / 2}
"""Joint 6 while working [rad]: the fingers open along the arm's own vertical plane, the camera is on the outer side."""

# Collision classes: (contype, conaffinity). Two geoms collide when one's type meets the other's affinity.
TABLE_CLASS: Final = (1, 0)
OBJECT_CLASS: Final = (2, 1 | 2)
_ARM_CLASSES: Final = {"left": (4, 1 | 2 | 8), "right": (8, 1 | 2 | 4)}

_LINK_MASSES: Final = (0.71, 1.17, 0.50, 0.38, 0.38, 0.05)
_ARMATURES: Final = (0.10, 0.10, 0.10, 0.02, 0.02, 0.02)
_STIFFNESSES: Final = (400.0, 400.0, 400.0, 60.0, 60.0, 60.0)
_DAMPINGS: Final = (24.0, 24.0, 24.0, 3.0, 3.0, 3.0)
_TORQUE_LIMITS: Final = (30.0, 30.0, 30.0, 10.0, 10.0, 10.0)
_SHELL: Final = "0.30 0.31 0.34 1"
_FINGER_COLOURS: Final = {"left": "0.10 0.80 0.20 1", "right": "0.65 0.15 0.85 1"}


def home_positions() -> FloatArray:
    """Both arms at rest over the table, grippers open; shape [14]."""
    return np.concatenate([np.append(inverse(HOME_TIP, HOME_ROLL[side]), MAX_STROKE) for side in SIDES])


def build_model(objects: str, settings: str = "") -> mujoco.MjModel:
    """Compile the cell with a task's objects.

    Args:
        objects: MJCF elements of the world body, as `Task.objects()` returns them.
        settings: MJCF sections beside the world body; they override the cell's own.
    """
    from wav_policy.robot.physics import mujoco

    return mujoco.MjModel.from_xml_string(cell_xml(objects, settings))


def cell_xml(objects: str, settings: str = "") -> str:
    """MJCF of the whole cell."""
    arms = "".join(_arm(side) for side in SIDES)
    actuation = [_actuation(side) for side in SIDES]
    return f"""
<mujoco model="piper_cell">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIME_STEP}" integrator="implicitfast" cone="elliptic" impratio="20" noslip_iterations="3"/>
  <visual>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.35 0.35 0.35" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="0"/>
    <global offwidth="640" offheight="480"/>
    <map znear="0.01" zfar="20"/>
  </visual>
  <worldbody>
    <light pos="0.6 0 1.5" dir="-0.2 0 -1" diffuse="0.35 0.35 0.35" specular="0 0 0" castshadow="false"/>
    <geom name="table" type="box" size="0.5 0.7 0.02" pos="0.25 0 -0.02" rgba="0.80 0.78 0.70 1"
          contype="{TABLE_CLASS[0]}" conaffinity="{TABLE_CLASS[1]}" friction="0.8 0.005 0.0001"/>
    {_camera("head", np.array([0.56, 0.0, 0.72]), np.array([0.235, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]), 27.5)}
    {arms}
    {objects}
  </worldbody>
  {settings}
  <tendon>{"".join(tendon for tendon, _, _ in actuation)}</tendon>
  <equality>{"".join(equality for _, equality, _ in actuation)}</equality>
  <actuator>{"".join(actuator for _, _, actuator in actuation)}</actuator>
</mujoco>"""


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _camera(name: str, position: FloatArray, target: FloatArray, right: FloatArray, fovy: float) -> str:
    """A camera at `position` looking at `target`, image x axis along `right`; vertical field of view in degrees."""
    backward = (position - target) / np.linalg.norm(position - target)
    up = np.cross(backward, right)
    return f'<camera name="{name}" pos="{_numbers(position)}" xyaxes="{_numbers(right)} {_numbers(up)}" fovy="{fovy}"/>'


def _arm(side: str) -> str:
    """One arm: plinth and base, then the six links nested by their DH transforms, then the gripper."""
    xml = _gripper(side)
    for index in reversed(range(len(LINKS))):
        xml = _link(side, index, xml)
    x, y, z = BASE_POSITIONS[side]
    return f"""
    <body name="{side}_base" pos="{x} {y} {z}">
      <geom type="box" size="0.06 0.06 {z / 2}" pos="0 0 {-z / 2}" rgba="0.15 0.15 0.15 1"
            contype="{TABLE_CLASS[0]}" conaffinity="{TABLE_CLASS[1]}"/>
      <geom type="cylinder" size="0.045 0.04" pos="0 0 0.04" rgba="{_SHELL}"
            contype="{TABLE_CLASS[0]}" conaffinity="{TABLE_CLASS[1]}"/>
      {xml}
    </body>"""


def _link(side: str, index: int, child: str) -> str:
    """Body of link `index` (0-based) around `child`: the DH transform at zero, a hinge about z, a shape with mass."""
    link = LINKS[index]
    position = link.transform(0.0)[:3, 3]
    half_alpha, half_theta = link.alpha / 2, link.theta_0 / 2
    quaternion = np.array(  # Rx(alpha) Rz(theta_0), scalar first
        [
            np.cos(half_alpha) * np.cos(half_theta),
            np.sin(half_alpha) * np.cos(half_theta),
            -np.sin(half_alpha) * np.sin(half_theta),
            np.cos(half_alpha) * np.sin(half_theta),
        ]
    )
    low, high = JOINT_LIMITS[index]
    shapes = (
        'type="cylinder" size="0.045" fromto="0 0 -0.06 0 0 0.03"',
        f'type="capsule" size="0.035" fromto="0 0 0 {LINKS[2].a} 0 0"',
        f'type="capsule" size="0.030" fromto="0 0 0 {LINKS[3].a} {-LINKS[3].d * 0.85} 0"',
        'type="cylinder" size="0.028" fromto="0 0 -0.07 0 0 0"',
        'type="sphere" size="0.032"',
        'type="cylinder" size="0.024" fromto="0 0 -0.06 0 0 0"',
    )
    contype, conaffinity = _ARM_CLASSES[side] if index > 0 else TABLE_CLASS
    return f"""
    <body name="{side}_link{index + 1}" pos="{_numbers(position)}" quat="{_numbers(quaternion)}" gravcomp="1">
      <joint name="{side}_joint{index + 1}" axis="0 0 1" range="{low} {high}" armature="{_ARMATURES[index]}"
             damping="0.5"/>
      <geom {shapes[index]} mass="{_LINK_MASSES[index]}" rgba="{_SHELL}"
            contype="{contype}" conaffinity="{conaffinity}"/>
      {child}
    </body>"""


def _gripper(side: str) -> str:
    """Palm, wrist camera and two fingers that slide apart along the flange's y axis; content of link 6."""
    contype, conaffinity = _ARM_CLASSES[side]
    colour = _FINGER_COLOURS[side]
    camera = _camera(
        f"{side}_wrist", np.array([-0.080, 0.0, 0.02]), np.array([0.012, 0.0, 0.185]), np.array([0.0, -1.0, 0.0]), 72.0
    )
    fingers = "".join(
        f"""
        <body name="{side}_finger{number}" gravcomp="1">
          <joint name="{side}_finger{number}" type="slide" axis="0 {sign} 0" range="0 {MAX_STROKE / 2}" damping="2"
                 armature="0.1"/>
          <geom name="{side}_finger{number}" type="box" size="0.009 0.004 0.036"
                pos="0 {sign * 0.004} {TOOL_LENGTH - 0.036}" mass="0.03" rgba="{colour}"
                friction="1.5 0.02 0.001" condim="4" priority="1" solref="0.01 1"
                contype="{contype}" conaffinity="{conaffinity}"/>
        </body>"""
        for number, sign in ((1, 1), (2, -1))
    )
    return f"""
      <site name="{side}_tip" pos="0 0 {TOOL_LENGTH}" size="0.002" rgba="0 0 0 0"/>
      {camera}
      <geom name="{side}_palm" type="box" size="0.020 0.045 0.030" pos="0 0 0.030" mass="0.40" rgba="{colour}"
            contype="{contype}" conaffinity="{conaffinity}"/>
      {fingers}"""


def _actuation(side: str) -> tuple[str, str, str]:
    """Tendon (the stroke), equality (the fingers' coupling) and position actuators of one arm."""
    tendon = f"""
    <fixed name="{side}_stroke">
      <joint joint="{side}_finger1" coef="1"/><joint joint="{side}_finger2" coef="1"/>
    </fixed>"""
    equality = f"""
    <joint joint1="{side}_finger1" joint2="{side}_finger2" polycoef="0 1 0 0 0" solref="0.01 1"/>"""
    actuators = "".join(
        f"""
    <position name="{side}_joint{i + 1}" joint="{side}_joint{i + 1}" kp="{_STIFFNESSES[i]}" kv="{_DAMPINGS[i]}"
              forcerange="{-_TORQUE_LIMITS[i]} {_TORQUE_LIMITS[i]}"/>"""
        for i in range(len(LINKS))
    )
    gripper = f"""
    <position name="{side}_gripper" tendon="{side}_stroke" kp="1000" kv="30"
              forcerange="{-GRIP_FORCE} {GRIP_FORCE}"/>"""
    return tendon, equality, actuators + gripper
