"""The compiled-graph boundary: what runs the networks, and how the planner sees it.

An `Engine` method is one graph, or a loop over one, of MODEL.md: vae_encoder, text_encoder, memory_prefix, video_dit,
value_dit, action_dit, vae_decoder. Whatever a backend keeps between graphs (keys and values, device buffers) travels
in opaque handles; plain data crosses as float32 CPU tensors or uint8 arrays. The planner never sees a backend, and a
backend never sees the planner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from wav_models.alignment import state_token
from wav_models.data.normalization import Normalization
from wav_models.guidance import Guidance
from wav_models.planner.config import PlannerConfig
from wav_models.planner.trajectory_model import Decision, Futures
from wav_models.presets import ModelConfig
from wav_models.types import FloatArray, ImageArray

Text = Any
"""Handle of an encoded instruction."""
Scene = Any
"""Handle of one observation: what all futures imagined from it share."""


class EngineError(RuntimeError):
    """A backend is unknown, not installed or cannot run this checkpoint; the message says what to do."""


FULL_MEMORY_REMEDY: Final = "use fewer video or value samples, or fp16 or bf16, or end what else uses the memory"
_FULL_MEMORY: Final = (
    "out of memory",
    "outofmemory",
    "can't allocate memory",
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
)


@contextmanager
def full_memory_is_named() -> Iterator[None]:
    """Memory that runs out inside, of a GPU or of the host, is an `EngineError` with the remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, EngineError) or not (isinstance(error, MemoryError) or memory_is_full(str(error))):
            raise
        said = str(error).split(". ")[0] or "MemoryError"
        raise EngineError(f"memory is full ({said}); {FULL_MEMORY_REMEDY}") from error


def memory_is_full(message: str) -> bool:
    """Whether that is what a runtime's message says."""
    return any(phrase in message.lower() for phrase in _FULL_MEMORY)


class Engine(Protocol):
    """Runs the networks of one checkpoint. Safe to call from several threads: no call changes another's answer."""

    name: str
    precision: str
    """Of weights and arithmetic: "fp32", "bf16", "fp16" or "int8"."""
    description: str
    """What runs and why it was chosen, in a few words, for those who watch."""
    config: ModelConfig

    def encode_text(self, instruction: str) -> Text:
        """Graph text_encoder; repeated instructions are looked up."""

    def encode_images(self, images: ImageArray) -> Tensor:
        """Graph vae_encoder: memory frames uint8 [V, F_mem, H, W, 3] -> latents [1, V, F_mem, L, C]."""

    def observe(self, memory_latents: Tensor, text: Text) -> Scene:
        """Graph memory_prefix: everything that depends on the observation but not on a future, once."""

    def imagine(self, scene: Scene, video_noise: Tensor, num_steps: int) -> Futures:
        """Graph video_dit: M futures from noise [M, V, F_fut, L, C], ready for the experts.

        `num_steps` passes: the features are those of the last, at flow time (num_steps - 1) / num_steps, after
        num_steps - 1 Euler steps. 1 is the single pass over pure noise of the published code.
        """

    def evaluate(self, futures: Futures, value_noise: Tensor, num_steps: int) -> Tensor:
        """Graph value_dit: normalised values [M, N, T, 17] from noise of that shape; row m judges future m."""

    def pick(self, futures: Futures, index: int) -> Futures:
        """One of several futures, for `act`; cheap, and keeps none of the others."""

    def act(
        self,
        future: Futures,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Graphs value_dit, then action_dit on the value features of its last pass (Eq. 3), for one future.

        Args:
            future: picked, or imagined with M = 1.
            state_token: [1, 1, 28].
            value_noise: [T, 17].
            action_noise: [H, 28].
            guidance: what is known of the actions already, [H, 28]; None: nothing.

        Returns:
            Normalised values [T, 17] and actions [H, 28].
        """

    def denoise(self, scene: Scene, video_noise: Tensor, num_steps: int) -> Tensor:
        """Graph video_dit, to the end: latents [M, V, F_fut, L, C] at flow time 1, for those who want to look."""

    def decode_images(self, latents: Tensor) -> ImageArray:
        """Graph vae_decoder: future latents [1, V, F_fut, L, C] -> uint8 frames [V, F, H, W, 3]."""


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
    def video_noise_shape(self) -> tuple[int, ...]:
        config = self.engine.config
        channels = config.video.in_channels
        return (config.video.max_view, config.num_future_frames, config.num_tokens_per_frame, channels)

    @property
    def value_noise_shape(self) -> tuple[int, ...]:
        return (self.engine.config.horizon.value_horizon, self.engine.config.value.in_channels)

    @property
    def action_noise_shape(self) -> tuple[int, ...]:
        return (self.engine.config.horizon.action_horizon, self.engine.config.action.in_channels)

    def imagine(self, video_noise: Tensor) -> Futures:
        return self.engine.imagine(self.scene, video_noise, self.planner.num_video_steps)

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
    """`state_token` of one measured state [14] for the engines, shape [1, 1, 28]."""
    return torch.from_numpy(state_token(normalization, joint_state)[None]).float()
