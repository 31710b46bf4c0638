"""PyTorch backend, CPU or CUDA, float32 or bfloat16 weights.

Caches, all exact: text keys and values per instruction; latents per frame, because a frame that is new now is memory
later; the memory prefix and the experts' keys and values of it per observation; the experts' keys and values of a
future per future; the action expert's keys and values of the value features per decision. On a CPU futures are
imagined a few at a time, as many as its caches hold. With `cuda_graphs` two recordings make a plan: one imagines M
futures and judges them, and every round replays it; one imagines a future, unless it was picked, and acts on it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from wav_models.engines.base import NUM_FRAMES, NUM_INSTRUCTIONS, EngineError, full_memory_is_named, remembered
from wav_models.engines.replay import CudaRecorder, Lent, Recorder, Replays
from wav_models.engines.weights import copied, in_fp8, with_weights_in
from wav_models.flow import euler, euler_through
from wav_models.guidance import Guidance, given_rows, guided
from wav_models.networks.attention import KeysValues
from wav_models.networks.autoencoder import Autoencoder
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.fp8 import FIRST_CAPABILITY
from wav_models.networks.text_encoder import TextEncoder
from wav_models.networks.video_dit import MemoryPrefix, TextContext, VideoFeatures
from wav_models.networks.wav_model import WAVModel, compile_blocks, lacking_to_compile
from wav_models.planner.timing import Size
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray

P = ParamSpec("P")
T = TypeVar("T")
DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp8": torch.bfloat16}
"""Of the networks' weights outside 8-bit linear layers, and of their activations, by precision."""
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


@dataclass(eq=False)
class PendingFutures:
    """Futures that are imagined when they are judged or acted on, by the same recording.

    Attributes:
        noise, times: what they are imagined from in the scene.
        round: of the last judgement: futures and values in buffers that other rounds write too.
    """

    scene: TorchScene
    noise: Tensor
    times: tuple[float, ...]
    round: Lent | None = None


pytree.register_dataclass(TorchScene)
pytree.register_dataclass(TorchFutures)


def _inference(method: Callable[P, T]) -> Callable[P, T]:
    """Without gradients, and with a remedy where memory runs out."""
    return full_memory_is_named()(torch.inference_mode()(method))


class TorchEngine:
    """See `engines.base.Engine`.

    Args:
        model, autoencoder: in evaluation mode, on one device: the engine's.
        text_encoder: may be on another.
        dtype: "fp32", "bf16" or "fp8", of the networks' weights; integration and auto-encoder stay in float32. "fp8":
            bf16 with the blocks' linear layers in 8-bit floats; elsewhere than on a GPU they are imitated, slowly.
        compile: the networks' blocks, by torch.compile: needs a C++ compiler, and minutes at the first calls.
        cuda_graphs: on a GPU: record the work of a round once, and replay it.
        recorder: how; None = by CUDA graphs.
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
        recorder: Recorder | None = None,
    ) -> None:
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; {', '.join(DTYPES)} fit")
        self.precision = dtype
        self.config = model.config
        self.device = next(model.parameters()).device
        if recorder is None and cuda_graphs and self.device.type == "cuda":
            recorder = CudaRecorder()
        self._replays = None if recorder is None else Replays(recorder)
        self.description = _described(dtype, self.device, compile, self._replays is not None)
        self._dtype = DTYPES[dtype]
        self._model = _in_fp8(model) if dtype == "fp8" else with_weights_in(model, self._dtype)
        self._compiled = compile
        if compile:
            self._model = _compiled(self._model)
        self._padded_text = self.device.type == "cpu" or compile or self._replays is not None
        self._autoencoder = autoencoder
        self._text_encoder = text_encoder
        self._encoded = remembered(self._encode_frame, NUM_FRAMES)
        self._futures_at_once = _futures_at_once(self.config, self.device)
        self._texts = remembered(self._encode_text, NUM_INSTRUCTIONS)

    def encode_text(self, instruction: str) -> TextContext:
        return self._texts(instruction)

    @_inference
    def _encode_text(self, instruction: str) -> TextContext:
        embedding, mask = self._text_encoder([instruction])
        if not self._padded_text:  # the same numbers without a mask, which would shut out the fastest attention
            return self._model.video.encode_text(self._in(embedding[:, mask[0]]), None)
        return self._model.video.encode_text(self._in(embedding), mask.to(self.device))

    @_inference
    def encode_images(self, images: ImageArray) -> Tensor:
        frames = [self._encoded(frame.tobytes(), frame.shape) for frame in images.swapaxes(0, 1)]
        return torch.stack(frames, dim=1)[None]

    def _encode_frame(self, pixels: bytes, shape: tuple[int, ...]) -> Tensor:
        """All views of one moment, [V, H, W, 3] -> [V, L, C]: always this batch, so that caching changes no bit."""
        frame = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(shape).to(self.device)
        return self._autoencoder.encode_memory(frame[None, :, None])[0, :, 0].float().cpu()

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
        zero_noise = torch.zeros((1, views, self.config.num_future_frames, *tokens), device=self.device)
        return replace(scene, mean=self.video_velocity(scene)(zero_noise, 0.0))

    def has_rounds_of(self, size: Size) -> bool:
        return not self._compiled and self._replays is None

    @_inference
    def imagine(
        self, scene: TorchScene, video_noise: Tensor, times: tuple[float, ...]
    ) -> TorchFutures | PendingFutures:
        if self._replays is not None:
            return PendingFutures(scene, video_noise.to(self.device), times)
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
        x_t = video_noise.to(self.device)
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
    def evaluate(self, futures: TorchFutures | PendingFutures, value_noise: Tensor, num_steps: int) -> Tensor:
        noise = value_noise.to(self.device)
        if isinstance(futures, TorchFutures):
            return self._denoise_values(futures.value_context, noise, num_steps)[0]
        replays = self._recordings
        with replays.lock:
            imagined = futures.scene, futures.noise, futures.times
            futures.round = replays.run(self._imagine_and_judge, *imagined, noise, num_steps)
            values: Tensor = futures.round.output[1]
            return values.clone()

    def _imagine_and_judge(
        self, scene: TorchScene, noise: Tensor, times: tuple[float, ...], value_noise: Tensor, num_steps: int
    ) -> tuple[TorchFutures, Tensor]:
        """One round of the search: the futures, and their values."""
        futures = self._imagine(scene, noise, times)
        return futures, self._denoise_values(futures.value_context, value_noise, num_steps)[0]

    @_inference
    def pick(self, futures: TorchFutures | PendingFutures, index: int) -> TorchFutures:
        if isinstance(futures, TorchFutures):
            return futures.select(index)
        with self._recordings.lock:
            return self._imagined(futures).select(index)

    @property
    def _recordings(self) -> Replays:
        assert self._replays is not None  # as where a handle says that recordings are used
        return self._replays

    def _imagined(self, pending: PendingFutures) -> TorchFutures:
        """These futures, in buffers of their last round where they were judged: as long as the lock is held."""
        if pending.round is None:
            return self._imagine(pending.scene, pending.noise, pending.times)
        pending.round = pending.round.renewed()
        found: TorchFutures = pending.round.output[0]
        features, memory = found.features, pending.scene.memory
        if isinstance(memory, MemoryPrefix):  # not in the buffers, which the next scene fills
            features = features._replace(memory=memory.features)
        return TorchFutures(pending.scene, features, found.value_context)

    @_inference
    def act(
        self,
        future: TorchFutures | PendingFutures,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        if self.precision == "fp8" and guidance is not None and guidance.jacobian == "network":
            raise EngineError("guidance with the jacobian 'network' needs a backward pass, fp8 has none; use 'unit'")
        noises = value_noise[None, None].to(self.device), action_noise[None, None].to(self.device)
        guidance = pytree.tree_map_only(Tensor, lambda x: x.to(self.device), guidance)
        inputs: tuple[Any, ...] = self._in(state_token), *noises, num_value_steps, num_action_steps, guidance
        recorded = guidance is None or guidance.jacobian != "network"  # a backward pass is not recorded
        if self._replays is None or not recorded:
            if isinstance(future, PendingFutures):
                future = self._imagine(future.scene, future.noise, future.times)
            values, actions = self._act(*_seen(future), *inputs)
            return values.cpu(), actions.cpu()
        with self._replays.lock:
            if isinstance(future, TorchFutures):
                lent = self._replays.run(self._act, *_seen(future), *inputs)
            else:
                lent = self._replays.run(self._imagine_and_act, future.scene, future.noise, future.times, *inputs)
            values, actions = lent.output
            return values.clone().cpu(), actions.clone().cpu()

    def _imagine_and_act(
        self, scene: TorchScene, noise: Tensor, times: tuple[float, ...], *inputs: Any
    ) -> tuple[Tensor, Tensor]:
        return self._act(*_seen(self._imagine(scene, noise, times)), *inputs)

    def _act(
        self,
        features: VideoFeatures,
        value_context: ExpertContext,
        action_memory: tuple[KeysValues, ...] | None,
        state: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: Guidance | None,
    ) -> tuple[Tensor, Tensor]:
        values, of_values = self._denoise_values(value_context, value_noise, num_value_steps)
        context = self._model.action.context(features, tuple(x[:, 0] for x in of_values), action_memory)
        given: Tensor | None = None
        if guidance is not None and (num_rows := self.config.horizon.given_steps) is not None:
            tokens, rows = given_rows(guidance, num_rows)
            action_noise, given, guidance = torch.where(rows[:, None], tokens, action_noise), rows[None, None], None
        if guidance is not None and guidance.jacobian == "network":
            with torch.inference_mode(False):  # a backward pass refuses tensors that were made in inference mode
                context, state = pytree.tree_map_only(Tensor, Tensor.clone, (context, state))

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            time = self._time(flow_time)[None]
            return self._model.action(self._in(x_t), time, state, context, given).velocity.float()

        steered = velocity if guidance is None else guided(velocity, guidance)
        return values[0, 0], euler(steered, action_noise, num_action_steps)[0, 0]

    @_inference
    def denoise(self, scene: TorchScene, video_noise: Tensor, num_steps: int) -> Tensor:
        return euler(self.video_velocity(scene), video_noise.to(self.device), num_steps).cpu()

    @_inference
    def decode_images(self, latents: Tensor) -> ImageArray:
        return self._autoencoder.decode_future(latents.to(self.device))[0].cpu().numpy()

    def video_velocity(self, scene: TorchScene) -> Callable[[Tensor, float], Tensor]:
        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            output = self._model.video(self._in(x_t), self._time(flow_time), scene.text, scene.memory)
            return output.velocity.float()

        return velocity

    def _denoise_values(
        self, context: ExpertContext, value_noise: Tensor, num_steps: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Values at flow time 1 and the features of the last pass, per block [M, N, T, Dv]."""
        features: tuple[Tensor, ...] = ()

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            nonlocal features
            output = self._model.value(self._in(x_t), self._time(flow_time)[None], context)
            features = output.features
            return output.velocity.float()

        return euler(velocity, value_noise, num_steps), features

    def _in(self, x: Tensor) -> Tensor:
        """On the engine's device, in the precision of the weights."""
        return x.to(self.device, self._dtype)

    def _time(self, flow_time: float) -> Tensor:
        return torch.full((1,), flow_time, device=self.device)


def _seen(future: TorchFutures) -> tuple[VideoFeatures, ExpertContext, tuple[KeysValues, ...] | None]:
    """What the experts see of a future."""
    return future.features, future.value_context, future.scene.action_memory


def _in_fp8(model: WAVModel) -> WAVModel:
    """See `weights.in_fp8`; EngineError where the GPU has no such products."""
    device = next(model.parameters()).device
    if device.type == "cuda" and (has := torch.cuda.get_device_capability(device)) < FIRST_CAPABILITY:
        needed, found = (".".join(map(str, each)) for each in (FIRST_CAPABILITY, has))
        raise EngineError(f"fp8 needs a GPU of compute capability {needed}, this one has {found}; use dtype 'bf16'")
    return in_fp8(model)


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


def _compiled(model: WAVModel) -> WAVModel:
    """The model, over the same weights, with its blocks compiled: one graph per kind of block serves all layers.

    Raises:
        EngineError: what code for the CPU needs is missing: a C++ compiler, or Python's headers.
    """
    if lacking := lacking_to_compile(next(model.parameters()).device.type):
        raise EngineError(f"torch.compile needs {lacking}, or load without `compile`")
    model = copied(model, lambda weight: weight)
    compile_blocks(model, dynamic=False)
    return model
