"""The arms as a tree of frames and primitives in a viser scene."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.types import FloatArray
from wav_policy.robot.description import WORLD, Shape, arm_bodies, body_pose, joint_values, rotate

if TYPE_CHECKING:
    import viser

_STILL: Final = 2e-4
"""A joint that moved less is not sent again [rad or m]."""
_SEGMENTS: Final = 16


class RobotScene:
    """Both arms, posed by joint positions.

    Args:
        server: whose scene they are added to.
        root: name of the node they hang on.
        opacity: below 1 for ghosts.
        colour: RGB 0..255 in place of the shapes' own.
    """

    def __init__(
        self, server: viser.ViserServer, root: str, opacity: float = 1.0, colour: tuple[int, int, int] | None = None
    ) -> None:
        self._root = server.scene.add_frame(root, show_axes=False)
        self._values: dict[str, float] = {}
        self._frames: dict[str, viser.FrameHandle] = {}
        paths = {WORLD: root}
        for body in arm_bodies():
            paths[body.name] = f"{paths[body.parent]}/{body.name}"
            position, quaternion = body_pose(body, 0.0)
            self._frames[body.name] = server.scene.add_frame(
                paths[body.name], show_axes=False, position=position, wxyz=quaternion
            )
            if body.joint is not None or opacity == 1.0:
                for number, shape in enumerate(body.shapes):
                    add_shape(server, f"{paths[body.name]}/{number}", shape, opacity, colour)

    def pose(self, positions: FloatArray) -> None:
        """Show joint positions [14], rad and m."""
        values = joint_values(positions)
        for body in arm_bodies():
            if body.joint is None:
                continue
            value = values[body.joint.name]
            if abs(value - self._values.get(body.joint.name, np.inf)) < _STILL:
                continue
            self._values[body.joint.name] = value
            frame = self._frames[body.name]
            position, quaternion = body_pose(body, value)
            if body.joint.slides:
                frame.position = position
            else:
                frame.wxyz = quaternion

    @property
    def visible(self) -> bool:
        """Whether it is shown."""
        return bool(self._root.visible)

    @visible.setter
    def visible(self, visible: bool) -> None:
        if visible != self._root.visible:
            self._root.visible = visible


def add_shape(
    server: viser.ViserServer,
    name: str,
    shape: Shape,
    opacity: float = 1.0,
    colour: tuple[int, int, int] | None = None,
) -> None:
    """Add a primitive; a capsule becomes a cylinder with two balls."""
    red, green, blue = colour or tuple(int(255 * channel) for channel in shape.rgba[:3])
    rgb, alpha = (red, green, blue), None if opacity == 1.0 else opacity
    scene, position, quaternion = server.scene, shape.position, shape.quaternion
    if shape.kind == "box":
        x, y, z = shape.size
        scene.add_box(name, rgb, (x, y, z), opacity=alpha, position=position, wxyz=quaternion)
        return
    if shape.kind == "sphere":
        scene.add_icosphere(name, shape.size[0], rgb, subdivisions=2, opacity=alpha, position=position)
        return
    radius, length = shape.size
    scene.add_cylinder(
        name, radius, length, rgb, radial_segments=_SEGMENTS, opacity=alpha, position=position, wxyz=quaternion
    )
    if shape.kind == "capsule":
        for end, sign in (("a", -1.0), ("b", 1.0)):
            centre = position + rotate(quaternion, np.array([0.0, 0.0, sign * length / 2]))
            scene.add_icosphere(f"{name}{end}", radius, rgb, subdivisions=2, opacity=alpha, position=centre)
