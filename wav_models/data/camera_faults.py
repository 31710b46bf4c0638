"""Cameras that show the same picture while the arms move: frozen ones, and ones slower than the dataset says."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from wav_models.data.joint_names import side_of
from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray

UNCHANGED: Final = 0.05
"""Grey levels by which two pictures of a moving arm differ at least; 0.25 to 9 in recordings, about 0 encoded twice."""
MOVING: Final = 0.01
"""Between two frames some joint turns, or the tool moves, farther than this [rad, m] while an arm moves."""
FROZEN_SECONDS: Final = 0.5
SLOW_SHARE: Final = 0.25
"""So many pictures of a moving arm may repeat the one before: a driver drops some."""


def repeated(
    changes: NDArray[np.float32], states: FloatArray, robot: Embodiment, view: str
) -> NDArray[np.bool_] | None:
    """Frames whose picture is that of the frame before though an arm that the camera sees has moved since.

    Args:
        changes: of every frame's picture to the one before, shape [T]; see `VideoFacts`.
        states: shape [T, S], in the robot's units.
        robot: whose they are.
        view: one that is named after an arm moves with it; any other sees all of them.

    Returns:
        Shape [T]; None where that arm moves in too few frames to tell.
    """
    side = side_of(view)
    joints = [c for c, joint in enumerate(robot.state) if not joint.gripper and side in (None, side_of(joint.name))]
    moved = np.abs(np.diff(states[:, joints], axis=0, prepend=states[:1, joints])).max(axis=1) > MOVING
    if moved.sum() < 2:
        return None
    return np.asarray(moved & (changes < UNCHANGED))


def frozen(changes: NDArray[np.float32], doubtful: NDArray[np.bool_]) -> tuple[int, int, int]:
    """The stretch of one picture in which an arm moves in most frames: its first frame, length, and how many those are.

    Args:
        changes: see `repeated`.
        doubtful: what `repeated` says.
    """
    found = (0, 0, 0)
    for start, end in _stretches(np.asarray(changes < UNCHANGED)):
        found = max(found, (start, end - start, int(doubtful[start:end].sum())), key=lambda stretch: stretch[2])
    return found


def longest(frames: NDArray[np.bool_]) -> int:
    """Length of the longest stretch of true ones."""
    return max((end - start for start, end in _stretches(frames)), default=0)


def _stretches(frames: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame of every stretch of true ones, and the frame after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], frames, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
