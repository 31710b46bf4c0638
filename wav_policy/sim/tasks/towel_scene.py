"""The towel and the blocks beside it: sizes, folds, MJCF, and the area it covers."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from wav_models.types import FloatArray
from wav_policy.robot.model import OBJECT_CLASS

COUNT: Final = 10
SPACING: Final = 0.030
SIZE: Final = (COUNT - 1) * SPACING
"""Of the flat towel's edges [m]."""

RADIUS: Final = 0.004
LAYER: Final = 0.012
"""Height of a vertex that lies on the towel [m]."""

CENTRE_X: Final = (0.235, 0.260)
CENTRE_Y: Final = (-0.020, 0.020)
MAX_YAW: Final = 0.12
FOLDS: Final = (
    *((kind, rows) for kind in ("near", "far") for rows in (3, 4)),
    *((kind, rows) for kind in ("near_left", "near_right", "far_left", "far_right") for rows in (5, 6)),
)
"""Which edge or corner is folded over, and how many rows of vertices. Near is towards the bases."""

HELD_OUT_FOLDS: Final = (("near", 4), ("near_left", 6), ("far_right", 5))
"""Those of held-out layouts, and of no training layout."""

COVERAGE: Final = 0.90
"""Share of its area that a flat towel covers at least."""

GRIP_STROKE: Final = 0.030
"""Fingers closer than this hold what is between them [m]."""

MASS: Final = 0.1
"""[kg]"""
_RASTER: Final = 0.005
_DECOY_COLOURS: Final = ("0.0 0.70 0.80 1", "0.95 0.85 0.0 1")
CORNERS: Final = ("near_left", "near_right", "far_left", "far_right")


def fold(grid: FloatArray, kind: str, rows: int) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Mirror what lies beyond a line through vertices, so that no edge of the cloth crosses it.

    Args:
        grid: vertices of the flat towel about its centre [N, 2], m.
        kind: which edge or corner, as in `FOLDS`.
        rows: of vertices beyond the line.

    Returns:
        The folded vertices [N, 2], m, and which of them lie on others [N].
    """
    outward = direction(kind)
    line = SIZE / 2 * np.abs(outward).sum() - rows * SPACING
    beyond = np.maximum(grid @ outward - line, 0.0)
    mirrored = grid - 2 * beyond[:, None] * outward / (outward @ outward)
    return mirrored, beyond > 0.1 * SPACING


def direction(kind: str) -> FloatArray:
    """Direction of an edge or corner from the towel's centre [2], each component -1, 0 or 1."""
    return np.array([1.0 if "far" in kind else -1.0, {"left": 1.0, "right": -1.0}.get(kind.split("_")[-1], 0.0)])


def covered_area(vertices: FloatArray) -> float:
    """Area under a towel with vertices [100, 2] (m) on a raster of 5 mm, m^2."""
    pixels = np.round((vertices - vertices.min(axis=0)) / _RASTER).astype(np.int32).reshape(COUNT, COUNT, 2)
    height, width = pixels.reshape(-1, 2).max(axis=0) + 1
    raster = np.zeros((width, height), dtype=np.uint8)
    quads = np.stack([pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, 1:], pixels[1:, :-1]], axis=2).reshape(-1, 4, 2)
    for quad in quads:
        cv2.fillConvexPoly(raster, cv2.convexHull(quad), 1)
    return float(raster.sum()) * _RASTER**2


def decoy_mjcf(index: int) -> str:
    """A block beside the towel, 0: right, 1: left."""
    return f"""
    <body name="decoy{index}" pos="0.1 {0.4 * (2 * index - 1)} 0.1">
      <freejoint name="decoy{index}"/>
      <geom type="cylinder" size="0.022 0.020" mass="0.05" rgba="{_DECOY_COLOURS[index]}" contype="{OBJECT_CLASS[0]}"
            conaffinity="{OBJECT_CLASS[1]}" friction="0.8 0.01 0.0005"/>
    </body>"""
