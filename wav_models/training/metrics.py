"""Held-out metrics that a training run is steered by, on a fixed set of observations with fixed noise.

Each metric is taken at video features of several kinds, named behind the "@":

    @0          the noisiest pass: what acting reads with `video_times` [0]
    @0.75       the true future, noised a little: the bound that better imagination would reach
    @imagined   the model's own future, denoised to 0.75 in equal steps
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from wav_models.flow import euler, interpolate, velocity_target
from wav_models.networks.video_dit import TextContext, VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.training.data.batches import Batch, Batches
from wav_models.training.randomness import RngStreams, normal, streams_at

NEARLY_CLEAN = 0.75
NUM_IMAGINATION_STEPS = 3
"""Euler steps from noise to `NEARLY_CLEAN`."""
CHUNK = 64
NUM_STEPS = 5
"""Euler steps of the experts; as many as acting takes by default."""
NUM_VALUE_SAMPLES = 2


class _Seen(NamedTuple):
    """One video pass: the kind of its features, its output, and its loss where there is a truth."""

    kind: str
    output: VideoOutput
    loss: float | None


class HeldOut:
    """Metrics of a model on held-out episodes."""

    def __init__(self, model: WAVModel, batches: Batches, num_samples: int, seed: int) -> None:
        chosen = streams_at(seed, "held out", 0).numpy.permutation(len(batches.steps))[:num_samples]
        self.model, self.batches, self.seed = model, batches, seed
        self.parts = np.array_split(batches.steps[np.sort(chosen)], max(1, -(-len(chosen) // CHUNK)))

    def video(self) -> dict[str, float]:
        """Video loss."""
        return self._measure(values=False, actions=False)

    def value(self) -> dict[str, float]:
        """Video loss, and R² of the predicted return."""
        return self._measure(values=True, actions=False)

    def action(self) -> dict[str, float]:
        """Video loss, R² of the return, and the error of the joint targets in radians."""
        return self._measure(values=True, actions=True)

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _measure(self, *, values: bool, actions: bool) -> dict[str, float]:
        means: dict[str, list[float]] = {}
        returns: dict[str, list[Tensor]] = {}
        true_returns = []
        for part, steps in enumerate(self.parts):
            batch, streams = self.batches.at(steps).to(self._device), streams_at(self.seed, "held out", part + 1)
            true_returns.append(_returns(batch.values))
            for seen in self._passes(batch, streams, imagined=actions):
                if seen.loss is not None:
                    means.setdefault(f"video_loss@{seen.kind}", []).append(seen.loss)
                if not values:
                    continue
                predicted, value_features = self._denoise_values(batch, seen.output.features, streams)
                returns.setdefault(f"return_r2@{seen.kind}", []).append(_returns(predicted))
                if actions and (learnt := batch.imitated > 0).any():
                    error = self._action_error(batch, seen.output.features, value_features, streams)[learnt]
                    means.setdefault(f"first_step_rad@{seen.kind}", []).append(error[:, 0].mean().item())
                    means.setdefault(f"all_steps_rad@{seen.kind}", []).append(error.mean().item())
        metrics = {name: float(np.mean(numbers)) for name, numbers in means.items()}
        true = torch.cat(true_returns)
        return metrics | {name: _r_squared(torch.cat(rows), true) for name, rows in returns.items()}

    def _passes(self, batch: Batch, streams: RngStreams, *, imagined: bool) -> Iterator[_Seen]:
        data, x_1 = self.batches.episodes, batch.future_latents
        rows = batch.text.cpu()
        text = (data.text_embedding[rows].to(self._device), data.text_mask[rows].to(self._device))
        context = self.model.video.encode_text(*text)
        x_0 = normal(x_1.shape, streams, self._device)
        for time in (0.0, NEARLY_CLEAN):
            x_t = interpolate(x_0, x_1, torch.full((len(batch),), time, device=self._device))
            output = self._video(batch, context, x_t, time)
            yield _Seen(f"{time:g}", output, mse_loss(output.velocity, velocity_target(x_0, x_1)).item())
        if imagined:
            x_t = euler(
                lambda x, t: self._video(batch, context, x, t).velocity, x_0, NUM_IMAGINATION_STEPS, NEARLY_CLEAN
            )
            yield _Seen("imagined", self._video(batch, context, x_t, NEARLY_CLEAN), None)

    def _video(self, batch: Batch, text: TextContext, x_t: Tensor, time: float) -> VideoOutput:
        flow_time = torch.full((len(batch),), time, device=self._device)
        output: VideoOutput = self.model.video(x_t, flow_time, text, batch.memory_latents)
        return output

    def _denoise_values(
        self, batch: Batch, features: VideoFeatures, streams: RngStreams
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Value samples per observation [B, R, T, C] and the features of the last pass, as acting computes them."""
        context = self.model.value.context(features)
        last: tuple[Tensor, ...] = ()

        def velocity(x: Tensor, time: float) -> Tensor:
            nonlocal last
            output = self.model.value(x, torch.full(x.shape[:2], time, device=x.device), context)
            last = output.features
            predicted: Tensor = output.velocity
            return predicted

        x_0 = normal((len(batch), NUM_VALUE_SAMPLES, *batch.values.shape[1:]), streams, self._device)
        return euler(velocity, x_0, NUM_STEPS), last

    def _action_error(
        self, batch: Batch, features: VideoFeatures, value_features: tuple[Tensor, ...], streams: RngStreams
    ) -> Tensor:
        """Absolute error of what moves the arms, shape [B, H, D], in its unit."""
        context = self.model.action.context(features, tuple(f[:, 0] for f in value_features))
        x_0 = normal((len(batch), 1, *batch.actions.shape[1:]), streams, self._device)

        def velocity(x: Tensor, time: float) -> Tensor:
            flow_time = torch.full(x.shape[:2], time, device=x.device)
            predicted: Tensor = self.model.action(x, flow_time, batch.state_token, context).velocity
            return predicted

        x_1 = euler(velocity, x_0, NUM_STEPS)
        normalization = self.batches.normalization
        decoded = normalization.decode_actions(x_1[:, 0], batch.state)
        return (decoded - batch.targets)[..., normalization.embodiment.arm_columns].abs()


def _returns(values: Tensor) -> Tensor:
    """Normalised return of values [B, ..., T, C], shape [B], averaged over the horizon and over samples."""
    last = values[..., -1]
    return last.mean(dim=tuple(range(1, last.ndim)))


def _r_squared(predicted: Tensor, true: Tensor) -> float:
    residual = (predicted - true).square().sum()
    return float(1.0 - residual / (true - true.mean()).square().sum().clamp_min(1e-9))
