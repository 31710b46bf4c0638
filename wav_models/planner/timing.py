"""Time of a plan: the budget it has, what it gives up to keep it, and where it went."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Final

import numpy as np

from wav_models.planner.config import PlannerConfig

if TYPE_CHECKING:
    from torch import Tensor

    from wav_models.planner.trajectory_model import Decision, Futures, TrajectoryModel

Clock = Callable[[], float]

Size = tuple[int, int]
"""Futures and value samples of each, [M, N] of a round."""

SHEDDING: Final = ("num_value_samples", "num_video_samples")
"""What a plan that would be late gives up, first things first, each halved once; after that it has fewer rounds."""
_ELITES_AMONG: Final = {
    "num_value_samples": ("num_value_elites",),
    "num_video_samples": ("num_video_elites", "num_value_elites"),
}

FORGETTING: Final = 0.8
"""Share of an expected round that is still believed after a plan for which it left no room."""
_NUM_ROUNDS: Final = 9
_NUM_ACTIONS: Final = 3
"""Recent rounds and decodings of the action that are believed: three plans' with K = 3."""


@dataclass(frozen=True)
class Pace:
    """What a plan is expected to take: the mean of what recent ones took and a standard deviation more.

    Deviations of single rounds are taken as independent, so that those of K rounds add up to the root of K of them.

    Attributes:
        round_seconds: one round, by its size, at slowness 1; of one that is not there nothing is known, and it is
            expected to fit [s].
        slowness: recent rounds, in units of that. A machine that was slow for one size is slow for all.
        action_seconds: what followed the last round, of recent plans [s].
    """

    round_seconds: Mapping[Size, float] = field(default_factory=dict)
    slowness: tuple[float, ...] = (1.0,)
    action_seconds: tuple[float, ...] = ()

    def expected(self, size: Size, num_rounds: int) -> float:
        """Rounds of that size and the decoding of the action [s]."""
        unit = self.round_seconds.get(size, 0.0)
        actions = self.action_seconds or (0.0,)
        mean = num_rounds * unit * fmean(self.slowness) + fmean(actions)
        return mean + math.hypot(math.sqrt(num_rounds) * unit * float(np.std(self.slowness)), float(np.std(actions)))

    def after(self, size: Size, rounds: Sequence[float], action_seconds: float) -> Pace:
        """The expectation after a plan whose rounds, all of that size, took `rounds` [s].

        A plan without rounds teaches nothing about them; the expectation then shrinks, so that one slow round in the
        past cannot keep planning off for ever.
        """
        actions = (*self.action_seconds, action_seconds)[-_NUM_ACTIONS:]
        if not rounds:
            return Pace(self.round_seconds, tuple(FORGETTING * each for each in self.slowness), actions)
        unit = self.round_seconds.get(size) or fmean(rounds) / fmean(self.slowness)
        slowness = (*self.slowness, *(seconds / unit for seconds in rounds))[-_NUM_ROUNDS:]
        return Pace({**self.round_seconds, size: unit}, slowness, actions)


def size_of(planner: PlannerConfig) -> Size:
    """Of the planner's rounds."""
    return planner.num_video_samples, planner.num_value_samples


def efforts(planner: PlannerConfig) -> tuple[PlannerConfig, ...]:
    """What may become of a plan, from all that is asked for to the least: one thing of `SHEDDING` less at a time.

    The share of elites stays.
    """
    found = [planner]
    for name in SHEDDING:
        last = found[-1]
        if (asked := getattr(last, name)) > 1:
            less = {elites: -(-getattr(last, elites) * (asked // 2) // asked) for elites in _ELITES_AMONG[name]}
            found.append(replace(last, **less, **{name: asked // 2}))
    return tuple(found)


class Deadline:
    """Time budget of one plan, running from its construction.

    A round is begun only if it and the decoding of the action are expected to fit; after the first, it is expected to
    take as long as the one before, so that a machine that has just become slow costs rounds, not the deadline.

    Args:
        seconds: the budget [s]; None = unlimited.
        pace: what rounds and action took in the plans before.
        clock: seconds, monotonic.
    """

    def __init__(
        self, seconds: float | None = None, *, pace: Pace | None = None, clock: Clock = time.perf_counter
    ) -> None:
        self._seconds = seconds
        self._pace = pace or Pace()
        self._clock = clock
        self._start = clock()
        self._last_round: float | None = None

    def elapsed(self) -> float:
        """Time since construction [s]."""
        return self._clock() - self._start

    def choose(self, candidates: Sequence[PlannerConfig]) -> PlannerConfig:
        """The first whose rounds are all expected to fit, else the last."""
        return next((each for each in candidates if self._fits(each, each.num_iterations)), candidates[-1])

    def allows_round(self, planner: PlannerConfig) -> bool:
        """Whether another round of this planner is expected to fit."""
        if self._last_round is None:
            return self._fits(planner, 1)
        return self._leaves(self._last_round + self._pace.expected(size_of(planner), 0))

    def round_took(self, seconds: float) -> None:
        """Expect the next round to take as long as this one."""
        self._last_round = seconds

    def _fits(self, planner: PlannerConfig, num_rounds: int) -> bool:
        return self._leaves(self._pace.expected(size_of(planner), num_rounds))

    def _leaves(self, seconds: float) -> bool:
        return self._seconds is None or self.elapsed() + seconds <= self._seconds


class Stopwatch:
    """Time spent by stage [s]."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done within to this stage, also where it fails."""
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
        self.device = model.device

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
