"""The stage after the three of Section 4.2: a student does in fewer passes and steps what a frozen teacher does.

Student and teacher are given the same noises. The student learns where its last pass leads (the teacher's estimate of
the future), what its value steps end at, and what its action steps end at: with few steps the result of many, as in
progressive distillation (Salimans and Ho 2022, arXiv 2202.00512), here over three networks at once. Shortcut models
(Frans et al. 2024, arXiv 2410.12557), consistency models (Song et al. 2023, arXiv 2303.01469), MeanFlow (Geng et al.
2025, arXiv 2505.13447) and flow map matching (Boffi et al. 2024, arXiv 2406.07507) can do without a teacher, by a
network's agreement with itself; here there is one, and what must survive is not how a future looks but which of several
is chosen. So every error counts twice: of the futures themselves, and of what distinguishes the futures of one
observation, each over its variance (docs/planning.md, "A student"). Noises are drawn anew for every step: one that saw
the same ones again learnt them by heart.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from wav_models.networks.wav_model import WAVModel
from wav_models.planner.scoring import make_score
from wav_models.training.agreement import Judged, agreement
from wav_models.training.config import DistilStageConfig
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.imagining import Imagined, Imaginer, Noises
from wav_models.training.metrics import HeldOut
from wav_models.training.randomness import RngStreams, normal, streams_at
from wav_models.training.stages import BaseStage, Evaluate

_LEAST_DIFFERENCE: Final = 1e-3
"""Share of a quantity's variance that the variance of its differences counts for at least: where the futures of a batch
hardly differ, their differences must not outweigh all else."""
_NUM_FUTURES, _NUM_VALUE_SAMPLES, _CHUNK = 8, 4, 16
"""Of held-out observations: what choosing has to choose from, and how many observations are looked at at a time."""


class DistilStage(BaseStage):
    """All networks; `frozen` says which stay the teacher's: with "video." the experts alone learn."""

    name = "distil"
    parts = ("video", "value", "action")
    judged_by = "-captured"
    config: DistilStageConfig

    def __init__(
        self,
        model: WAVModel,
        batches: Batches,
        config: Any,
        evaluate: Evaluate,
        teacher: WAVModel | None = None,
    ) -> None:
        """Args:
        teacher: None: the model as it is now.
        """
        super().__init__(model, batches, config, evaluate)
        self.teacher = (deepcopy(model) if teacher is None else teacher).eval().requires_grad_(False)
        self._opinions: dict[int, tuple[Judged, ...]] = {}
        """The teacher's two of held-out observations, which are the same every time."""

    def batch_losses(self, batch: Batch, streams: RngStreams) -> dict[str, Tensor]:
        config = self.config
        noises = self._noises(batch, config.num_futures, config.num_value_samples, streams)
        text, memory = self.text(batch, streams), self.memory(batch, streams)
        given_steps = self.teacher.config.horizon.given_steps
        prefix = self.prefix(batch, 1, (0, given_steps), streams) if given_steps else None
        seen = (text, memory, batch.state_token, prefix)
        with torch.no_grad():
            teacher = Imaginer(self._teacher, config.teacher, *seen)
            wanted = teacher.imagine(noises)
        student = Imaginer(self.model, config.student, *seen)
        done = student.imagine(noises)
        future, future_differences = _errors(done.latents, wanted.latents)
        value, value_differences = _mean_of(_errors(done.values, wanted.values), _return_errors(done, wanted))
        action, action_differences = _errors(done.actions, wanted.actions)
        weight = config.difference_weight
        loss = (
            config.future_weight * (future + weight * future_differences)
            + config.value_weight * (value + weight * value_differences)
            + config.action_weight * (action + weight * action_differences)
        )
        losses = {
            "future": future,
            "value": value,
            "action": action,
            "future_differences": future_differences,
            "value_differences": value_differences,
            "action_differences": action_differences,
        }
        if any(parameter.requires_grad for parameter in self.model.video.parameters()):
            _, recorded = self.video_loss(batch, streams, 0.0)
            losses["recorded"] = recorded
            loss = loss + config.recorded_weight * recorded
            if config.student.shares_first_step:
                losses["mean"] = mse_loss(student.mean, teacher.mean) / teacher.mean.var()
                loss = loss + config.future_weight * losses["mean"]
        return {"loss": loss, **losses}

    @property
    def _teacher(self) -> WAVModel:
        """Where the student is, which was moved after the stage had been made."""
        if next(self.teacher.parameters()).device != self.device:
            self.teacher.to(self.device)
        return self.teacher

    def _noises(self, batch: Batch, num_futures: int, num_value_samples: int, streams: RngStreams) -> Noises:
        size = len(batch)
        return Noises(
            normal((size, num_futures, *batch.future_latents.shape[1:]), streams, self.device),
            normal((size, num_value_samples, *batch.values.shape[1:]), streams, self.device),
            self.config.action_noise_std * normal((size, 1, *batch.actions.shape[1:]), streams, self.device),
        )

    @torch.no_grad()
    def measure(self, held_out: HeldOut) -> dict[str, float]:
        """How well the student's choices agree with the teacher's; see `agreement`."""
        config, data, steps = self.config, held_out.batches.episodes, np.concatenate(held_out.parts)
        found: list[tuple[Judged, ...]] = []
        for place in range(0, len(steps), _CHUNK):
            batch = held_out.batches.at(steps[place : place + _CHUNK]).to(self.device)
            streams = streams_at(held_out.seed, "held out", place + 1)
            noises = self._noises(batch, _NUM_FUTURES, 2 * _NUM_VALUE_SAMPLES, streams)
            rows = batch.text.cpu()
            text = tuple(x[rows].to(self.device) for x in (data.text_embedding, data.text_mask))
            seen: Any = (text, batch.memory_latents, batch.state_token)
            if place not in self._opinions:
                wanted = Imaginer(self._teacher, config.teacher, *seen).imagine(noises)
                halves = wanted.values.split(_NUM_VALUE_SAMPLES, dim=2)
                self._opinions[place] = tuple(self._judged(wanted._replace(values=half)) for half in halves)
            noises = noises._replace(value=noises.value[:, :_NUM_VALUE_SAMPLES])
            done = Imaginer(self.model, config.student, *seen).imagine(noises)
            found.append((self._judged(done), *self._opinions[place]))
        student, teacher, again = (Judged.joined(parts) for parts in zip(*found, strict=True))
        ceiling = agreement(again, teacher)
        return {
            **agreement(student, teacher),
            **{f"{name}@other_values": ceiling[name] for name in ("score_rank", "same_best", "captured")},
        }

    def _judged(self, futures: Imagined) -> Judged:
        score = make_score(self.config.score)
        batch, count, samples, steps, _ = futures.values.shape
        pairs = score.pairs(futures.values[..., -1].reshape(batch * count, samples, steps))
        return Judged.of(futures.latents, score.futures(pairs).reshape(batch, count), futures.actions)


def _return_errors(done: Imagined, wanted: Imagined) -> tuple[Tensor, Tensor]:
    return _errors(done.values[..., -1], wanted.values[..., -1])


def _mean_of(first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return 0.5 * (first[0] + second[0]), 0.5 * (first[1] + second[1])


def _errors(done: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of [B, M, ...], and that of what distinguishes an observation's futures, each over its variance."""
    variance = wanted.var()
    own, own_wanted = done - done.mean(dim=1, keepdim=True), wanted - wanted.mean(dim=1, keepdim=True)
    spread = torch.maximum(own_wanted.square().mean(), _LEAST_DIFFERENCE * variance)
    return mse_loss(done, wanted) / variance, mse_loss(own, own_wanted) / spread
