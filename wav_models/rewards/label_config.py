"""What decides the values that labelling adds."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LabelConfig:
    """Choices the paper leaves open.

    Attributes:
        discount: gamma per recorded frame; 0.98 at 10 Hz looks 5 s ahead.
        image_size: (height, width) images are compared at [px]; `wav-tiny` sees no more than 64x64 either.
        failure_penalty: taken off the reward that goes on after an episode recorded as failed. Table 2 measures the
            distance to an episode's own end, which is no goal when the episode failed; 0.5 is the most that its
            positive terms can add up to.
    """

    discount: float = 0.98
    image_size: tuple[int, int] = (64, 64)
    failure_penalty: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.discount < 1.0:
            raise ValueError(f"discount is {self.discount}; it must be at least 0 and below 1")
        if min(self.image_size) < 16:
            raise ValueError(f"image_size is {self.image_size}; both sides must be at least 16 px for SSIM")
        if not (math.isfinite(self.failure_penalty) and self.failure_penalty >= 0.0):
            raise ValueError(f"failure_penalty is {self.failure_penalty}; it must be finite and at least 0")
