"""What a search answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from wav_models.planner.noise import SearchState
from wav_models.types import PlanRound


@dataclass(frozen=True)
class LatentPlan:
    """The answer in the model's units, on the CPU.

    Attributes:
        actions: action tokens, shape [H, A].
        values: predicted value of the chosen future, shape [T].
        video_noise: z_vid* of the chosen future, shape [V, F, L, C].
        video_elites: noise of the last round's elites, shape [K1, V, F, L, C]; K1 = 0 without a round.
        sampled: video noise of every round's futures, [M, V, F, L, C] each, where the model computes.
        chosen: round and future acted on, from 0; None where that is none of those that were judged.
        state: the refitted noise, to warm-start the next plan.
        rounds: one entry per round that ran.
        stop_reason: "completed", "deadline" or "planning off".
    """

    actions: Tensor
    values: Tensor
    video_noise: Tensor
    video_elites: Tensor
    sampled: tuple[Tensor, ...]
    chosen: tuple[int, int] | None
    state: SearchState
    rounds: tuple[PlanRound, ...]
    stop_reason: str
