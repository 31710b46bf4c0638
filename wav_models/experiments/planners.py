"""Scores, selections and searches that planning is compared with. To import this module makes their names valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wav_models.planner.scoring import SCORES, SEARCHES
from wav_models.planner.selection import SELECTIONS, Best

if TYPE_CHECKING:
    from torch import Tensor

    from wav_models.planner.config import PlannerConfig
    from wav_models.planner.latent_plan import LatentPlan
    from wav_models.planner.noise import SearchState
    from wav_models.planner.timing import Deadline
    from wav_models.planner.trajectory_model import TrajectoryModel


@dataclass(frozen=True)
class LowerBound:
    """Mean value less the standard deviation of a future's value samples: doubts about a future count against it."""

    def pairs(self, values: Tensor) -> Tensor:
        return values.mean(dim=-1)

    def futures(self, pair_scores: Tensor) -> Tensor:
        return pair_scores.mean(dim=1) - pair_scores.std(dim=1, correction=0)


class Worst(Best):
    """The future with the lowest score: if it does as well as the best, planning does nothing."""

    sign = -1.0


def plan_with_random_elites(
    model: TrajectoryModel,
    config: PlannerConfig,
    seed: int,
    *,
    start: SearchState | None = None,
    deadline: Deadline | None = None,
) -> LatentPlan:
    """What refitting does to the noise without judging: as many refits, to random elites, of which none is imagined."""
    import torch

    from wav_models.planner.latent_planner import plan
    from wav_models.planner.noise import NoiseStreams, SearchState
    from wav_models.planner.normals import RoundNormals

    streams, state = NoiseStreams.from_seed(seed), start or SearchState.initial(model)
    normals = RoundNormals(streams, config, model)
    for _ in range(config.num_iterations):
        video_normals, value_normals = normals.take()
        video_elites = state.video.around(video_normals)[: config.num_video_elites]
        pairs = state.value.around(value_normals).flatten(0, 1)
        value_elites = pairs[torch.randperm(len(pairs), generator=streams.value)[: config.num_value_elites]]
        state = state.refit(video_elites, value_elites, config.update_rates)
    unjudged = replace(config, score="mean", num_iterations=0)
    return plan(model, unjudged, seed, start=state, deadline=deadline, streams=streams)


SCORES["lower_bound"] = lambda snr_eps: LowerBound()
SELECTIONS["worst"] = Worst
SEARCHES["random"] = plan_with_random_elites
