"""The reward terms of Table 2: one function per formula, one table that says which component uses which.

Conventions where the paper leaves a choice:
- images are compared as values 0..255, after the resize that `wav label` was given;
- SSIM is that of Wang et al. 2004 (Gaussian window, sigma 1.5, 11 px), per colour channel, averaged over the interior;
- differences are per recorded frame, not per second, and zero where the episode has no earlier frame;
- states of one arm are its six joints [rad] and its gripper's stroke [m], as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from wav_models.types import ARM_DOF

FloatArray = NDArray[np.float64]
ImageArray = NDArray[np.uint8]

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
    """c_5: exp(-|s_t - s_T|_2) of one arm's states [T, 7]; shape [T], in (0, 1]."""
    return np.asarray(np.exp(-np.linalg.norm(states - states[-1], axis=1)))


def total_velocity(rows: FloatArray) -> FloatArray:
    """c_6, c_8: sum over joints of |x_t - x_{t-1}|, rows [T, 7] of states or actions; shape [T], zero at t = 0."""
    return _total_difference(rows, order=1)


def total_acceleration(rows: FloatArray) -> FloatArray:
    """c_7, c_9: sum over joints of |x_t - 2 x_{t-1} + x_{t-2}|, rows [T, 7]; shape [T], zero for t < 2."""
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


@dataclass(frozen=True)
class Component:
    """One of the 16 scalar components.

    Attributes:
        name: term and, where there are several, arm or view.
        weight: its weight in the reward.
        source: what `formula` is applied to: a view, "state" or "action".
        arm: 0 left, 1 right; None for images.
        formula: one of the functions above.
    """

    name: str
    weight: float
    source: str
    arm: int | None
    formula: Callable[[Any], FloatArray]


def _both_arms(name: str, weight: float, source: str, formula: Callable[[Any], FloatArray]) -> list[Component]:
    return [Component(f"{name}_{side}", weight, source, arm, formula) for arm, side in enumerate(("left", "right"))]


COMPONENTS: Final = (
    Component("wrist_mse_left", 1 / 16, "left_wrist", None, image_mse),
    Component("wrist_mse_right", 1 / 16, "right_wrist", None, image_mse),
    Component("wrist_ssim_left", 1 / 16, "left_wrist", None, image_ssim),
    Component("wrist_ssim_right", 1 / 16, "right_wrist", None, image_ssim),
    Component("top_mse", 1 / 16, "head", None, image_mse),
    Component("top_ssim", 1 / 16, "head", None, image_ssim),
    *_both_arms("joint_proximity", 1 / 16, "state", joint_proximity),
    *_both_arms("joint_velocity", -1 / 16, "state", total_velocity),
    *_both_arms("joint_acceleration", -1 / 16, "state", total_acceleration),
    *_both_arms("action_velocity", -0.1 / 16, "action", total_velocity),
    *_both_arms("action_acceleration", -0.1 / 16, "action", total_acceleration),
)
"""Table 2 in the bimanual setting: channels 0..15 of the value expert, in this order."""

CHANNEL_NAMES: Final = (*(component.name for component in COMPONENTS), "discounted_return")

WEIGHTS: Final = np.array([component.weight for component in COMPONENTS])


def reward_components(images: Mapping[str, ImageArray], states: FloatArray, actions: FloatArray) -> FloatArray:
    """All components of one episode; its last frame and state are the goal.

    Args:
        images: per view uint8 RGB, shape [T, H, W, 3].
        states: measured joint states, shape [T, 14], rad and m.
        actions: commanded joint targets, shape [T, 14], rad and m.

    Returns:
        Unweighted components, shape [T, 16], in the order of `COMPONENTS`.
    """
    rows = {"state": states, "action": actions}
    columns = []
    for component in COMPONENTS:
        if component.arm is None:
            columns.append(component.formula(images[component.source]))
        else:
            first = component.arm * ARM_DOF
            columns.append(component.formula(rows[component.source][:, first : first + ARM_DOF]))
    return np.stack(columns, axis=1)


def reward(components: FloatArray) -> FloatArray:
    """Weighted sum R_t of components [..., 16]."""
    return np.asarray(components @ WEIGHTS)


def _total_difference(rows: FloatArray, order: int) -> FloatArray:
    total = np.zeros(len(rows))
    if len(rows) > order:
        total[order:] = np.abs(np.diff(rows, n=order, axis=0)).sum(axis=1)
    return total


def _blur(image: NDArray[np.float32]) -> NDArray[np.float32]:
    width = 2 * SSIM_RADIUS + 1
    return np.asarray(cv2.GaussianBlur(image, (width, width), SSIM_SIGMA), dtype=np.float32)
