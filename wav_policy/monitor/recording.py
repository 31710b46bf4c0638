"""A recorded episode as the page and the policy need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wav_models.types import FloatArray, ImageArray


class ReplayError(ValueError):
    """A recording that cannot be replayed; the message names what is missing."""


@dataclass(frozen=True)
class Recording:
    """One episode of T frames at a steady rate.

    Attributes:
        title: which recording this is.
        fps: rate [Hz].
        instruction: the language command.
        states: measured joint states, shape [T, 14].
        actions: commanded ones, shape [T, 14]; row t is due at frame t + 1.
        pictures: per view what the page shows, uint8, shape [T, H, W, 3].
        model_images: per view what the model sees, uint8, shape [T, H, W, 3].
        values: recorded discounted return, shape [T]; None before `wav label`.
        remarks: what else is to be said of it, a sentence each.
        episode, num_episodes: which one of how many of the same dataset or bag, from 0.
    """

    title: str
    fps: float
    instruction: str
    states: FloatArray
    actions: FloatArray
    pictures: Mapping[str, ImageArray]
    model_images: Mapping[str, ImageArray]
    values: FloatArray | None = None
    remarks: tuple[str, ...] = ()
    episode: int = 0
    num_episodes: int = 1

    def __len__(self) -> int:
        return len(self.states)
