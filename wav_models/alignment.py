"""Which captures belong to an instant: one rule for training, evaluation, recording and the robot.

Nothing knows the future: an instant is shown by the newest capture that is not newer than it. An observation at `now`
shows the images at `memory_offsets` before it; where an episode had not begun, its first image. In an episode of even
steps these are rows (`memory_rows`); in live streams they are times (`memory_times`) whose newest captures are looked
up (`newest_at`). On steps that come on time both are the same rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from wav_models.presets import HorizonConfig
from wav_models.types import FloatArray, IndexArray

TIME_TOLERANCE: Final = 1e-4
"""Stamps are float seconds: at today's epoch they resolve 0.2 us, and drivers round to 0.1 ms [s]."""


def memory_rows(now: ArrayLike, horizon: HorizonConfig, *, stride: int = 1, first: ArrayLike = 0) -> IndexArray:
    """Rows of the images that observations show, oldest first; before the first row of an episode, that row.

    Args:
        now: row of each observation, shape [...].
        horizon: memory offsets in steps.
        stride: rows per step.
        first: first row of each observation's episode, shape [...].

    Returns:
        Shape [..., F_mem].
    """
    offsets = stride * np.asarray(horizon.memory_offsets, dtype=np.int64)
    rows: IndexArray = np.maximum(np.asarray(now)[..., None] + offsets, np.asarray(first)[..., None])
    return rows


def memory_times(stamp: float, horizon: HorizonConfig) -> FloatArray:
    """Times of the images that the observation at `stamp` [s] shows, oldest first, shape [F_mem], s."""
    return stamp + np.asarray(horizon.memory_offsets) / horizon.step_hz


def newest_at(stamps: ArrayLike, wanted: ArrayLike) -> IndexArray:
    """Per wanted time [...] (s) the row of the newest of `stamps` [N] (s, increasing) not newer; -1 where all are."""
    rows = np.searchsorted(np.asarray(stamps), np.asarray(wanted) + TIME_TOLERANCE, side="right") - 1
    return np.asarray(rows, dtype=np.int64)
