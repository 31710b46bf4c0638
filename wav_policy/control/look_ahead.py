"""What the safety filter needs of a collision check."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from wav_models.types import FloatArray


class Approach(NamedTuple):
    """Two bodies that would come too near.

    Attributes:
        bodies: such as ("left gripper", "right link3"); those of an arm begin with its side.
        distance: how near on the way [m]; negative: inside each other.
        allowed: nearest permitted distance [m].
    """

    bodies: tuple[str, str]
    distance: float
    allowed: float


class LookAhead(Protocol):
    """What the filter needs of `wav_policy.control.collision.CollisionChecker`."""

    def start_at(self, position: FloatArray) -> None:
        """The arms are at `position` [14], at rest."""

    def arrived_at(self, position: FloatArray) -> None:
        """`position` [14] is the new target."""

    def find(self, position: FloatArray, velocity: FloatArray, tick: float) -> Approach | None:
        """What comes too near from `position` [14] on, in a tick [s] at `velocity` [14] and while braking after it."""
