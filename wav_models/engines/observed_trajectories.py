"""What the planner sees of an engine that has seen one observation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wav_models.data.normalization import Normalization
from wav_models.engines.base import Engine, Scene
from wav_models.guidance import Guidance
from wav_models.planner.config import PlannerConfig
from wav_models.planner.trajectory_model import Decision, Futures
from wav_models.types import FloatArray


@dataclass(frozen=True)
class ObservedTrajectories:
    """The planner's `TrajectoryModel` of one observation, over any engine."""

    engine: Engine
    scene: Scene
    state_token: Tensor
    normalization: Normalization
    planner: PlannerConfig
    guidance: Guidance | None = None

    @property
    def device(self) -> torch.device:
        return self.engine.device

    @property
    def video_noise_shape(self) -> tuple[int, ...]:
        return self.engine.config.future_shape

    @property
    def value_noise_shape(self) -> tuple[int, ...]:
        return self.engine.config.value_shape

    @property
    def action_noise_shape(self) -> tuple[int, ...]:
        return self.engine.config.action_shape

    def imagine(self, video_noise: Tensor) -> Futures:
        return self.engine.imagine(self.scene, video_noise, self.planner.video_times)

    def evaluate(self, futures: Futures, value_noise: Tensor) -> Tensor:
        values = self.engine.evaluate(futures, value_noise, self.planner.num_value_steps)
        return self.normalization.decode_returns(values[..., -1])

    def pick(self, futures: Futures, index: int) -> Futures:
        return self.engine.pick(futures, index)

    def act(self, future: Futures, value_noise: Tensor, action_noise: Tensor) -> Decision:
        values, actions = self.engine.act(
            future,
            self.state_token,
            value_noise,
            action_noise,
            self.planner.num_value_steps,
            self.planner.num_action_steps,
            self.guidance,
        )
        return Decision(actions, self.normalization.decode_returns(values[..., -1]))


def make_state_token(normalization: Normalization, joint_state: FloatArray) -> Tensor:
    """`Normalization.state_token` of one measured state [S] for the engines, shape [1, 1, A + S]."""
    return torch.from_numpy(normalization.state_token(joint_state)[None]).float()
