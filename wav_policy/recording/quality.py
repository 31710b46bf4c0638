"""Which demonstrations of a run are skilled, hesitant, recovering or failing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Final

from wav_models.configuration import did_you_mean
from wav_models.data.episode_filter import QUALITIES

_GOLDEN: Final = 0.6180339887498949
"""Fractional part of the golden ratio: its multiples modulo 1 keep any range of seeds close to the wanted shares."""


@dataclass(frozen=True)
class QualityMix:
    """Shares of the qualities.

    Attributes:
        shares: quality -> share; they add up to 1.
    """

    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if name not in QUALITIES:
                raise ValueError(f"quality mix: unknown quality {name!r}{did_you_mean(name, QUALITIES)}")
            if not (isfinite(share) and share >= 0.0):
                raise ValueError(f"quality mix: the share of {name} is {share}; it must be 0 to 1")
        total = sum(self.shares.values())
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"quality mix: the shares add up to {total:g}, not to 1")

    def of(self, seed: int) -> str:
        """The quality of a seed's episode: the same for the same mix, whatever else is recorded."""
        position, reached = (seed * _GOLDEN) % 1.0, 0.0
        for name, share in self.shares.items():
            reached += share
            if position < reached:
                return name
        return next(name for name, share in reversed(list(self.shares.items())) if share > 0.0)

    @property
    def fails(self) -> bool:
        """Whether failures are part of the plan."""
        return self.shares.get("failing", 0.0) > 0.0


def parse_mix(text: str) -> QualityMix:
    """Read a mix from text such as skilled=0.4,failing=0.6.

    Raises:
        ValueError: a part is no name=share, a name is unknown, or the shares do not add up to 1.
    """
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, separator, value = part.strip().partition("=")
        try:
            shares[name] = float(value)
        except ValueError:
            separator = ""
        if not separator:
            raise ValueError(f"quality mix: {part!r} is not of the form quality=share, for example skilled=0.4")
    return QualityMix(shares)
