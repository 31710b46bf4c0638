"""The search that a configuration asks for: Algorithm 1, unless an experiment takes its place."""

from __future__ import annotations

from wav_models.planner.config import PlannerConfig
from wav_models.planner.latent_plan import LatentPlan
from wav_models.planner.latent_planner import plan
from wav_models.planner.noise import SearchState
from wav_models.planner.scoring import SEARCHES
from wav_models.planner.timing import Deadline
from wav_models.planner.trajectory_model import TrajectoryModel


def search(
    model: TrajectoryModel,
    config: PlannerConfig,
    seed: int,
    *,
    start: SearchState | None = None,
    deadline: Deadline | None = None,
) -> LatentPlan:
    """See `latent_planner.plan`."""
    return SEARCHES.get(config.score, plan)(model, config, seed, start=start, deadline=deadline)
