"""The reward terms of Table 2: one function per formula; which robot uses which is in its embodiment.

Conventions where the paper leaves a choice:
- images are compared as values 0..255, after the resize that `wav label` was given;
- SSIM is that of Wang et al. 2004 (Gaussian window, sigma 1.5, 11 px), per colour channel, averaged over the interior;
- differences are per recorded frame, not per second, and zero where the episode has no earlier frame;
- states of one arm are its joints and its gripper in their units, as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from wav_models.embodiment import Embodiment
from wav_models.types import FloatArray, ImageArray

MSE_SCALE: Final = 0.01
"""Table 2; for squared differences of 0..255 values."""

SSIM_SIGMA: Final = 1.5
SSIM_RADIUS: Final = 5
_SSIM_C1: Final = (0.01 * 255) ** 2
_SSIM_C2: Final = (0.03 * 255) ** 2


def image_mse(images: ImageArray) -> FloatArray:
    """c_1, c_3: exp(-0.01 MSE(I_t, I_T)) of images [T, H, W, 3]; shape [T], in (0, 1]."""
    difference = images.astype(np.float32) - images[-1].astype(np.float32)
    return np.exp(-MSE_SCALE * np.mean(difference**2, axis=(1, 2, 3), dtype=np.float64))


def image_ssim(images: ImageArray) -> FloatArray:
    """c_2, c_4: exp(SSIM(I_t, I_T) - 1) of images [T, H, W, 3]; shape [T], in (0, 1]."""
    goal = images[-1].astype(np.float32)
    return np.exp([structural_similarity(image.astype(np.float32), goal) - 1.0 for image in images])


def joint_proximity(states: FloatArray) -> FloatArray:
    """c_5: exp(-|s_t - s_T|_2) of one arm's states [T, D]; shape [T], in (0, 1]."""
    return np.asarray(np.exp(-np.linalg.norm(states - states[-1], axis=1)))


def total_velocity(rows: FloatArray) -> FloatArray:
    """c_6, c_8: sum over joints of |x_t - x_{t-1}|, rows [T, D] of states or actions; shape [T], zero at t = 0."""
    return _total_difference(rows, order=1)


def total_acceleration(rows: FloatArray) -> FloatArray:
    """c_7, c_9: sum over joints of |x_t - 2 x_{t-1} + x_{t-2}|, rows [T, D]; shape [T], zero for t < 2."""
    return _total_difference(rows, order=2)


def structural_similarity(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """SSIM of two images [H, W, 3] with values 0..255; both sides of them longer than the window's 11 px."""
    mean_1, mean_2 = _blur(first), _blur(second)
    variance_1 = _blur(first * first) - mean_1 * mean_1
    variance_2 = _blur(second * second) - mean_2 * mean_2
    covariance = _blur(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _SSIM_C1) / (mean_1**2 + mean_2**2 + _SSIM_C1)
    structure = (2 * covariance + _SSIM_C2) / (variance_1 + variance_2 + _SSIM_C2)
    interior = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return float(np.mean((luminance * structure)[interior, interior], dtype=np.float64))


FORMULAS: Final[Mapping[str, Callable[[Any], FloatArray]]] = {
    "image_mse": image_mse,
    "image_ssim": image_ssim,
    "proximity": joint_proximity,
    "total_velocity": total_velocity,
    "total_acceleration": total_acceleration,
}
"""What the reward terms of an embodiment may be made of."""


def reward_components(
    robot: Embodiment, images: Mapping[str, ImageArray], states: FloatArray, actions: FloatArray
) -> FloatArray:
    """All components of one episode; its last frame and state are the goal.

    Args:
        robot: whose terms.
        images: per view uint8 RGB, shape [T, H, W, 3].
        states: measured states, shape [T, S].
        actions: commands, shape [T, A].

    Returns:
        Unweighted components, shape [T, C - 1], in the order of the robot's `reward_terms`.

    Raises:
        ValueError: a term is of a view that is not there.
    """
    sources: dict[str, Any] = {"state": states, "action": actions, **images}
    columns = []
    for term in robot.reward_terms:
        if term.source not in sources:
            raise ValueError(f"reward term {term.name} needs the view {term.source!r}; there are {', '.join(images)}")
        source = sources[term.source]
        first, end = term.columns
        columns.append(FORMULAS[term.formula](source[:, first:end] if end else source))
    return np.stack(columns, axis=1)


def reward(robot: Embodiment, components: FloatArray) -> FloatArray:
    """Weighted sum R_t of components [..., C - 1]."""
    return np.asarray(components @ np.array([term.weight for term in robot.reward_terms]))


def _total_difference(rows: FloatArray, order: int) -> FloatArray:
    total = np.zeros(len(rows))
    if len(rows) > order:
        total[order:] = np.abs(np.diff(rows, n=order, axis=0)).sum(axis=1)
    return total


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    width = 2 * SSIM_RADIUS + 1
    return np.asarray(cv2.GaussianBlur(image, (width, width), SSIM_SIGMA), dtype=np.float32)
