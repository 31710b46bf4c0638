from __future__ import annotations

import numpy as np
import pytest

from tests.wav_models.piper import VIEWS
from wav_models.embodiments import BIMANUAL_PIPER, LIBERO_PANDA
from wav_models.rewards.terms import (
    image_mse,
    image_ssim,
    joint_proximity,
    reward,
    reward_components,
    structural_similarity,
    total_acceleration,
    total_velocity,
)

RNG = np.random.default_rng(0)
STILL = RNG.integers(0, 256, size=(32, 40, 3)).astype(np.uint8)


def test_image_terms_are_one_for_identical_images() -> None:
    images = np.stack([STILL] * 3)
    np.testing.assert_allclose(image_mse(images), 1.0)
    np.testing.assert_allclose(image_ssim(images), 1.0, atol=1e-6)


def test_mse_of_a_constant_offset() -> None:
    images = np.full((3, 16, 16, 3), 100, dtype=np.uint8)
    images[0] += 10
    images[1] -= 3
    np.testing.assert_allclose(image_mse(images), [np.exp(-1.0), np.exp(-0.09), 1.0])


def test_ssim_of_flat_images_is_the_luminance_term() -> None:
    first = np.full((24, 24, 3), 50.0, dtype=np.float32)
    second = np.full((24, 24, 3), 150.0, dtype=np.float32)
    c_1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 150 + c_1) / (50**2 + 150**2 + c_1)
    assert structural_similarity(first, second) == pytest.approx(expected, rel=1e-3)


def test_ssim_of_a_contrast_change_is_below_one_and_of_an_inverted_image_negative() -> None:
    image = STILL.astype(np.float32)
    faded = 127.5 + 0.5 * (image - 127.5)
    similar, opposite = structural_similarity(image, faded), structural_similarity(image, 255 - image)
    assert 0.7 < similar < 0.85  # 2 * 0.5 / (1 + 0.25) = 0.8 for the variance term
    assert opposite < -0.9
    assert structural_similarity(image, faded) == pytest.approx(structural_similarity(faded, image), rel=1e-6)


@pytest.mark.parametrize("contrast", [0.5, 40.0], ids=["faint", "strong"])
def test_ssim_of_images_as_large_as_its_window_is_the_formula_of_the_paper(contrast: float) -> None:
    """Wang et al. 2004: Gaussian weights of sigma 1.5 over 11 x 11 px, C_1 = (0.01 L)^2, C_2 = (0.03 L)^2, L = 255."""
    rng = np.random.default_rng(2)
    first, second = (100.0 + contrast * rng.normal(size=(11, 11, 3)) for _ in range(2))
    distance = np.arange(11) - 5
    weights = np.exp(-(distance[:, None] ** 2 + distance**2) / (2 * 1.5**2))[..., None]
    weights /= weights.sum()
    mean_1, mean_2 = (weights * first).sum(axis=(0, 1)), (weights * second).sum(axis=(0, 1))
    variances = [(weights * (x - mean) ** 2).sum(axis=(0, 1)) for x, mean in ((first, mean_1), (second, mean_2))]
    covariance = (weights * (first - mean_1) * (second - mean_2)).sum(axis=(0, 1))
    c_1, c_2 = 2.55**2, 7.65**2
    luminance = (2 * mean_1 * mean_2 + c_1) / (mean_1**2 + mean_2**2 + c_1)
    expected = (luminance * (2 * covariance + c_2) / (sum(variances) + c_2)).mean()
    found = structural_similarity(first.astype(np.float32), second.astype(np.float32))
    assert found == pytest.approx(expected, abs=2e-3)


def test_joint_proximity() -> None:
    states = np.zeros((3, 7))
    states[0, :2] = 3.0, 4.0
    states[1, 6] = 0.05
    np.testing.assert_allclose(joint_proximity(states), [np.exp(-5.0), np.exp(-0.05), 1.0])


def test_constant_velocity_has_no_acceleration() -> None:
    rows = np.outer(np.arange(6), [0.1, -0.2, 0.0, 0.3, 0.0, 0.0, 0.01])
    np.testing.assert_allclose(total_velocity(rows), [0.0] + [0.61] * 5)
    np.testing.assert_allclose(total_acceleration(rows), 0.0, atol=1e-12)


def test_constant_acceleration() -> None:
    rows = np.outer(np.arange(6) ** 2 / 2, [0.1, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(total_acceleration(rows), [0.0, 0.0] + [0.3] * 4, atol=1e-12)
    np.testing.assert_allclose(total_velocity(rows)[1:], 0.3 * (np.arange(5) + 0.5))


@pytest.mark.parametrize("length", [1, 2])
def test_differences_of_very_short_episodes_are_zero_where_undefined(length: int) -> None:
    rows = np.arange(7 * length, dtype=float).reshape(length, 7)
    assert total_acceleration(rows).tolist() == [0.0] * length
    assert total_velocity(rows).tolist() == [0.0, 49.0][:length]


def test_weights_are_those_of_table_2() -> None:
    weights = [term.weight for term in BIMANUAL_PIPER.reward_terms]
    assert BIMANUAL_PIPER.value_dim == len(weights) + 1 == 17
    np.testing.assert_allclose(np.multiply(weights, 16), [1] * 8 + [-1] * 4 + [-0.1] * 4)
    assert reward(BIMANUAL_PIPER, np.ones(16)) == pytest.approx((8 - 4 - 0.4) / 16)


def test_one_arm_has_the_nine_terms_of_all_its_numbers() -> None:
    assert LIBERO_PANDA.value_dim == 10
    images = {view: np.full((3, 16, 16, 3), 90, dtype=np.uint8) for view in LIBERO_PANDA.view_names}
    states, actions = np.zeros((3, 8)), np.zeros((3, 7))
    states[0, :2], actions[1, 6] = (3.0, 4.0), 1.0
    components = reward_components(LIBERO_PANDA, images, states, actions)
    columns = dict(zip(LIBERO_PANDA.value_names, components.T, strict=False))
    np.testing.assert_allclose(columns["joint_proximity"], [np.exp(-5), 1, 1])
    np.testing.assert_allclose(columns["action_velocity"], [0, 1, 1])
    np.testing.assert_allclose(columns["wrist_ssim"], 1.0, atol=1e-6)


def test_components_read_their_own_arm_and_view() -> None:
    states, actions = np.zeros((4, 14)), np.zeros((4, 14))
    states[:, 0] = [1.0, 1.0, 0.0, 0.0]
    actions[:, 13] = [0.0, 0.02, 0.0, 0.0]
    images = {view: np.full((4, 16, 16, 3), 90, dtype=np.uint8) for view in VIEWS}
    images["right_wrist"][0] += 10
    columns = dict(
        zip(BIMANUAL_PIPER.value_names, reward_components(BIMANUAL_PIPER, images, states, actions).T, strict=False)
    )
    np.testing.assert_allclose(columns["joint_proximity_left"], [np.exp(-1), np.exp(-1), 1, 1])
    np.testing.assert_allclose(columns["joint_proximity_right"], 1.0)
    np.testing.assert_allclose(columns["joint_velocity_left"], [0, 0, 1, 0])
    np.testing.assert_allclose(columns["joint_acceleration_left"], [0, 0, 1, 1])
    np.testing.assert_allclose(columns["joint_velocity_right"], 0.0)
    np.testing.assert_allclose(columns["action_velocity_right"], [0, 0.02, 0.02, 0])
    np.testing.assert_allclose(columns["action_acceleration_right"], [0, 0, 0.04, 0.02])
    np.testing.assert_allclose(columns["action_velocity_left"], 0.0)
    np.testing.assert_allclose(columns["wrist_mse_right"], [np.exp(-1), 1, 1, 1])
    np.testing.assert_allclose(columns["wrist_mse_left"], 1.0)
    np.testing.assert_allclose(columns["top_mse"], 1.0)
