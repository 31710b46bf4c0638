"""The latent planner: Algorithm 1 and Equations 4-5 of the paper."""

from wav_models.planner.config import PlannerConfig
from wav_models.planner.errors import PlannerError

__all__ = ["PlannerConfig", "PlannerError"]
