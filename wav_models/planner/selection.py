"""Line 13 of Algorithm 1: the future that is acted on, and the noise pair it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from wav_models.planner.noise import NoiseStreams, SearchState
    from wav_models.planner.trajectory_model import Futures, TrajectoryModel


@dataclass(frozen=True)
class Candidates:
    """The futures of one round, judged.

    Attributes:
        futures: M of them.
        video_noise, value_noise: what they come from, [M, V, F, L, C] and [M, N, T, C].
        video_scores, pair_scores: [M] and [M, N].
    """

    futures: Futures
    video_noise: Tensor
    value_noise: Tensor
    video_scores: Tensor
    pair_scores: Tensor


@dataclass(frozen=True)
class Candidate:
    """A future worth acting on, the noise pair it comes from, its score, and its round and place in it, from 0."""

    future: Futures
    video_noise: Tensor
    value_noise: Tensor
    score: float = 0.0
    place: tuple[int, int] | None = None


class Selection(Protocol):
    """Of one plan: sees every round, then chooses."""

    def see(self, model: TrajectoryModel, candidates: Candidates) -> None:
        """A round is over."""

    def choose(self, model: TrajectoryModel, state: SearchState, streams: NoiseStreams) -> Candidate:
        """z_vid*, z_val* and their future, from the refitted noise or from what was seen."""


class Sample:
    """The paper's: a sample of the refitted noise."""

    def see(self, model: TrajectoryModel, candidates: Candidates) -> None:
        pass

    def choose(self, model: TrajectoryModel, state: SearchState, streams: NoiseStreams) -> Candidate:
        video_noise = state.video.sample(1, streams.video)[0]
        value_noise = state.value.sample(1, streams.value)[0]
        return Candidate(model.imagine(video_noise[None]), video_noise, value_noise)


class Mean(Sample):
    """The mean of the refitted noise."""

    def choose(self, model: TrajectoryModel, state: SearchState, streams: NoiseStreams) -> Candidate:
        return Candidate(model.imagine(state.video.mean[None]), state.video.mean, state.value.mean)


class Best(Sample):
    """The future with the highest score of all rounds; a sample where there was no round."""

    sign = 1.0

    def __init__(self) -> None:
        self.best_so_far: Candidate | None = None
        self._num_rounds = 0

    def see(self, model: TrajectoryModel, candidates: Candidates) -> None:
        scores, pairs = self.sign * candidates.video_scores, self.sign * candidates.pair_scores
        m = int(scores.argmax())
        if self.best_so_far is None or float(scores[m]) > self.best_so_far.score:
            noise_pair = candidates.video_noise[m], candidates.value_noise[m, int(pairs[m].argmax())]
            place = (self._num_rounds, m)
            self.best_so_far = Candidate(model.pick(candidates.futures, m), *noise_pair, float(scores[m]), place)
        self._num_rounds += 1

    def choose(self, model: TrajectoryModel, state: SearchState, streams: NoiseStreams) -> Candidate:
        return self.best_so_far or super().choose(model, state, streams)


SELECTIONS: dict[str, Callable[[], Selection]] = {"sample": Sample, "mean": Mean, "best": Best}
"""By name; experiments add theirs."""
