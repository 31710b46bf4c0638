"""Held-out metrics that a training run is steered by, on a fixed set of observations with fixed noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from wav_models.flow import euler, interpolate, velocity_target
from wav_models.networks.video_dit import VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.training.batches import Batch, Batches
from wav_models.training.randomness import Draws, draws_at
from wav_models.types import ARM_DOF, JOINT_DIM

VIDEO_TIMES = (0.0, 0.5, 0.9)
"""Flow times that the video loss is reported at."""

CHUNK = 64
NUM_STEPS = 5
"""Euler steps of the experts; as many as acting takes by default."""

ANGLES = [i for i in range(JOINT_DIM) if i % ARM_DOF != ARM_DOF - 1]
"""Joints measured in radians: all but the grippers."""


class HeldOut:
    """Metrics of one stage on held-out episodes."""

    def __init__(self, model: WAVModel, batches: Batches, num_samples: int, seed: int) -> None:
        chosen = draws_at(seed, "held out", 0).numpy.permutation(len(batches.steps))[:num_samples]
        self.model, self.batches, self.seed = model, batches, seed
        self.parts = np.array_split(np.sort(batches.steps[np.sort(chosen)]), max(1, -(-len(chosen) // CHUNK)))

    def video(self) -> dict[str, float]:
        """Video loss at several flow times."""
        sums: dict[str, list[float]] = {}
        for batch, draws in self._batches("video"):
            for time in VIDEO_TIMES:
                x_0 = torch.randn(batch.future_latents.shape, generator=draws.torch)
                output = self._imagine(batch, x_0, time)
                loss = mse_loss(output.velocity.float(), velocity_target(x_0, batch.future_latents))
                sums.setdefault(f"video_loss@{time:g}", []).append(loss.item())
        return _means(sums)

    def value(self) -> dict[str, float]:
        """R² of the return, predicted from the noisiest pass and from a nearly clean true future."""
        predicted: dict[float, list[Tensor]] = {0.0: [], 0.75: []}
        true = []
        for batch, draws in self._batches("value"):
            true.append(self._returns(batch.values))
            for time, rows in predicted.items():
                x_0 = torch.randn(batch.future_latents.shape, generator=draws.torch)
                features = self._imagine(batch, x_0, time).features
                rows.append(self._returns(self._denoise_values(batch, features, draws, 2)[0]))
        return {f"return_r2@{time:g}": _r_squared(torch.cat(p), torch.cat(true)) for time, p in predicted.items()}

    def action(self) -> dict[str, float]:
        """Action error in radians as acting without planning decodes them, and with the true future given."""
        sums: dict[str, list[float]] = {}
        for batch, draws in self._batches("action"):
            for label, time in (("", 0.0), ("_given_future", 0.75)):
                x_0 = torch.randn(batch.future_latents.shape, generator=draws.torch)
                features = self._imagine(batch, x_0, time).features
                error = (self._act(batch, features, draws) - batch.targets)[..., ANGLES].abs()
                sums.setdefault(f"first_step_rad{label}", []).append(error[:, 0].mean().item())
                sums.setdefault(f"all_steps_rad{label}", []).append(error.mean().item())
        still = [(b.state[:, None] - b.targets)[..., ANGLES].abs().mean().item() for b, _ in self._batches("action")]
        return _means(sums) | {"standing_still_rad": float(np.mean(still))}

    def all(self) -> dict[str, float]:
        return self.action() | self.value() | self.video()

    def _batches(self, purpose: str) -> list[tuple[Batch, Draws]]:
        return [
            (self.batches.at(steps), draws_at(self.seed, f"held out {purpose}", i)) for i, steps in enumerate(self.parts)
        ]

    def _imagine(self, batch: Batch, x_0: Tensor, time: float) -> VideoOutput:
        flow_time = torch.full((len(batch),), time)
        data = self.batches.episodes
        text = self.model.video.encode_text(data.text_embedding[batch.text], data.text_mask[batch.text])
        x_t = interpolate(x_0, batch.future_latents, flow_time)
        return self.model.video(x_t, flow_time, text, batch.memory_latents)

    def _denoise_values(
        self, batch: Batch, features: VideoFeatures, draws: Draws, count: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`count` value samples per observation [B, count, T, 17] and the features of the last pass."""
        context = self.model.value.context(features)
        last: tuple[Tensor, ...] = ()

        def velocity(x: Tensor, time: float) -> Tensor:
            nonlocal last
            output = self.model.value(x, torch.full(x.shape[:2], time), context)
            last = output.features
            return output.velocity

        x_0 = torch.randn((len(batch), count, *batch.values.shape[1:]), generator=draws.torch)
        return euler(velocity, x_0, NUM_STEPS), last

    def _returns(self, values: Tensor) -> Tensor:
        """Normalised return, shape [B], averaged over the horizon and over noise draws."""
        last = values[..., -1]
        return last.mean(dim=tuple(range(1, last.ndim)))

    def _act(self, batch: Batch, features: VideoFeatures, draws: Draws) -> Tensor:
        """Joint targets [B, H, 14] in rad and m."""
        _, value_features = self._denoise_values(batch, features, draws, 1)
        context = self.model.action.context(features, tuple(f[:, 0] for f in value_features))
        x_0 = torch.randn((len(batch), 1, *batch.actions.shape[1:]), generator=draws.torch)
        x_1 = euler(
            lambda x, t: self.model.action(x, torch.full(x.shape[:2], t), batch.state_token, context).velocity,
            x_0,
            NUM_STEPS,
        )
        return self.batches.normalization.decode_actions(x_1[:, 0].float(), batch.state)


def _r_squared(predicted: Tensor, true: Tensor) -> float:
    residual = (predicted - true).square().sum()
    return float(1.0 - residual / (true - true.mean()).square().sum().clamp_min(1e-9))


def _means(sums: dict[str, list[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in sums.items()}
