"""Guided flows against cases whose answer is known: conditional Gaussians, and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from wav_models.flow import euler
from wav_models.guidance import MAX_GUIDANCE, Guidance, Velocity, gain, given_rows, guided, unit_gain

SHAPE = (6, 3)
SIZE = 18


def gaussian_velocity(mean: Tensor, covariance: Tensor) -> Velocity:
    """The exact velocity of the flow from N(0, I) to N(mean, covariance): (E[x_1 | x_t] - x_t) / (1 - t)."""

    def velocity(x_t: Tensor, t: float) -> Tensor:
        marginal = t**2 * covariance + (1.0 - t) ** 2 * torch.eye(SIZE, dtype=x_t.dtype)
        flat = x_t.reshape(-1)
        end = mean + t * covariance @ torch.linalg.solve(marginal, flat - t * mean)
        return ((end - flat) / (1.0 - t)).reshape(x_t.shape)

    return velocity


def draws(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(SIZE, generator=generator, dtype=torch.float64)
    factor = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) / SIZE**0.5
    covariance = factor @ factor.T + 0.3 * torch.eye(SIZE, dtype=torch.float64)
    return mean, covariance, torch.randn(SHAPE, generator=generator, dtype=torch.float64)


def prefix(rows: int) -> Tensor:
    weight = torch.zeros(SHAPE, dtype=torch.float64)
    weight[:rows] = 1.0
    return weight


@pytest.mark.parametrize("jacobian", ["unit", "network"])
@pytest.mark.parametrize("flow_time", [0.2, 0.25, 0.5, 0.75, 0.8])
def test_for_standard_normal_data_the_guided_velocity_is_that_of_the_conditional(
    jacobian: str, flow_time: float
) -> None:
    """Known rows head straight for their values, (Y - x) / (1 - t); free rows, independent of them, do as before."""
    mean, _, x_t = draws(0)
    velocity = gaussian_velocity(mean, torch.eye(SIZE, dtype=torch.float64))
    target = torch.full(SHAPE, 0.7, dtype=torch.float64)
    assert gain(flow_time) < MAX_GUIDANCE, "the clipping does not bind here"
    result = guided(velocity, Guidance(target, prefix(2), jacobian))(x_t, flow_time)
    torch.testing.assert_close(result[:2], (target - x_t)[:2] / (1.0 - flow_time))
    torch.testing.assert_close(result[2:], velocity(x_t, flow_time)[2:])


def test_the_networks_jacobian_carries_the_correction_to_rows_that_are_correlated() -> None:
    """Against the closed form gain * J^T W (Y - x_1'), J = t S (t^2 S + (1 - t)^2 I)^-1, and finite differences."""
    mean, covariance, x_t = draws(1)
    velocity, t = gaussian_velocity(mean, covariance), 0.4
    target, weight = torch.zeros(SHAPE, dtype=torch.float64), prefix(2)
    end = x_t + (1.0 - t) * velocity(x_t, t)
    marginal = t**2 * covariance + (1.0 - t) ** 2 * torch.eye(SIZE, dtype=torch.float64)
    pull = t * torch.linalg.solve(marginal, covariance @ (weight * (target - end)).reshape(-1))
    result = guided(velocity, Guidance(target, weight, "network"))(x_t, t)
    torch.testing.assert_close(result, velocity(x_t, t) + gain(t) * pull.reshape(SHAPE))
    assert (result - velocity(x_t, t))[2:].abs().max() > 1e-3

    def mismatch(x: Tensor) -> float:
        return float((weight * (target - x - (1.0 - t) * velocity(x, t)) ** 2).sum())

    for row, channel in ((0, 0), (3, 1), (5, 2)):
        nudge = torch.zeros(SHAPE, dtype=torch.float64)
        nudge[row, channel] = 1e-5
        slope = (mismatch(x_t + nudge) - mismatch(x_t - nudge)) / 2e-5
        correction = (result - velocity(x_t, t))[row, channel]
        assert float(correction) == pytest.approx(-0.5 * gain(t) * slope, rel=1e-6)


@pytest.mark.parametrize("jacobian", ["unit", "network"])
def test_a_guided_flow_ends_in_known_rows_and_shifts_the_rest_towards_the_conditional_mean(jacobian: str) -> None:
    mean, covariance, x_0 = draws(2)
    velocity = gaussian_velocity(mean, covariance)
    known = 3 * SHAPE[1]
    target = (mean + 0.8 * torch.linalg.cholesky(covariance) @ torch.ones(SIZE, dtype=torch.float64)).reshape(SHAPE)
    free = euler(velocity, x_0, 10)
    result = euler(guided(velocity, Guidance(target, prefix(3), jacobian)), x_0, 10)
    assert (result - target)[:3].abs().max() < 0.5 * (free - target)[:3].abs().max()
    if jacobian == "network":
        shift = covariance[known:, :known] @ torch.linalg.solve(
            covariance[:known, :known], (target - free).reshape(-1)[:known]
        )
        moved = (result - free).reshape(-1)[known:]
        assert torch.nn.functional.cosine_similarity(moved, shift, dim=0) > 0.8


def test_in_four_steps_the_unit_jacobian_reaches_known_rows_exactly_and_free_ones_are_untouched() -> None:
    mean, covariance, x_0 = draws(3)
    velocity = gaussian_velocity(mean, covariance)
    target = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    result = euler(guided(velocity, Guidance(target, prefix(2))), x_0, 4)
    torch.testing.assert_close(result[:2], target[:2])
    nothing = euler(guided(velocity, Guidance(target, prefix(0))), x_0, 4)
    torch.testing.assert_close(nothing, euler(velocity, x_0, 4), rtol=0.0, atol=0.0)


def test_gains_are_clipped() -> None:
    assert gain(0.0) == gain(0.01) == gain(0.99) == MAX_GUIDANCE
    assert gain(0.5) == pytest.approx(2.0)
    assert unit_gain(0.0) == 0.0
    assert unit_gain(0.75) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, r"weight has shape \[2, 3\]; that of target, \[6, 3\]"),
        ({"target": torch.full(SHAPE, torch.nan)}, "target is not finite"),
        ({"weight": torch.full(SHAPE, 1.5)}, "weight spans 1.5 to 1.5; 0 to 1"),
        ({"weight": torch.full(SHAPE, -0.5)}, "weight spans -0.5 to -0.5; 0 to 1"),
        ({"jacobian": "netwrk"}, "unknown jacobian 'netwrk'.*network"),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"target": torch.zeros(SHAPE), "weight": torch.zeros(SHAPE), "jacobian": "unit"}
    with pytest.raises(ValueError, match=message):
        Guidance(**{**arguments, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("num_rows", [0, 1, 2, 6])
def test_known_rows_are_given_as_far_as_the_network_was_trained(num_rows: int) -> None:
    """Rows that are half known are not given, nor channels that nothing is known of."""
    weight = prefix(3)
    weight[:, 2], weight[2] = 0.0, 0.7
    tokens, given = given_rows(Guidance(torch.full(SHAPE, 4.0, dtype=torch.float64), weight), num_rows)
    expected = min(num_rows, 2)
    assert given.tolist() == [row < expected for row in range(6)]
    assert (tokens[:expected, :2] == 4.0).all()
    assert not tokens[expected:].any()
    assert not tokens[:, 2].any()
