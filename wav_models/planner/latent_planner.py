"""Algorithm 1 of the paper: latent trajectory planning.

Line numbers are those of the algorithm. The loops over m and n (lines 5-9) are one batch. Departures from the
published code, all of them towards the paper: scores are indexed [m, n] like the noise they judge, the update rates
weigh the new estimate, every view has its own noise over future tokens only, and the three random streams are
independent. Beyond the paper: a deadline, a starting distribution, and other selections than the sample of line 13.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from torch import Tensor

from wav_models.planner.config import PlannerConfig
from wav_models.planner.errors import PlannerError
from wav_models.planner.noise import NoiseDistribution, NoiseStreams
from wav_models.planner.scoring import LOT, make_score, select_elites
from wav_models.planner.timing import Deadline
from wav_models.planner.trajectory_model import Futures, TrajectoryModel
from wav_models.types import PlanRound

_SIGNS: Final = {"best": 1.0, "worst": -1.0}
"""Selections that keep a future of the rounds: the one whose score, times this, is highest."""


@dataclass(frozen=True)
class SearchState:
    """The two noise distributions the search maintains: f_vid and f_val."""

    video: NoiseDistribution
    value: NoiseDistribution

    @classmethod
    def initial(cls, model: TrajectoryModel) -> SearchState:
        """f^(0): standard normal."""
        return cls(
            NoiseDistribution.standard(model.video_noise_shape), NoiseDistribution.standard(model.value_noise_shape)
        )


@dataclass(frozen=True)
class Candidate:
    """A future worth acting on, the noise pair it comes from, and its score."""

    future: Futures
    video_noise: Tensor
    value_noise: Tensor
    score: float = 0.0


@dataclass(frozen=True)
class LatentPlan:
    """The answer in the model's units.

    Attributes:
        actions: action tokens, shape [H, A].
        values: predicted value of the chosen future, shape [T].
        video_noise: z_vid* of the chosen future, shape [V, F, L, C].
        video_elites: noise of the last round's elites, shape [K1, V, F, L, C]; K1 = 0 without a round.
        state: the refitted noise, to warm-start the next plan.
        rounds: one entry per round that ran.
        stop_reason: "completed", "deadline" or "planning off".
    """

    actions: Tensor
    values: Tensor
    video_noise: Tensor
    video_elites: Tensor
    state: SearchState
    rounds: tuple[PlanRound, ...]
    stop_reason: str


@torch.inference_mode()
def plan(
    model: TrajectoryModel,
    config: PlannerConfig,
    seed: int,
    *,
    start: SearchState | None = None,
    deadline: Deadline | None = None,
) -> LatentPlan:
    """Search for a future worth acting on and decode its action.

    Args:
        model: the networks, having seen the observation.
        config: M, N, K, K1, K2, alpha, beta and their like.
        seed: reproduces the plan together with `model` and `start`, unless a deadline ends it early.
        start: f^(0) where it is not standard normal (warm start).
        deadline: running time budget; without one all rounds run.

    Raises:
        PlannerError: a value, score or action is not finite.
    """
    deadline = deadline or Deadline()
    streams = NoiseStreams.from_seed(seed)
    state = start or SearchState.initial(model)  # line 1: f_vid^(0), f_val^(0)
    if config.score == LOT:
        state, config = _refit_by_lot(state, config, streams), replace(config, score="mean", num_iterations=0)
    score = make_score(config.score, config.snr_eps)
    rounds: list[PlanRound] = []
    favourite: Candidate | None = None
    video_elites = torch.empty((0, *model.video_noise_shape))

    while len(rounds) < config.num_iterations and deadline.allows_round():  # line 2: k = 1, ..., K
        began = deadline.elapsed()
        video_noise = state.video.sample(config.num_video_samples, streams.video)  # line 3: z_vid^(m) [M, V, F, L, C]
        futures = model.imagine(video_noise)  # line 4: x^(m)
        num_pairs = (config.num_video_samples, config.num_value_samples)
        value_noise = _value_noise(state.value, num_pairs, config, streams)  # line 6: z_val^(m,n) [M, N, T, C]
        values = model.evaluate(futures, value_noise)  # line 7: v^(m,n) [M, N, T]
        pair_scores = score.pairs(values)  # SNR^(m,n) [M, N]
        video_scores = score.futures(pair_scores)  # line 8: phi^(m) [M]
        _require_scores(values, pair_scores, num_pairs, len(rounds) + 1)

        if sign := _SIGNS.get(config.selection):
            m = int((sign * video_scores).argmax())
            if favourite is None or sign * float(video_scores[m]) > sign * favourite.score:
                noise_pair = video_noise[m], value_noise[m, int((sign * pair_scores[m]).argmax())]
                favourite = Candidate(model.pick(futures, m), *noise_pair, float(video_scores[m]))
        video_elites = video_noise[select_elites(video_scores, config.num_video_elites)]
        value_elites = value_noise.flatten(0, 1)[select_elites(pair_scores, config.num_value_elites)]
        state = SearchState(
            _update(state.video, video_elites, config),  # line 10, Eq. 4
            _update(state.value, value_elites, config),  # line 11, Eq. 5
        )
        rounds.append(_round_report(values, pair_scores, video_scores, deadline.elapsed() - began))
        deadline.round_took(rounds[-1].seconds)

    chosen = _choose(model, state, favourite, streams, config.selection)  # line 13: z_vid*, z_val*
    action_noise = config.action_noise_std * torch.randn(model.action_noise_shape, generator=streams.action)
    decision = model.act(chosen.future, chosen.value_noise, action_noise)  # line 14, Eq. 3
    if not (decision.actions.isfinite().all() and decision.values.isfinite().all()):
        raise PlannerError("the decoded action or its value is not finite: the checkpoint or its input is damaged")
    stop_reason = _stop_reason(len(rounds), config.num_iterations)
    return LatentPlan(
        decision.actions, decision.values, chosen.video_noise, video_elites, state, tuple(rounds), stop_reason
    )


def _value_noise(
    distribution: NoiseDistribution, num_pairs: tuple[int, int], config: PlannerConfig, streams: NoiseStreams
) -> Tensor:
    """Noise of every pair [M, N, T, C]; with `shared_value_noise` that of a future's n-th sample is every future's."""
    if not config.shared_value_noise:
        return distribution.sample(num_pairs, streams.value)
    shared = distribution.sample((1, num_pairs[1]), streams.value)
    return shared.expand(num_pairs[0], *shared.shape[1:])


def _update(previous: NoiseDistribution, elites: Tensor, config: PlannerConfig) -> NoiseDistribution:
    """Refit to the elites (Eq. 4, Eq. 5), then smooth (Section 4.3)."""
    fitted = NoiseDistribution.refit(elites)
    return fitted.smooth(previous, config.mean_update_rate, config.std_update_rate, config.min_std)


def _refit_by_lot(state: SearchState, config: PlannerConfig, streams: NoiseStreams) -> SearchState:
    """What refitting does to the noise without judging: every round's elites are drawn by lot, none is imagined."""
    num_pairs = (config.num_video_samples, config.num_value_samples)
    for _ in range(config.num_iterations):
        video_elites = state.video.sample(config.num_video_samples, streams.video)[: config.num_video_elites]
        pairs = _value_noise(state.value, num_pairs, config, streams).flatten(0, 1)
        value_elites = pairs[torch.randperm(len(pairs), generator=streams.value)[: config.num_value_elites]]
        state = SearchState(_update(state.video, video_elites, config), _update(state.value, value_elites, config))
    return state


def _choose(
    model: TrajectoryModel, state: SearchState, favourite: Candidate | None, streams: NoiseStreams, selection: str
) -> Candidate:
    """Line 13: what to act on."""
    if favourite is not None:
        return favourite
    if selection == "mean":
        video_noise, value_noise = state.video.mean, state.value.mean
    else:
        video_noise, value_noise = state.video.sample(1, streams.video)[0], state.value.sample(1, streams.value)[0]
    return Candidate(model.imagine(video_noise[None]), video_noise, value_noise)


def _require_scores(values: Tensor, pair_scores: Tensor, num_pairs: tuple[int, int], round_number: int) -> None:
    if tuple(values.shape[:2]) != num_pairs:
        raise ValueError(f"evaluate returned values of shape {tuple(values.shape)}; {num_pairs} + (T,) fits")
    finite = pair_scores.isfinite() & values.isfinite().all(dim=-1)
    if not finite.all():
        m, n = (~finite).nonzero()[0].tolist()
        count = int((~finite).sum())
        raise PlannerError(
            f"round {round_number}: {count} of {finite.numel()} scores are not finite, first that of future {m}, value "
            f"sample {n}: the checkpoint or its input is damaged"
        )


def _round_report(values: Tensor, pair_scores: Tensor, video_scores: Tensor, seconds: float) -> PlanRound:
    return PlanRound(
        video_score=video_scores.numpy().astype(np.float64),
        snr=pair_scores.numpy().astype(np.float64),
        mean_value=values.mean(dim=(1, 2)).numpy().astype(np.float64),
        seconds=seconds,
    )


def _stop_reason(num_rounds: int, num_iterations: int) -> str:
    if num_iterations == 0:
        return "planning off"
    return "completed" if num_rounds == num_iterations else "deadline"
