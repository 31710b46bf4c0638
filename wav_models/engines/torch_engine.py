"""PyTorch backend, CPU or CUDA, float32 or bfloat16 weights.

Caches, all exact: text keys and values per instruction; latents per frame, because a frame that is new now is memory
later; the memory prefix and the experts' keys and values of it per observation; the experts' keys and values of a
future per future; the action expert's keys and values of the value features per decision. On a CPU futures are
imagined a few at a time, as many as its caches hold.
"""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from wav_models.engines.base import EngineError, full_memory_is_named
from wav_models.engines.frame_cache import NUM_FRAMES, FrameCache
from wav_models.flow import euler, euler_through
from wav_models.guidance import Guidance, guided
from wav_models.networks.attention import KeysValues
from wav_models.networks.autoencoder import Autoencoder
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.text_encoder import TextEncoder
from wav_models.networks.video_dit import MemoryPrefix, TextContext, VideoFeatures
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray

P = ParamSpec("P")
T = TypeVar("T")
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
NUM_INSTRUCTIONS: Final = 8
CPU_ACTIVATIONS: Final = 2**20
"""Numbers in the video DiT's hidden states up to which a CPU's caches hold what a block works on."""


@dataclass(frozen=True)
class TorchScene:
    """What the futures of one observation share.

    Attributes:
        memory: prefix (causal memory) or latents [1, V, F_mem, L, C] (bidirectional).
        value_memory, action_memory: the experts' keys and values of the memory features; None where they depend on the
            future.
        mean: mu of `PlannerConfig.share_first_step`, [1, V, F_fut, L, C]; None where it was not asked for.
    """

    text: TextContext
    memory: MemoryPrefix | Tensor
    value_memory: tuple[KeysValues, ...] | None
    action_memory: tuple[KeysValues, ...] | None
    mean: Tensor | None = None


@dataclass(frozen=True)
class TorchFutures:
    """M futures: the video features of the last pass, and what the value expert sees of them."""

    scene: TorchScene
    features: VideoFeatures
    value_context: ExpertContext

    def select(self, index: int) -> TorchFutures:
        """One future, batch 1; a copy, so that the others need not stay in memory."""
        return TorchFutures(self.scene, self.features.select(index), self.value_context.select(index))


def _inference(method: Callable[P, T]) -> Callable[P, T]:
    """Without gradients, and with a remedy where memory runs out."""
    return full_memory_is_named()(torch.inference_mode()(method))


class TorchEngine:
    """See `engines.base.Engine`.

    Args:
        model, autoencoder: in evaluation mode, on one device: the engine's.
        text_encoder: may be on another.
        dtype: "fp32" or "bf16", of the networks' weights; integration and auto-encoder stay in float32.
        compile: the networks, by torch.compile: needs a C++ compiler, and minutes at the first calls.
        cuda_graphs: with `compile`, on a GPU: record launches once and replay them.
    """

    name = "torch"

    def __init__(
        self,
        model: WAVModel,
        autoencoder: Autoencoder,
        text_encoder: TextEncoder,
        *,
        dtype: str = "fp32",
        compile: bool = False,
        cuda_graphs: bool = False,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; {' or '.join(DTYPES)} fits")
        self.precision = dtype
        self.config = model.config
        self._device = next(model.parameters()).device
        replays = compile and cuda_graphs and self._device.type == "cuda"
        self.description = _described(dtype, self._device, compile, replays)
        self._dtype = DTYPES[dtype]
        self._model = with_weights_in(model, self._dtype)
        if compile:
            self._model = _compiled(self._model, replays)
        self._autoencoder = autoencoder
        self._text_encoder = text_encoder
        self._frames = FrameCache(NUM_FRAMES)
        self._futures_at_once = _futures_at_once(self.config, self._device)
        self.encode_text: Callable[[str], TextContext] = lru_cache(NUM_INSTRUCTIONS)(self._encode_text)

    @_inference
    def _encode_text(self, instruction: str) -> TextContext:
        embedding, mask = self._text_encoder([instruction])
        return self._model.video.encode_text(self._in(embedding), mask.to(self._device))

    @_inference
    def encode_images(self, images: ImageArray) -> Tensor:
        frames = [self._frames.get(images[:, f], self._encode_frame) for f in range(images.shape[1])]
        return torch.stack(frames, dim=1)[None]

    def _encode_frame(self, frame: ImageArray) -> Tensor:
        """All views of one moment, [V, H, W, 3] -> [V, L, C]: always this batch, so that caching changes no bit."""
        pixels = torch.tensor(np.ascontiguousarray(frame), device=self._device)
        return self._autoencoder.encode_memory(pixels[None, :, None])[0, :, 0].float().cpu()

    @_inference
    def observe(self, memory_latents: Tensor, text: TextContext, share_first_step: bool = False) -> TorchScene:
        latents = self._in(memory_latents)
        scene = TorchScene(text, latents, None, None)
        if self.config.video.causal_memory:
            prefix = self._model.video.encode_memory(latents, text)
            value_memory = self._model.value.memory_context(prefix.features)
            action_memory = self._model.action.memory_context(prefix.features)
            scene = TorchScene(text, prefix, value_memory, action_memory)
        if not share_first_step:
            return scene
        views, _, *tokens = latents.shape[1:]
        zero_noise = torch.zeros((1, views, self.config.num_future_frames, *tokens), device=self._device)
        return replace(scene, mean=self.video_velocity(scene)(zero_noise, 0.0))

    @_inference
    def imagine(self, scene: TorchScene, video_noise: Tensor, times: tuple[float, ...]) -> TorchFutures:
        parts = [self._imagine(scene, noise, times) for noise in video_noise.split(self._futures_at_once)]
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _imagine(self, scene: TorchScene, video_noise: Tensor, times: tuple[float, ...]) -> TorchFutures:
        return self.read(scene, self.before_last_pass(scene, video_noise, times), times[-1])[0]

    @_inference
    def before_last_pass(self, scene: TorchScene, video_noise: Tensor, times: tuple[float, ...]) -> Tensor:
        """What the last pass of `imagine` is given: x_t at `times[-1]`, [M, V, F_fut, L, C].

        Raises:
            ValueError: the first step is shared, but the scene was observed without `share_first_step`.
        """
        x_t = video_noise.to(self._device)
        if times[0] > 0.0:
            if scene.mean is None:
                raise ValueError(f"no mean to lead to flow time {times[0]}: observe with share_first_step")
            x_t = (1.0 - times[0]) * x_t + times[0] * scene.mean
        return euler_through(self.video_velocity(scene), x_t, times)

    @_inference
    def read(self, scene: TorchScene, x_t: Tensor, flow_time: float) -> tuple[TorchFutures, Tensor]:
        """Futures as the experts see them at `flow_time`, wherever they came from, and where they lead.

        Args:
            x_t: [M, V, F_fut, L, C], between noise (flow time 0) and data (1): imagined, or true and noised again.

        Returns:
            The futures, and the model's estimate of their latents at flow time 1, [M, V, F_fut, L, C].
        """
        output = self._model.video(self._in(x_t), self._time(flow_time), scene.text, scene.memory)
        futures = TorchFutures(scene, output.features, self._model.value.context(output.features, scene.value_memory))
        return futures, x_t + (1.0 - flow_time) * output.velocity.float()

    @_inference
    def evaluate(self, futures: TorchFutures, value_noise: Tensor, num_steps: int) -> Tensor:
        return self._denoise_values(futures, value_noise, num_steps)[0].cpu()

    @_inference
    def pick(self, futures: TorchFutures, index: int) -> TorchFutures:
        return futures.select(index)

    @_inference
    def act(
        self,
        future: TorchFutures,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        values, features = self._denoise_values(future, value_noise[None, None], num_value_steps)
        value_features = tuple(x[:, 0] for x in features)
        context = self._model.action.context(future.features, value_features, future.scene.action_memory)
        state = self._in(state_token)
        if guidance is not None and guidance.jacobian == "network":
            context, state = _for_autograd(context, state)

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            return self._model.action(self._in(x_t), self._time(flow_time)[None], state, context).velocity.float()

        steered = velocity if guidance is None else guided(velocity, guidance)
        actions = euler(steered, action_noise[None, None].to(self._device), num_action_steps)
        return values[0, 0].cpu(), actions[0, 0].cpu()

    @_inference
    def denoise(self, scene: TorchScene, video_noise: Tensor, num_steps: int) -> Tensor:
        return euler(self.video_velocity(scene), video_noise.to(self._device), num_steps).cpu()

    @_inference
    def decode_images(self, latents: Tensor) -> ImageArray:
        return self._autoencoder.decode_future(latents.to(self._device))[0].cpu().numpy()

    def video_velocity(self, scene: TorchScene) -> Callable[[Tensor, float], Tensor]:
        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            output = self._model.video(self._in(x_t), self._time(flow_time), scene.text, scene.memory)
            return output.velocity.float()

        return velocity

    def _denoise_values(
        self, futures: TorchFutures, value_noise: Tensor, num_steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Values at flow time 1 and the features of the last pass, per block [M, N, T, Dv]."""
        features: tuple[Tensor, ...] = ()

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            nonlocal features
            output = self._model.value(self._in(x_t), self._time(flow_time)[None], futures.value_context)
            features = output.features
            return output.velocity.float()

        return euler(velocity, value_noise.to(self._device), num_steps), features

    def _in(self, x: Tensor) -> Tensor:
        """On the engine's device, in the precision of the weights."""
        return x.to(self._device, self._dtype)

    def _time(self, flow_time: float) -> Tensor:
        return torch.full((1,), flow_time, device=self._device)


def _described(dtype: str, device: torch.device, compiled: bool, replays: bool) -> str:
    """What runs: "torch fp32", "torch bf16 on cuda, compiled, CUDA graphs"."""
    words = ("compiled", compiled), ("CUDA graphs", replays)
    place = "" if device.type == "cpu" else f" on {device.type}"
    return ", ".join([f"torch {dtype}{place}", *(word for word, holds in words if holds)])


def _futures_at_once(config: ModelConfig, device: torch.device) -> int:
    """Batch of the video DiT; on a CPU, a larger one is slower per future."""
    if device.type != "cpu":
        return sys.maxsize
    frames = config.num_future_frames + (0 if config.video.causal_memory else config.num_memory_frames)
    tokens = config.num_views * frames * config.num_tokens_per_frame
    return max(1, CPU_ACTIVATIONS // (tokens * config.video.hidden_size))


def _joined(parts: list[TorchFutures]) -> TorchFutures:
    """The futures of all parts, which share a scene."""
    scene = parts[0].scene
    memory = parts[0].features.memory  # with causal memory that of all futures
    if not isinstance(scene.memory, MemoryPrefix):
        memory = tuple(torch.cat(xs) for xs in zip(*(part.features.memory for part in parts), strict=True))
    future = tuple(torch.cat(xs) for xs in zip(*(part.features.future for part in parts), strict=True))
    contexts = zip(*(part.value_context.video for part in parts), strict=True)
    context = ExpertContext(tuple(KeysValues(*map(torch.cat, zip(*kvs, strict=True))) for kvs in contexts))
    return TorchFutures(scene, VideoFeatures(memory, future), context)


def _for_autograd(context: ExpertContext, state: Tensor) -> tuple[ExpertContext, Tensor]:
    """Copies that a backward pass may use; tensors made in inference mode are refused by it."""
    with torch.inference_mode(False):
        video = tuple(KeysValues(*(x.clone() for x in kv)) for kv in context.video)
        value = tuple(KeysValues(*(x.clone() for x in kv)) for kv in context.value or ())
        return ExpertContext(video, value or None), state.clone()


def _compiled(model: WAVModel, cuda_graphs: bool) -> WAVModel:
    """The model with its blocks compiled: one graph per kind of block serves all layers.

    Raises:
        EngineError: there is no C++ compiler, which code for the CPU needs.
    """
    device = next(model.parameters()).device.type
    if device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise EngineError("torch.compile needs a C++ compiler (apt-get install g++), or load without `compile`")
    model = copy.deepcopy(model)
    networks: tuple[Any, ...] = (model.video, model.value, model.action)
    for network in networks:
        if cuda_graphs:
            network.forward = _with_outputs_of_its_own(torch.compile(network.forward, mode="reduce-overhead"))
        else:
            network.forward = torch.compile(network.forward, dynamic=False)
    return model


def _with_outputs_of_its_own(replay: Callable[..., Any]) -> Callable[..., Any]:
    """The next replay of a CUDA graph overwrites the outputs of the last one; these stay."""
    return lambda *arguments: pytree.tree_map(torch.clone, replay(*arguments))


def on_cpu(network: Any) -> Any:
    """A copy on the CPU, made without another one where the network is; weights that are on the CPU are shared."""
    memo: dict[int, Any] = {id(p): nn.Parameter(p.cpu(), requires_grad=False) for p in network.parameters()}
    memo |= {id(buffer): buffer.cpu() for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


def with_weights_in(model: WAVModel, dtype: torch.dtype) -> WAVModel:
    """The model itself, or a copy with its parameters in `dtype`; rotary tables stay in float32."""
    if next(model.parameters()).dtype == dtype:
        return model
    model = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
