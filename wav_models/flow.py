"""Flow matching: the one statement of the time convention.

Flow time t runs from 0 (noise, x_0) to 1 (data, x_1), as in the paper (Section 4.2). Checkpoints of the LTX family
count noise instead: their timestep is 1000 * sigma with sigma = 1 - t, and their networks predict dx/dsigma, the
negative of our velocity. `timestep_from_flow_time` is the only place that converts the time; the networks negate their
last projection's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor

TIMESTEPS = 1000.0


def timestep_from_flow_time(flow_time: Tensor) -> Tensor:
    """LTX timestep in [0, 1000] of a flow time in [0, 1]."""
    return (1.0 - flow_time) * TIMESTEPS


def interpolate(x_0: Tensor, x_1: Tensor, flow_time: Tensor) -> Tensor:
    """Point x_t on the straight path; `flow_time` has the leading dimensions of x."""
    t = flow_time.reshape(flow_time.shape + (1,) * (x_1.ndim - flow_time.ndim)).to(x_1.dtype)
    return (1.0 - t) * x_0 + t * x_1


def velocity_target(x_0: Tensor, x_1: Tensor) -> Tensor:
    """Regression target of all three losses: x_1 - x_0 (Section 4.2)."""
    return x_1 - x_0


def euler(velocity: Callable[[Tensor, float], Tensor], x_0: Tensor, num_steps: int, end: float = 1.0) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from t = 0 to `end` in `num_steps` equal steps."""
    return euler_through(velocity, x_0, equal_times(num_steps, end))


def euler_through(velocity: Callable[[Tensor, float], Tensor], x: Tensor, times: Sequence[float]) -> Tensor:
    """Integrate dx/dt = velocity(x, t) from t = `times[0]` to `times[-1]`, one step from each time to the next."""
    for time, following in pairwise(times):
        x = x + (following - time) * velocity(x, time)
    return x


def equal_times(num_steps: int, end: float = 1.0) -> tuple[float, ...]:
    """The `num_steps` + 1 flow times from 0 to `end` that equal steps go through.

    Raises:
        ValueError: there is no step.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; at least 1 step is needed")
    return tuple(end * i / num_steps for i in range(num_steps + 1))
