"""The rate of this machine's matrix product: what a plan's speed is measured against."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch

SIZE: Final = 2048
"""Edge of the square matrices: large enough for full speed, small enough for a fraction of a second."""


def gemm_rate(dtype: torch.dtype, num_runs: int = 3, clock: Callable[[], float] = time.perf_counter) -> float:
    """Operations per second of a square matrix product with torch's current number of threads: the fastest run."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(SIZE, SIZE, generator=generator).to(dtype) for _ in range(2))
    out = torch.empty(SIZE, SIZE, dtype=dtype)
    torch.mm(left, right, out=out)  # the first call plans and allocates
    fastest = float("inf")
    for _ in range(num_runs):
        start = clock()
        torch.mm(left, right, out=out)
        fastest = min(fastest, clock() - start)
    return 2 * SIZE**3 / fastest
