"""The values that cross module borders: small, frozen, with shapes and units.

Order and units of views [V], states [S] and actions [A] are those of the `Embodiment`; times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
ImageArray = NDArray[np.uint8]
IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class Observation:
    """What the robot saw and felt at one moment, resized and sampled as the model was trained.

    Attributes:
        images: uint8 RGB, shape [V, F_mem, H, W, 3]: per view the memory frames, oldest first; the last is newest.
        joint_state: what is measured, shape [S].
        instruction: the language command.
        stamp: time of the newest images [s].
    """

    images: ImageArray
    joint_state: FloatArray
    instruction: str
    stamp: float = 0.0


@dataclass(frozen=True)
class ActionChunk:
    """A short stretch of future actions.

    Attributes:
        positions: absolute joint targets, or what else the embodiment's actions are, shape [H, A]; row i is due at
            `stamp + (i + 1) * step`.
        stamp: time of the observation planned from [s].
        step: time between rows [s].
    """

    positions: FloatArray
    stamp: float
    step: float

    @property
    def times(self) -> FloatArray:
        """Due time of every row, shape [H], s."""
        return self.stamp + self.step * np.arange(1, len(self.positions) + 1, dtype=np.float64)


@dataclass(frozen=True)
class PlanRound:
    """One round of the planner.

    Attributes:
        video_score: score of every future, shape [M].
        pair_score: score of every (future, value sample) pair, shape [M, N].
        mean_value: mean of the value channel over samples and time, shape [M].
        seconds: duration of the round [s].
    """

    video_score: FloatArray
    pair_score: FloatArray
    mean_value: FloatArray
    seconds: float


@dataclass(frozen=True)
class Plan:
    """The planner's answer to one observation.

    Attributes:
        chunk: what to do.
        values: predicted value over the horizon of the chosen future, shape [T].
        rounds: one entry per round that ran; empty when planning was off.
        stop_reason: "completed", "deadline" or "planning off".
        seconds: where the time went, by stage name [s].
        seed: reproduces the plan together with checkpoint and observation.
        chosen: round and future in it that is acted on, from 0; None where that is none of those that were judged.
        future: opaque handle of the chosen future for `WAVPolicy.imagine`; never needed for control.
    """

    chunk: ActionChunk
    values: FloatArray
    rounds: tuple[PlanRound, ...]
    stop_reason: str
    seconds: dict[str, float]
    seed: int
    chosen: tuple[int, int] | None = None
    future: object | None = None
