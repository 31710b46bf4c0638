"""Time of a plan: the budget it has, and where it went."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from wav_models.planner.trajectory_model import Decision, Futures, TrajectoryModel

Clock = Callable[[], float]

FORGETTING: Final = 0.8
"""Share of an expected round that is still believed after a plan for which it left no room."""


@dataclass(frozen=True)
class Pace:
    """What a plan is expected to take, learned from the plans before; zeros: nothing is known.

    Attributes:
        round_seconds: one round [s].
        action_seconds: what follows the last round [s].
    """

    round_seconds: float = 0.0
    action_seconds: float = 0.0

    def after(self, rounds: Sequence[float], action_seconds: float) -> Pace:
        """The expectation after a plan whose rounds took `rounds` [s].

        A plan without rounds teaches nothing about them; the expectation then shrinks, so that one slow round in the
        past cannot keep planning off for ever.
        """
        round_seconds = max(rounds) if rounds else FORGETTING * self.round_seconds
        return Pace(round_seconds, action_seconds)


class Deadline:
    """Time budget of one plan, running from its construction.

    A round is begun only if it and the decoding of the action are expected to fit.

    Args:
        seconds: the budget [s]; None = unlimited.
        pace: what round and action took in the plan before.
        clock: seconds, monotonic.
    """

    def __init__(
        self, seconds: float | None = None, *, pace: Pace | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._seconds = seconds
        self._pace = pace or Pace()
        self._clock = clock
        self._start = clock()

    def elapsed(self) -> float:
        """Time since construction [s]."""
        return self._clock() - self._start

    def allows_round(self) -> bool:
        """Whether another round is expected to fit."""
        if self._seconds is None:
            return True
        return self.elapsed() + self._pace.round_seconds + self._pace.action_seconds <= self._seconds

    def round_took(self, seconds: float) -> None:
        """Expect the next round to take as long as this one."""
        self._pace = Pace(seconds, self._pace.action_seconds)


class Stopwatch:
    """Time spent by stage [s]."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start


class TimedTrajectoryModel:
    """A trajectory model whose "video", "value" and "action" calls are timed, so that the planner need not."""

    def __init__(self, model: TrajectoryModel, stopwatch: Stopwatch) -> None:
        self._model = model
        self._stopwatch = stopwatch
        self.video_noise_shape = model.video_noise_shape
        self.value_noise_shape = model.value_noise_shape
        self.action_noise_shape = model.action_noise_shape

    def imagine(self, video_noise: Tensor) -> Futures:
        with self._stopwatch.stage("video"):
            return self._model.imagine(video_noise)

    def evaluate(self, futures: Futures, value_noise: Tensor) -> Tensor:
        with self._stopwatch.stage("value"):
            return self._model.evaluate(futures, value_noise)

    def pick(self, futures: Futures, index: int) -> Futures:
        with self._stopwatch.stage("video"):
            return self._model.pick(futures, index)

    def act(self, future: Futures, value_noise: Tensor, action_noise: Tensor) -> Decision:
        with self._stopwatch.stage("action"):
            return self._model.act(future, value_noise, action_noise)
