"""What the chunks before mean for the next one.

While a chunk is planned, the one before goes on. Three ways to deal with that:

- "naive": every chunk is planned and published as if it were the first;
- "average": rows of successive chunks that are due at the same time are averaged, the oldest weighing most (temporal
  ensembling, Zhao et al. 2023, "Learning fine-grained bimanual manipulation with low-cost hardware", Section 4);
- "rtc": the next chunk is generated as the continuation of this one (real-time chunking, Black et al. 2025, Eq. 5): the
  rows that will be executed before it can take over are known, the rest of the overlap is known less and less.

Whatever disagreement is left, `ChunkExecutor` fades. No ROS in here; used by one thread at a time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.configuration import check_choice
from wav_models.presets import HorizonConfig
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import positions_at
from wav_policy.robot.joints import REVOLUTE

CONTINUATIONS: Final = ("naive", "average", "rtc")
AGE_DECAY: Final = 0.01
"""Weight exp(-0.01 k) of the k-th oldest chunk in an average, as published."""
MAX_DEVIATION: Final = 0.25
"""Arms that are farther from the chunk in force do not follow it: they are stopped, held, or moved by something else. A
chain of chunks that continue each other would run away from them. Moving at 1 rad/s, the simulated arm lags by 0.06 rad
[rad]."""
_NUM_LATENCIES: Final = 20
"""Latest plans whose latency is remembered: a slow start is forgotten within a few seconds."""
_LATENCY_PERCENTILE: Final = 90.0
_TIME_TOLERANCE: Final = 1e-6  # s


@dataclass(frozen=True)
class CommittedMotion:
    """What the chunk in force has decided of the chunk about to be planned.

    Attributes:
        positions: of the chunk in force at the due times of the next one's rows, shape [H, 14], rad and m.
        weight: 1 where it will be executed anyway, fading to 0 where it ends, shape [H].
    """

    positions: FloatArray
    weight: FloatArray


class ChunkContinuation:
    """Remembers chunks and their latency.

    Args:
        method: one of `CONTINUATIONS`.
        horizon: rows of a chunk and their rate.

    Raises:
        ValueError: the method is unknown.
    """

    def __init__(self, method: str, horizon: HorizonConfig) -> None:
        check_continuation(method)
        self.method = method
        self._num_rows = horizon.action_horizon
        self._step = 1.0 / horizon.step_hz
        self._chunks: deque[ActionChunk] = deque(maxlen=1 if method == "rtc" else horizon.action_horizon)
        self._latencies: deque[float] = deque(maxlen=_NUM_LATENCIES)

    @property
    def latency(self) -> float:
        """Time from observation to chunk that nine plans of ten keep lately; 0 before the first [s]."""
        return float(np.percentile(list(self._latencies), _LATENCY_PERCENTILE)) if self._latencies else 0.0

    @property
    def num_frozen(self) -> int:
        """d: rows of the next chunk that are over, or begun, when it takes over."""
        return min(math.ceil((self.latency - _TIME_TOLERANCE) / self._step), self._num_rows)

    def reset(self) -> None:
        """The chunks are not in force any more; what planning takes is still known."""
        self._chunks.clear()

    def committed(self, stamp: float, joint_state: FloatArray) -> CommittedMotion | None:
        """What is decided of the next chunk; None where nothing is.

        Args:
            stamp: of the observation to plan from [s].
            joint_state: measured there, shape [14], rad and m.
        """
        if self.method != "rtc" or not self._chunks:
            return None
        previous = self._chunks[-1]
        left = math.floor((previous.times[-1] - stamp + _TIME_TOLERANCE) / self._step)
        if stamp <= previous.stamp or left < 1:
            return None
        # Without the grippers: one that holds an object is far from its target by design.
        deviation = np.abs(positions_at(previous, np.array([stamp]))[0] - joint_state)[REVOLUTE]
        if not deviation.max() <= MAX_DEVIATION:
            return None
        times = stamp + self._step * np.arange(1, self._num_rows + 1, dtype=np.float64)
        weight = soft_mask(self._num_rows, self.num_frozen, min(left, self._num_rows))
        return CommittedMotion(positions_at(previous, times), weight)

    def finish(self, chunk: ActionChunk) -> ActionChunk:
        """The chunk to execute, given the planned one; it is remembered."""
        self._chunks.append(chunk)
        if self.method != "average":
            return chunk
        while self._chunks[0].times[-1] <= chunk.stamp:
            self._chunks.popleft()
        return ActionChunk(_average(list(self._chunks), chunk.times), chunk.stamp, chunk.step)

    def took(self, latency: float) -> None:
        """Note the time from the observation to the delivery of its chunk [s]."""
        self._latencies.append(latency)


def check_continuation(method: str) -> None:
    """ValueError with the nearest valid name, unless `method` is one of `CONTINUATIONS`."""
    check_choice("continuation", method, CONTINUATIONS)


def soft_mask(num_rows: int, num_frozen: int, num_overlap: int) -> FloatArray:
    """W of real-time chunking (Eq. 5), shape [num_rows].

    Args:
        num_rows: H.
        num_frozen: d, rows that are executed whatever is planned.
        num_overlap: H - s, rows for which the chunk in force has an opinion.
    """
    num_frozen = min(num_frozen, num_overlap)
    row = np.arange(num_rows)
    c = (num_overlap - row) / (num_overlap - num_frozen + 1.0)
    decay = c * np.expm1(c) / math.expm1(1.0)
    return np.where(row < num_frozen, 1.0, np.where(row < num_overlap, decay, 0.0))


def _average(chunks: list[ActionChunk], times: FloatArray) -> FloatArray:
    """Rows [H, 14] at `times`, averaged over the chunks (oldest first) that reach so far."""
    total, weights = np.zeros((len(times), chunks[0].positions.shape[1])), np.zeros((len(times), 1))
    for age, chunk in enumerate(chunks):
        weight = math.exp(-AGE_DECAY * age) * (times <= chunk.times[-1] + _TIME_TOLERANCE)[:, None]
        total += weight * positions_at(chunk, times)
        weights += weight
    return total / weights
