"""The compiled-graph boundary: what runs the networks.

An `Engine` method is one graph of `docs/engines.md`, or a loop over one: vae_encoder, text_encoder, memory_prefix,
video_dit, value_dit, action_dit, vae_decoder. Whatever a backend keeps between graphs (keys and values, device buffers)
travels in opaque handles; plain data crosses as float32 CPU tensors or uint8 arrays. The planner never sees a backend,
and a backend never sees the planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, TypeVar
from weakref import WeakMethod

import torch
from torch import Tensor

from wav_models.guidance import Guidance
from wav_models.planner.timing import Size
from wav_models.planner.trajectory_model import Futures
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray

Text = Any
"""Handle of an encoded instruction."""
Scene = Any
"""Handle of one observation: what all futures imagined from it share."""


NUM_FRAMES: Final = 32
"""Latents that an engine keeps, in frames of all views: a frame that is new now is memory later, and is encoded once.
More than the memory span of a control loop needs."""
NUM_INSTRUCTIONS: Final = 8
"""Encoded instructions that an engine keeps."""


T = TypeVar("T")


def remembered(method: Callable[..., T], count: int) -> Callable[..., T]:
    """A method whose last `count` answers are looked up, for its own object to keep.

    The object goes with its last user. If it were kept here, it would refer to itself, and its memory on a GPU would
    stay taken until Python looks for such circles.
    """
    weak = WeakMethod(method)

    @lru_cache(count)
    def answer(*arguments: Any) -> T:
        bound = weak()
        assert bound is not None  # this is a part of its object
        return bound(*arguments)

    return answer


class EngineError(RuntimeError):
    """A backend is unknown, not installed or cannot run this checkpoint; the message says what to do."""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is made with.

    Attributes:
        dtype: number format, "auto" for the best.
        num_threads: of ONNX Runtime; None = as many as torch uses.
        providers: execution providers of ONNX Runtime, best first; () = CUDA's where the networks are on a GPU and
            onnxruntime-gpu is installed, else the CPU's.
        compile: torch only: compile the networks' blocks (needs a C++ compiler); slow to start.
        cuda_graphs: record GPU work once and replay it.
    """

    dtype: str = "auto"
    num_threads: int | None = None
    providers: tuple[str, ...] = ()
    compile: bool = False
    cuda_graphs: bool = False


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
    """Of weights and arithmetic: "fp32", "bf16", "fp16", "fp8" or "int8"."""
    description: str
    """What runs and why it was chosen, in a few words, for those who watch."""
    config: ModelConfig
    device: torch.device
    """Where values are returned, and noise is best given: the CPU, unless torch runs on another."""

    def encode_text(self, instruction: str) -> Text:
        """Graph text_encoder; repeated instructions are looked up."""

    def encode_images(self, images: ImageArray) -> Tensor:
        """Graph vae_encoder: memory frames uint8 [V, F_mem, H, W, 3] -> latents [1, V, F_mem, L, C]."""

    def observe(self, memory_latents: Tensor, text: Text, share_first_step: bool = False) -> Scene:
        """Graph memory_prefix: everything that depends on the observation but not on a future, once.

        With `share_first_step` also the mean of all futures, which the first step of `imagine` then leads to.
        """

    def has_rounds_of(self, size: Size) -> bool:
        """Whether rounds of M futures with N value samples each run here without being compiled first."""

    def imagine(self, scene: Scene, video_noise: Tensor, times: tuple[float, ...]) -> Futures:
        """Graph video_dit: M futures from noise [M, V, F_fut, L, C], ready for the experts.

        Args:
            scene: observed with `share_first_step` where the first time is above 0.
            video_noise: at flow time 0.
            times: of the passes, see `PlannerConfig.video_times`; the features are those of the last.
        """

    def evaluate(self, futures: Futures, value_noise: Tensor, num_steps: int) -> Tensor:
        """Graph value_dit: normalised values [M, N, T, C] on `device` from noise of that shape; row m: future m."""

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
            state_token: [1, 1, A + S].
            value_noise: [T, C].
            action_noise: [H, A + S].
            guidance: what is known of the actions already, [H, A + S]; None: nothing.

        Returns:
            Normalised values [T, C] and actions [H, A + S].
        """

    def denoise(self, scene: Scene, video_noise: Tensor, num_steps: int) -> Tensor:
        """Graph video_dit, to the end: latents [M, V, F_fut, L, C] at flow time 1, for those who want to look."""

    def decode_images(self, latents: Tensor) -> ImageArray:
        """Graph vae_decoder: future latents [1, V, F_fut, L, C] -> uint8 frames [V, F, H, W, 3]."""
