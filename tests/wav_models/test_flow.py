"""The time convention: 0 is noise, 1 is data, and velocity is what leads from one to the other."""

from __future__ import annotations

import pytest
import torch

from wav_models.flow import equal_times, euler, euler_through, interpolate, timestep_from_flow_time, velocity_target

GENERATOR = torch.Generator().manual_seed(0)
X_0, X_1 = torch.randn(2, 3, 4, 5, generator=GENERATOR)
TIME = torch.tensor([0.0, 0.3, 1.0])


def test_the_path_leads_from_noise_to_data() -> None:
    x_t = interpolate(X_0, X_1, TIME)
    assert torch.equal(x_t[0], X_0[0])
    assert torch.equal(x_t[2], X_1[2])
    torch.testing.assert_close(x_t[1], 0.7 * X_0[1] + 0.3 * X_1[1])


def test_the_target_is_the_slope_of_the_path() -> None:
    slope = (interpolate(X_0, X_1, TIME + 0.25) - interpolate(X_0, X_1, TIME - 0.25)) / 0.5
    torch.testing.assert_close(velocity_target(X_0, X_1), slope)


def test_timesteps_of_the_ltx_family_count_noise() -> None:
    torch.testing.assert_close(timestep_from_flow_time(TIME), torch.tensor([1000.0, 700.0, 0.0]))


@pytest.mark.parametrize("num_steps", [1, 4])
def test_the_true_velocity_leads_to_the_data(num_steps: int) -> None:
    """Straight paths: any number of steps is exact, wherever it begins and ends."""

    def velocity(x: torch.Tensor, flow_time: float) -> torch.Tensor:
        return (X_1 - x) / (1.0 - flow_time)

    torch.testing.assert_close(euler(velocity, X_0, num_steps), X_1)
    half = interpolate(X_0, X_1, torch.full((3,), 0.5))
    torch.testing.assert_close(euler(velocity, X_0, num_steps, end=0.5), half)
    torch.testing.assert_close(euler_through(velocity, half, (0.5, 0.6, 0.9, 1.0)), X_1)


def test_velocity_is_asked_at_the_beginning_of_every_step() -> None:
    asked = []

    def velocity(x: torch.Tensor, flow_time: float) -> torch.Tensor:
        asked.append(flow_time)
        return torch.ones_like(x)

    torch.testing.assert_close(euler_through(velocity, X_0, (0.2, 0.3, 0.7)), X_0 + 0.5)
    assert asked == [0.2, 0.3]
    assert euler_through(velocity, X_0, (0.2,)) is X_0
    assert equal_times(4, 0.8) == pytest.approx((0.0, 0.2, 0.4, 0.6, 0.8))
    with pytest.raises(ValueError, match="num_steps is 0"):
        euler(velocity, X_0, 0)
