"""Algorithm 1 of the paper: latent trajectory planning.

Line numbers are those of the algorithm. The loops over m and n (lines 5-9) are one batch. Departures from the
published code, all of them towards the paper: scores are indexed [m, n] like the noise they judge, the update rates
weigh the new estimate, every view has its own noise over future tokens only, and the three random streams are
independent. Beyond the paper: a deadline, a starting distribution, other scores than the signal-to-noise
ratio (`scoring`), other selections than the sample of line 13 (`selection`), and value noise that futures share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from wav_models.planner.config import PlannerConfig
from wav_models.planner.errors import PlannerError
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.noise import NoiseStreams, SearchState
from wav_models.planner.normals import RoundNormals
from wav_models.planner.scoring import make_score, select_elites
from wav_models.planner.selection import SELECTIONS, Candidates
from wav_models.planner.timing import Deadline
from wav_models.planner.trajectory_model import Decision, TrajectoryModel
from wav_models.types import PlanRound

CPU: Final = torch.device("cpu")


@torch.inference_mode()
def plan(
    model: TrajectoryModel,
    config: PlannerConfig,
    seed: int,
    *,
    start: SearchState | None = None,
    deadline: Deadline | None = None,
    streams: NoiseStreams | None = None,
) -> LatentPlan:
    """Search for a future worth acting on and decode its action.

    Args:
        model: the networks, having seen the observation.
        config: M, N, K, K1, K2, alpha, beta and their like.
        seed: reproduces the plan together with `model` and `start`, unless a deadline ends it early.
        start: f^(0) where it is not standard normal (warm start).
        deadline: running time budget; without one all rounds run.
        streams: to go on with, instead of those of the seed.

    Raises:
        PlannerError: a value, score or action is not finite.
    """
    deadline, streams = deadline or Deadline(), streams or NoiseStreams.from_seed(seed)
    score, selection = make_score(config.score, config.snr_eps), SELECTIONS[config.selection]()
    normals = RoundNormals(streams, config, model)
    state = start or SearchState.initial(model)  # line 1: f_vid^(0), f_val^(0)
    state = state.to(model.device)
    rounds: list[PlanRound] = []
    sampled: list[Tensor] = []
    video_elites = torch.empty((0, *model.video_noise_shape))

    while len(rounds) < config.num_iterations and deadline.allows_round(config):  # line 2: k = 1, ..., K
        began = deadline.elapsed()
        video_normals, value_normals = normals.take()
        video_noise = state.video.around(video_normals)  # line 3: z_vid^(m) [M, V, F, L, C]
        futures = model.imagine(video_noise)  # line 4: x^(m)
        value_noise = state.value.around(value_normals)  # line 6: z_val^(m,n) [M, N, T, C]
        values = model.evaluate(futures, value_noise)  # line 7: v^(m,n) [M, N, T]
        _require_pairs(values, value_noise)
        pair_scores = score.pairs(values)  # SNR^(m,n) [M, N]
        video_scores = score.futures(pair_scores)  # line 8: phi^(m) [M]

        video_elites = video_noise[select_elites(video_scores, config.num_video_elites)]
        value_elites = value_noise.flatten(0, 1)[select_elites(pair_scores, config.num_value_elites)]
        state = state.refit(video_elites, value_elites, config.update_rates)  # lines 10, 11, Eq. 4, Eq. 5
        normals.draw_ahead()
        judged = _on_host(values, pair_scores, video_scores)  # waits for the model
        _require_finite(judged, len(rounds) + 1)
        selection.see(model, Candidates(futures, video_noise, value_noise, judged.video_scores, judged.pair_scores))
        sampled.append(video_noise)
        rounds.append(_round_report(judged, deadline.elapsed() - began))
        deadline.round_took(rounds[-1].seconds)

    normals.put_back()
    chosen = selection.choose(model, state, streams)  # line 13: z_vid*, z_val*
    action_noise = config.action_noise_std * torch.randn(model.action_noise_shape, generator=streams.action)
    decision = model.act(chosen.future, chosen.value_noise, action_noise)  # line 14, Eq. 3
    _require_finite_decision(decision)
    stop_reason = _stop_reason(len(rounds), config.num_iterations)
    return LatentPlan(
        decision.actions,
        decision.values,
        chosen.video_noise.cpu(),
        video_elites.cpu(),
        tuple(sampled),
        chosen.place,
        state.to(CPU),
        tuple(rounds),
        stop_reason,
    )


def _require_pairs(values: Tensor, value_noise: Tensor) -> None:
    num_pairs = tuple(value_noise.shape[:2])
    if tuple(values.shape[:2]) != num_pairs:
        raise ValueError(f"evaluate returned values of shape {tuple(values.shape)}; {num_pairs} + (T,) fits")


@dataclass(frozen=True)
class _Judged:
    """What the host must know of a round, on the CPU.

    Attributes:
        pair_scores, video_scores: [M, N] and [M].
        mean_values: of every future, [M].
        finite: whether every number of a pair is, [M, N].
    """

    pair_scores: Tensor
    video_scores: Tensor
    mean_values: Tensor
    finite: Tensor


def _on_host(values: Tensor, pair_scores: Tensor, video_scores: Tensor) -> _Judged:
    """In one copy."""
    finite = pair_scores.isfinite() & values.isfinite().all(dim=-1)
    parts = (pair_scores, video_scores, values.mean(dim=(1, 2)), finite.to(values.dtype))
    there = torch.cat([part.flatten() for part in parts]).cpu().split([part.numel() for part in parts])
    pairs, videos, means, are_finite = (x.view(part.shape) for x, part in zip(there, parts, strict=True))
    return _Judged(pairs, videos, means, are_finite.bool())


def _require_finite(judged: _Judged, round_number: int) -> None:
    finite = judged.finite
    if not finite.all():
        m, n = (~finite).nonzero()[0].tolist()
        count = int((~finite).sum())
        raise PlannerError(
            f"round {round_number}: {count} of {finite.numel()} scores are not finite, first that of future {m}, value "
            f"sample {n}: the checkpoint or its input is damaged"
        )


def _require_finite_decision(decision: Decision) -> None:
    if not (decision.actions.isfinite().all() and decision.values.isfinite().all()):
        raise PlannerError("the decoded action or its value is not finite: the checkpoint or its input is damaged")


def _round_report(judged: _Judged, seconds: float) -> PlanRound:
    return PlanRound(
        video_score=judged.video_scores.numpy().astype(np.float64),
        pair_score=judged.pair_scores.numpy().astype(np.float64),
        mean_value=judged.mean_values.numpy().astype(np.float64),
        seconds=seconds,
    )


def _stop_reason(num_rounds: int, num_iterations: int) -> str:
    if num_iterations == 0:
        return "planning off"
    return "completed" if num_rounds == num_iterations else "deadline"
