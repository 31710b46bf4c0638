"""The robot as bodies, joints and primitive shapes, read from the simulator's own model: for pictures of it.

RViz gets it as a URDF (`wav_policy.robot.urdf`), the browser as lines (`wav_policy.monitor.arm_strokes`). There is no
second set of numbers: the body tree is that of `wav_policy.robot.model.cell_xml`, which MuJoCo compiles. MuJoCo itself
is not needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final
from xml.etree import ElementTree

import numpy as np
from numpy.typing import ArrayLike

from wav_models.types import FloatArray
from wav_policy.robot.cameras import VIEWS
from wav_policy.robot.joints import ARM_DOF, SIDES
from wav_policy.robot.model import cell_xml

WORLD: Final = "world"
"""Name of the fixed frame: x away from the bases, y to the left, z up, table surface at z = 0."""


@dataclass(frozen=True)
class Joint:
    """One degree of freedom, about or along `axis` in the body's frame.

    Attributes:
        name: of the joint.
        slides: along the axis [m]; else it turns about it [rad].
        axis: unit vector, shape [3].
        limits: (lower, upper), rad or m.
    """

    name: str
    slides: bool
    axis: FloatArray
    limits: tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A primitive in its body's frame.

    Attributes:
        kind: "box", "cylinder", "capsule" or "sphere".
        size: box: edge lengths (x, y, z); cylinder and capsule: (radius, length along z, without the caps);
            sphere: (radius,) [m].
        position: centre, shape [3], m.
        quaternion: (w, x, y, z), shape [4].
        rgba: colour, 0..1, shape [4].
    """

    kind: str
    size: tuple[float, ...]
    position: FloatArray
    quaternion: FloatArray
    rgba: FloatArray


@dataclass(frozen=True)
class Body:
    """One rigid body.

    Attributes:
        name, parent: of the body and of the one it hangs on (`WORLD` for the bases).
        position, quaternion: of its frame in the parent's with the joint at zero; [3] m, [4] (w, x, y, z).
        joint: between parent and body; None when fixed.
        mass: [kg], 0 where the model gives none.
        shapes: what it looks like.
    """

    name: str
    parent: str
    position: FloatArray
    quaternion: FloatArray
    joint: Joint | None
    mass: float
    shapes: tuple[Shape, ...]


@dataclass(frozen=True)
class Camera:
    """One camera, in its optical frame: x to the right of the picture, y down, z into the scene (REP 103).

    Attributes:
        view: its name.
        parent: body that it hangs on.
        position, quaternion: of its frame in the parent's; [3] m, [4] (w, x, y, z).
        field_of_view: vertical [rad].
    """

    view: str
    parent: str
    position: FloatArray
    quaternion: FloatArray
    field_of_view: float

    @property
    def frame(self) -> str:
        """Name of the optical frame."""
        return camera_frame(self.view)

    def focal_length(self, height: int) -> float:
        """Of pictures of that height, of square pixels [px]."""
        return 0.5 * height / math.tan(0.5 * self.field_of_view)


def camera_frame(view: str) -> str:
    """Name of the optical frame of a view."""
    return f"{view}_camera"


@cache
def cameras() -> tuple[Camera, ...]:
    """Those of the model, in the order of the views."""
    world = ElementTree.fromstring(cell_xml("")).find("worldbody")
    assert world is not None
    parents = {child: element for element in world.iter() for child in element}
    found = {}
    for element in world.iter("camera"):
        right, up = _vector(element.get("xyaxes"), ()).reshape(2, 3)
        turn = _from_matrix(np.stack([right, -up, np.cross(right, -up)], axis=1))
        view, parent = element.get("name", ""), parents[element].get("name", WORLD)
        field_of_view = math.radians(float(element.get("fovy", "45")))
        found[view] = Camera(view, parent, _vector(element.get("pos"), (0.0, 0.0, 0.0)), turn, field_of_view)
    return tuple(found[view] for view in VIEWS)


@cache
def arm_bodies() -> tuple[Body, ...]:
    """Both arms with grippers, parents before children, left arm first."""
    world = ElementTree.fromstring(cell_xml("")).find("worldbody")
    assert world is not None
    roots = {element.get("name"): element for element in world.findall("body")}
    return tuple(body for side in SIDES for body in _bodies(roots[f"{side}_base"], WORLD))


def table_shapes() -> tuple[Shape, ...]:
    """What stands still: shapes of the world body, in the world frame."""
    world = ElementTree.fromstring(cell_xml("")).find("worldbody")
    assert world is not None
    return tuple(map(_shape, world.findall("geom")))


def joint_values(positions: ArrayLike) -> dict[str, float]:
    """Value of every joint of `arm_bodies` at measured positions [14]: a gripper's stroke is shared by its fingers."""
    arms = np.asarray(positions, dtype=np.float64).reshape(len(SIDES), ARM_DOF)
    values: dict[str, float] = {}
    for side, arm in zip(SIDES, arms, strict=True):
        values |= {f"{side}_joint{i + 1}": float(q) for i, q in enumerate(arm[:-1])}
        values |= {f"{side}_finger{number}": float(arm[-1]) / 2 for number in (1, 2)}
    return values


def local_pose(body: Body, values: Mapping[str, float]) -> tuple[FloatArray, FloatArray]:
    """Position [3], m, and quaternion (w, x, y, z) of a body in its parent's frame, at `joint_values`."""
    joint = body.joint
    if joint is None:
        return body.position, body.quaternion
    value = values[joint.name]
    if joint.slides:
        return body.position + rotate(body.quaternion, value * joint.axis), body.quaternion
    w, v = math.cos(0.5 * value), math.sin(0.5 * value) * joint.axis
    first, axis = body.quaternion[0], body.quaternion[1:]
    return body.position, np.array([first * w - axis @ v, *(first * v + w * axis + np.cross(axis, v))])


def rotate(quaternion: FloatArray, vector: FloatArray) -> FloatArray:
    """A vector [3] turned by a unit quaternion (w, x, y, z)."""
    w, axis = quaternion[0], quaternion[1:]
    return np.asarray(vector + 2.0 * np.cross(axis, np.cross(axis, vector) + w * vector))


def _bodies(element: ElementTree.Element, parent: str) -> Iterator[Body]:
    name = element.get("name", "")
    geoms = element.findall("geom")
    yield Body(
        name=name,
        parent=parent,
        position=_vector(element.get("pos"), (0.0, 0.0, 0.0)),
        quaternion=_vector(element.get("quat"), (1.0, 0.0, 0.0, 0.0)),
        joint=_joint(element.find("joint")),
        mass=sum(float(geom.get("mass", "0")) for geom in geoms),
        shapes=tuple(map(_shape, geoms)),
    )
    for child in element.findall("body"):
        yield from _bodies(child, name)


def _joint(element: ElementTree.Element | None) -> Joint | None:
    if element is None:
        return None
    low, high = _vector(element.get("range"), (0.0, 0.0))
    axis = _vector(element.get("axis"), (0.0, 0.0, 1.0))
    return Joint(element.get("name", ""), element.get("type") == "slide", axis, (float(low), float(high)))


def _shape(element: ElementTree.Element) -> Shape:
    kind = element.get("type", "sphere")
    size = _vector(element.get("size"), ())
    position = _vector(element.get("pos"), (0.0, 0.0, 0.0))
    quaternion = _vector(element.get("quat"), (1.0, 0.0, 0.0, 0.0))
    rgba = _vector(element.get("rgba"), (0.5, 0.5, 0.5, 1.0))
    if (ends := element.get("fromto")) is not None:
        start, end = _vector(ends, ()).reshape(2, 3)
        size = np.array([size[0], np.linalg.norm(end - start)])
        position, quaternion = (start + end) / 2, _from_z_to(end - start)
    elif kind in ("cylinder", "capsule"):
        size = np.array([size[0], 2 * size[1]])
    elif kind == "box":
        size = 2 * size
    elif kind != "sphere":
        raise ValueError(f"geom {element.get('name')!r} of type {kind!r}; box, cylinder, capsule and sphere are known")
    return Shape(kind, tuple(map(float, size)), position, quaternion, rgba)


def _from_z_to(direction: FloatArray) -> FloatArray:
    """The shortest rotation that turns z into `direction`, as a quaternion."""
    unit = direction / np.linalg.norm(direction)
    quaternion = np.array([1.0 + unit[2], -unit[1], unit[0], 0.0])
    length = float(np.linalg.norm(quaternion))
    return np.asarray(quaternion / length if length > 1e-9 else np.array([0.0, 1.0, 0.0, 0.0]))


def _from_matrix(rotation: FloatArray) -> FloatArray:
    """A rotation matrix [3, 3] as a quaternion: eigenvector of the largest eigenvalue of a 4 x 4 form (Bar-Itzhack)."""
    r = rotation
    form = np.array(
        [
            [r[0, 0] + r[1, 1] + r[2, 2], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [0.0, r[0, 0] - r[1, 1] - r[2, 2], r[0, 1] + r[1, 0], r[0, 2] + r[2, 0]],
            [0.0, 0.0, r[1, 1] - r[0, 0] - r[2, 2], r[1, 2] + r[2, 1]],
            [0.0, 0.0, 0.0, r[2, 2] - r[0, 0] - r[1, 1]],
        ]
    )
    _, vectors = np.linalg.eigh(form, UPLO="U")
    return np.asarray(vectors[:, -1])


def _vector(text: str | None, default: tuple[float, ...]) -> FloatArray:
    return np.array(default if text is None else text.split(), dtype=np.float64)
