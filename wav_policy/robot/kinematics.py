"""Geometry of one Piper arm: modified Denavit-Hartenberg table, forward and inverse kinematics.

Everything is in the arm's base frame (x forward, z up), metres and radians. The table is the vendor's
(`piper_sdk.kinematics.C_PiperForwardKinematics`, 2 degree offset form); the simulated body tree is built from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, atan2, cos, hypot, pi, radians, sin
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wav_models.types import FloatArray

NUM_ARM_JOINTS: Final = 6

MAX_STROKE: Final = 0.070
"""Total opening of the gripper [m]."""

MAX_JOINT_VELOCITY: Final = 3.0
"""[rad/s], every joint."""

TOOL_LENGTH: Final = 0.135
"""From the flange (frame 6) to the finger tips along the flange's z axis [m]."""


@dataclass(frozen=True)
class Link:
    """One row of the modified DH table: T = Rx(alpha) Tx(a) Rz(theta_0 + q) Tz(d)."""

    a: float
    alpha: float
    theta_0: float
    d: float

    def transform(self, q: float) -> FloatArray:
        """Pose of this link's frame in the previous one at joint angle `q` [rad], shape [4, 4]."""
        ca, sa = cos(self.alpha), sin(self.alpha)
        ct, st = cos(self.theta_0 + q), sin(self.theta_0 + q)
        return np.array(
            [
                [ct, -st, 0.0, self.a],
                [st * ca, ct * ca, -sa, -sa * self.d],
                [st * sa, ct * sa, ca, ca * self.d],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )


LINKS: Final = (
    Link(0.0, 0.0, 0.0, 0.123),
    Link(0.0, -pi / 2, radians(-172.22), 0.0),
    Link(0.28503, 0.0, radians(-102.78), 0.0),
    Link(-0.02198, pi / 2, 0.0, 0.25075),
    Link(0.0, -pi / 2, 0.0, 0.0),
    Link(0.0, pi / 2, 0.0, 0.091),
)

JOINT_LIMITS: Final = np.radians([[-150, 150], [0, 180], [-170, 0], [-100, 100], [-70, 70], [-120, 120]])
"""Lower and upper limit of every joint, shape [6, 2], rad."""

# The arm seen from the side when joint 4 is zero: two links in the vertical plane that joint 1 turns.
_UPPER_ARM: Final = LINKS[2].a
_FOREARM: Final = hypot(LINKS[3].a, LINKS[3].d)
_SHOULDER_HEIGHT: Final = LINKS[0].d
_WRIST_TO_TIP: Final = LINKS[5].d + TOOL_LENGTH
_UPPER_ARM_ELEVATION_0: Final = -LINKS[1].theta_0
"""Elevation of the upper arm at q2 = 0 [rad]; it falls by q2."""
_TOOL_ELEVATION_0: Final = -LINKS[1].theta_0 - LINKS[2].theta_0 - 1.5 * pi
"""Elevation of the tool axis at q2 = q3 = q5 = 0 [rad]; it falls by q2 + q3 + q5."""
_FOREARM_ELEVATION_0: Final = _TOOL_ELEVATION_0 + atan2(-LINKS[3].a, LINKS[3].d)

_LEANS: Final = tuple(radians(degrees) for degrees in range(91))
_Planar = tuple[float, float, float]
"""q2, q3, q5 [rad]."""


class UnreachableError(ValueError):
    """No joint position puts the finger tips at the wanted point."""


def forward(joints: ArrayLike) -> FloatArray:
    """Poses of the six link frames in the base frame at `joints` [6]; shape [6, 4, 4], the last is the flange."""
    pose = np.eye(4)
    poses = []
    for link, q in zip(LINKS, np.asarray(joints, dtype=np.float64), strict=True):
        pose = pose @ link.transform(float(q))
        poses.append(pose)
    return np.stack(poses)


def tip_position(joints: ArrayLike) -> FloatArray:
    """Point between the finger tips at `joints` [6], shape [3], m."""
    flange = forward(joints)[-1]
    return flange[:3, 3] + TOOL_LENGTH * flange[:3, 2]


def inverse(tip: ArrayLike, roll: float = 0.0) -> FloatArray:
    """Joints that put the finger tips at `tip` [3] with the gripper as vertical as joint 5 allows.

    Position comes first: where joint 5 cannot bring the gripper vertical, it leans outwards in the arm's vertical
    plane by the smallest angle that reaches. Joint 4 stays zero and joint 6 is `roll` [rad], so the answer is unique
    and continuous in `tip`.

    Returns:
        Joint angles, shape [6], rad.

    Raises:
        UnreachableError: the point is out of reach at every lean.
    """
    x, y, z = (float(value) for value in np.asarray(tip, dtype=np.float64))
    turn, radius = atan2(y, x), hypot(x, y)
    for index, lean in enumerate(_LEANS):
        planar = _planar_inverse(radius, z, lean - pi / 2)
        if planar is not None:
            if index > 0:
                planar = _refine_lean(radius, z, _LEANS[index - 1], lean, planar)
            q2, q3, q5 = planar
            return np.array([turn, q2, q3, 0.0, q5, roll])
    raise UnreachableError(
        f"finger tips at ({x:.3f}, {y:.3f}, {z:.3f}) m are out of the Piper's reach; stay within 0.5 m of its base"
    )


def _refine_lean(radius: float, z: float, infeasible: float, feasible: float, solution: _Planar) -> _Planar:
    """Bisect for the smallest feasible lean between the two given [rad], so that the answer is continuous."""
    for _ in range(20):
        middle = (infeasible + feasible) / 2
        planar = _planar_inverse(radius, z, middle - pi / 2)
        if planar is None:
            infeasible = middle
        else:
            feasible, solution = middle, planar
    return solution


def _planar_inverse(radius: float, z: float, tool_elevation: float) -> _Planar | None:
    """Elbow-up (q2, q3, q5) for a tip at (radius, z) with the given tool elevation; None outside reach or limits."""
    wrist_r = radius - _WRIST_TO_TIP * cos(tool_elevation)
    wrist_z = z - _WRIST_TO_TIP * sin(tool_elevation) - _SHOULDER_HEIGHT
    distance = hypot(wrist_r, wrist_z)
    if not abs(_UPPER_ARM - _FOREARM) < distance < _UPPER_ARM + _FOREARM:
        return None
    direction = atan2(wrist_z, wrist_r)
    shoulder = acos((_UPPER_ARM**2 + distance**2 - _FOREARM**2) / (2 * _UPPER_ARM * distance))
    upper_arm = direction + shoulder
    forearm = atan2(wrist_z - _UPPER_ARM * sin(upper_arm), wrist_r - _UPPER_ARM * cos(upper_arm))
    q2 = _UPPER_ARM_ELEVATION_0 - upper_arm
    q3 = _FOREARM_ELEVATION_0 - forearm - q2
    q5 = _TOOL_ELEVATION_0 - q2 - q3 - tool_elevation
    for q, joint in ((q2, 1), (q3, 2), (q5, 4)):
        low, high = JOINT_LIMITS[joint]
        if not low <= q <= high:
            return None
    return q2, q3, q5
