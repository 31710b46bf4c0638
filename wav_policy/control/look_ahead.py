"""What the safety filter needs of a collision check."""

from __future__ import annotations

from typing import Protocol

from wav_models.types import FloatArray


class Approach(Protocol):
    """Two bodies that would come too near to each other."""

    @property
    def bodies(self) -> tuple[str, str]:
        """Names; those of an arm begin with its side."""

    @property
    def distance(self) -> float:
        """How near [m]."""

    @property
    def allowed(self) -> float:
        """Nearest permitted distance [m]."""


class LookAhead(Protocol):
    """What the filter needs of `wav_policy.control.collision.CollisionChecker`."""

    def start_at(self, position: FloatArray) -> None:
        """The arms are at `position` [14], at rest."""

    def arrived_at(self, position: FloatArray) -> None:
        """`position` [14] is the new target."""

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        """What comes too near at `position` [14] or while braking from there at `velocity` [14] in ticks [s]."""
