"""ONNX Runtime backend over exported graphs.

What one graph makes for another (keys and values) stays in the runtime, as OrtValues by name; only noise, values,
actions, latents and images cross as numpy arrays. On the CPU nothing is copied in between. Other execution providers
(CUDA, TensorRT) get the same bindings; they have not been run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from wav_models.engines.base import EngineError
from wav_models.engines.frame_cache import NUM_FRAMES, FrameCache
from wav_models.engines.manifest import Manifest, PlanShape
from wav_models.engines.onnx_graphs import video_dit_name
from wav_models.flow import euler
from wav_models.networks.text_encoder import TextEncoder
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray

NUM_INSTRUCTIONS: Final = 8

Values = dict[str, Any]
"""OrtValues by name; treated as immutable."""


@dataclass(frozen=True)
class OnnxScene:
    """What the futures of one observation share: text, memory and expert memory keys and values."""

    context: Values


@dataclass(frozen=True)
class OnnxFutures:
    """M futures as the experts see them: `value_video_*`, and for M = 1 `action_video_*`."""

    count: int
    context: Values


class OnnxEngine:
    """See `engines.base.Engine`; the sizes it can run are those of its manifest.

    Args:
        directory: a checked export.
        manifest: of it.
        config: of the checkpoint it was made from.
        text_encoder: runs in torch, once per instruction.
        num_threads: of every graph.
        providers: ONNX Runtime execution providers, best first.

    Raises:
        EngineError: a provider is not installed, or the runtime refuses a graph.
    """

    name = "onnxruntime"

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        config: ModelConfig,
        text_encoder: TextEncoder,
        *,
        num_threads: int = 1,
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self.config = config
        self.shape: PlanShape = manifest.shape
        self._text_encoder = text_encoder
        self._graphs = {
            name: _Graph(directory / graph["file"], num_threads, providers) for name, graph in manifest.graphs.items()
        }
        self._frames = FrameCache(NUM_FRAMES)
        self.encode_text: Callable[[str], Values] = lru_cache(NUM_INSTRUCTIONS)(self._encode_text)

    def _encode_text(self, instruction: str) -> Values:
        embedding, mask = self._text_encoder([instruction])
        return self._graphs["text_encoder"].run({"embedding": embedding.numpy(), "mask": mask.numpy()})

    def encode_images(self, images: ImageArray) -> Tensor:
        frames = [self._frames.get(images[:, f], self._encode_frame) for f in range(images.shape[1])]
        return torch.stack(frames, dim=1)[None]

    def _encode_frame(self, frame: ImageArray) -> Tensor:
        return _tensor(self._graphs["vae_encoder"].run({"frame": np.ascontiguousarray(frame)})["latents"])

    def observe(self, memory_latents: Tensor, text: Values) -> OnnxScene:
        memory = self._graphs["memory_prefix"].run({"memory_latents": memory_latents.numpy()}, text)
        return OnnxScene({**text, **memory})

    def imagine(self, scene: OnnxScene, video_noise: Tensor, num_steps: int) -> OnnxFutures:
        self._require("num_video_steps", num_steps)
        count = len(video_noise)
        graph = self._graphs.get(video_dit_name(count))
        if graph is None:
            raise self._misfit("num_video_samples", count)
        return OnnxFutures(count, graph.run({"video_noise": video_noise.numpy()}, scene.context))

    def evaluate(self, futures: OnnxFutures, value_noise: Tensor, num_steps: int) -> Tensor:
        self._require("num_video_samples", futures.count)
        self._require("num_value_samples", value_noise.shape[1])
        self._require("num_value_steps", num_steps)
        return _tensor(self._graphs["value_dit"].run({"value_noise": value_noise.numpy()}, futures.context)["values"])

    def act(
        self,
        future: OnnxFutures,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
    ) -> tuple[Tensor, Tensor]:
        self._require("num_value_steps", num_value_steps)
        self._require("num_action_steps", num_action_steps)
        noise = {
            "value_noise": value_noise[None, None].numpy(),
            "action_noise": action_noise[None, None].numpy(),
            "state": state_token.numpy(),
        }
        answer = self._graphs["action_dit"].run(noise, future.context)
        return _tensor(answer["values"])[0, 0], _tensor(answer["actions"])[0, 0]

    def denoise(self, scene: OnnxScene, video_noise: Tensor, num_steps: int) -> Tensor:
        graph = self._graphs["video_velocity"]

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            inputs = {"x_t": x_t.numpy(), "flow_time": np.full(1, flow_time, np.float32)}
            return _tensor(graph.run(inputs, scene.context)["velocity"])

        return torch.cat([euler(velocity, noise, num_steps) for noise in video_noise.split(1)])

    def decode_images(self, latents: Tensor) -> ImageArray:
        return self._graphs["vae_decoder"].run({"latents": latents.numpy()})["frames"].numpy()

    def _require(self, name: str, value: int) -> None:
        if value != getattr(self.shape, name):
            raise self._misfit(name, value)

    def _misfit(self, name: str, value: int) -> EngineError:
        return EngineError(
            f"{name} is {value}, but the graphs were exported for {getattr(self.shape, name)}; load the engine with "
            "the planner it shall serve, or use engine 'torch'"
        )


class _Graph:
    """One session; `run` may be called from several threads."""

    def __init__(self, path: Path, num_threads: int, providers: Sequence[str]) -> None:
        import onnxruntime

        missing = [name for name in providers if name not in onnxruntime.get_available_providers()]
        if missing:
            raise EngineError(
                f"ONNX Runtime has no {', '.join(missing)}; available: "
                f"{', '.join(onnxruntime.get_available_providers())}. Install onnxruntime-gpu, or use one of these"
            )
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # A subnormal number costs a hundred times a normal one.
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # the runtime's own classes have no common base
            raise EngineError(f"{path}: ONNX Runtime refuses this graph ({error}); export it again") from error
        self._inputs = tuple(value.name for value in self._session.get_inputs())
        self._outputs = tuple(value.name for value in self._session.get_outputs())
        self._device = "cpu" if providers[0] == "CPUExecutionProvider" else "cuda"

    def run(self, arrays: Mapping[str, np.ndarray], context: Mapping[str, Any] | None = None) -> Values:
        """Outputs by name, from arrays and from what other graphs left in the runtime."""
        from onnxruntime import OrtValue

        binding = self._session.io_binding()
        for name in self._inputs:
            if name in arrays:
                array = np.ascontiguousarray(arrays[name])
                binding.bind_ortvalue_input(name, OrtValue.ortvalue_from_numpy(array, self._device, 0))
            else:
                binding.bind_ortvalue_input(name, (context or {})[name])
        for name in self._outputs:
            binding.bind_output(name, self._device, 0)
        self._session.run_with_iobinding(binding)
        return dict(zip(self._outputs, binding.get_outputs(), strict=True))


def _tensor(value: Any) -> Tensor:
    """A copy in torch; ONNX Runtime owns the memory of its values."""
    return torch.from_numpy(np.array(value.numpy()))
