"""The engine over exported graphs, whatever runs them.

A runtime brings a `Graph` per exported graph. What one graph makes for another (keys and values) stays in the runtime,
by name; only noise, values, actions, latents and images cross as torch tensors. Sizes are those of the manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from wav_models.engines.base import NUM_FRAMES, NUM_INSTRUCTIONS, EngineError, remembered
from wav_models.engines.manifest import PICKED, Manifest, pick_name, value_dit_name, video_dit_name
from wav_models.engines.replay import Lent
from wav_models.flow import euler
from wav_models.guidance import Guidance, Velocity, given_rows, guided
from wav_models.networks.text_encoder import TextEncoder
from wav_models.planner.timing import Size
from wav_models.presets import ModelConfig
from wav_models.types import ImageArray

Values = dict[str, Any]
"""What graphs left in the runtime, by name; treated as immutable."""


class LentValues(dict[str, Any]):
    """Values in buffers that the same graph's next run overwrites."""

    def __init__(self, lent: Lent, others: Mapping[str, Any] | None = None) -> None:
        super().__init__({**(others or {}), **lent.output})
        self.lent = lent


class StaleValuesError(Exception):
    """Values that were lent have been overwritten: make them again."""


class Graph(Protocol):
    """One compiled graph; `run` may be called from several threads."""

    def run(self, tensors: Mapping[str, Tensor], context: Mapping[str, Any]) -> Values:
        """Outputs by name, from tensors and from what other graphs left in the runtime.

        Raises:
            StaleValuesError: `context` was lent, and is no more.
        """

    def tensor(self, value: Any) -> Tensor:
        """An output as a tensor, where the runtime computes."""


@dataclass(frozen=True)
class CompiledScene:
    """What the futures of one observation share: text, and memory or what was computed from it."""

    context: Values
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Judgement:
    """Value samples of M futures, with what the action expert sees of them.

    Attributes:
        noise, values: [M, N, T, C].
        features: `value_features_*` of all futures that were judged together, in the runtime.
        first: which of those is future 0 here.
    """

    noise: Tensor
    values: Tensor
    features: Values
    first: int = 0

    def of(self, index: int) -> Judgement:
        """That of one future."""
        one = slice(index, index + 1)
        return Judgement(self.noise[one], self.values[one], self.features, self.first + index)

    def place(self, noise: Tensor) -> int | None:
        """Which sample of future 0 was drawn from that noise [T, C]; None: none was."""
        same = (self.noise[0] == noise).flatten(1).all(dim=1).tolist()
        return same.index(True) if True in same else None


@dataclass(eq=False)
class CompiledFutures:
    """M futures of a scene.

    Attributes:
        noise: what they are imagined from, [M, V, F_fut, L, C].
        context: what the experts see of them: `value_video_*`, and for M = 1 `action_video_*`, else `video_features_*`.
        judged: how they were last, where graphs leave the value features.
    """

    scene: CompiledScene
    noise: Tensor
    context: Values
    judged: Judgement | None = None


class CompiledEngine:
    """See `engines.base.Engine`.

    Args:
        manifest: of the export.
        graphs: one per graph of the manifest.
        config: of the checkpoint it was made from.
        text_encoder: runs in torch, once per instruction.
    """

    def __init__(
        self, manifest: Manifest, graphs: Mapping[str, Graph], config: ModelConfig, text_encoder: TextEncoder
    ) -> None:
        self.name = manifest.engine
        self.precision = manifest.precision
        self.device = torch.device("cpu")
        self.description = f"{self.name} {self.precision}"
        self.config = config
        self.shape = manifest.shape
        self._graphs = graphs
        self._text_encoder = text_encoder
        self._encoded = remembered(self._encode_frame, NUM_FRAMES)
        self._texts = remembered(self._encode_text, NUM_INSTRUCTIONS)

    def encode_text(self, instruction: str) -> Values:
        return self._texts(instruction)

    def _encode_text(self, instruction: str) -> Values:
        embedding, mask = self._text_encoder([instruction])
        return self._graph("text_encoder").run({"embedding": embedding, "mask": mask}, {})

    def encode_images(self, images: ImageArray) -> Tensor:
        frames = [self._encoded(frame.tobytes(), frame.shape) for frame in images.swapaxes(0, 1)]
        return torch.stack(frames, dim=1)[None]

    def _encode_frame(self, pixels: bytes, shape: tuple[int, ...]) -> Tensor:
        frame = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).reshape(shape)
        return self._run("vae_encoder", {"frame": frame})["latents"].cpu()

    def observe(self, memory_latents: Tensor, text: Values, share_first_step: bool = False) -> CompiledScene:
        latents = {"memory_latents": memory_latents}
        if "memory_prefix" in self._graphs:
            scene = CompiledScene({**text, **self._graph("memory_prefix").run(latents, text)}, {})
        else:
            scene = CompiledScene(text, latents)
        if not share_first_step:
            return scene
        mean = self._graph("video_mean").run(scene.tensors, scene.context)
        return CompiledScene({**scene.context, **mean}, scene.tensors)

    def imagine(self, scene: CompiledScene, video_noise: Tensor, times: tuple[float, ...]) -> CompiledFutures:
        self._require("video_times", times)
        count = len(video_noise)
        graph = self._graphs.get(video_dit_name(count))
        if graph is None:
            raise self._misfit("num_video_samples", count)
        context = graph.run({"video_noise": video_noise, **scene.tensors}, scene.context)
        return CompiledFutures(scene, video_noise, context)

    def has_rounds_of(self, size: Size) -> bool:
        return video_dit_name(size[0]) in self._graphs and value_dit_name(size, self.shape) in self._graphs

    def evaluate(self, futures: CompiledFutures, value_noise: Tensor, num_steps: int) -> Tensor:
        self._require("num_value_steps", num_steps)
        size = (len(futures.noise), value_noise.shape[1])
        if value_dit_name(size, self.shape) in self._graphs:
            futures.judged = self._judge(futures.context, value_noise)
            return futures.judged.values
        self._require("num_video_samples", size[0])
        self._require("num_value_samples", size[1])
        while True:
            try:
                return euler(self._velocity("value_step", futures.context), value_noise, num_steps).cpu()
            except StaleValuesError:  # another thread has imagined meanwhile
                futures = self.imagine(futures.scene, futures.noise, self.shape.video_times)

    def _judge(self, context: Values, value_noise: Tensor) -> Judgement:
        graph = self._graph(value_dit_name((value_noise.shape[0], value_noise.shape[1]), self.shape))
        found = graph.run({"value_noise": value_noise}, context)
        return Judgement(value_noise, graph.tensor(found.pop("values")).cpu(), found)

    def pick(self, futures: CompiledFutures, index: int) -> CompiledFutures:
        if len(futures.noise) == 1:
            return futures
        noise = futures.noise[index : index + 1].clone()
        seen, scene = futures.context, futures.scene.context
        seen = LentValues(seen.lent, scene) if isinstance(seen, LentValues) else {**scene, **seen}
        try:
            picked = self._graph(pick_name(len(futures.noise), self.shape)).run({"index": torch.tensor([index])}, seen)
        except StaleValuesError:  # another thread has imagined meanwhile
            return self.imagine(futures.scene, noise, self.shape.video_times)
        context = {name.removeprefix(PICKED): value for name, value in picked.items()}
        judged = None if futures.judged is None else futures.judged.of(index)
        return CompiledFutures(futures.scene, noise, context, judged)

    def act(
        self,
        future: CompiledFutures,
        state_token: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        num_value_steps: int,
        num_action_steps: int,
        guidance: Guidance | None = None,
    ) -> tuple[Tensor, Tensor]:
        num_given = self.config.horizon.given_steps
        if guidance is not None and num_given is not None:
            tokens, rows = given_rows(guidance, num_given)
            guidance = Guidance(tokens, rows[:, None].expand_as(tokens).float())
        if guidance is not None and guidance.jacobian != "unit":
            raise EngineError(
                f"guidance with the jacobian {guidance.jacobian!r} needs a backward pass, which no graph has; use "
                "'unit', or engine 'torch'"
            )
        self._require("num_value_steps", num_value_steps)
        self._require("num_action_steps", num_action_steps)
        noise = value_noise[None, None], action_noise[None, None]
        act = self._act_at_once if "action_dit" in self._graphs else self._act_by_steps
        while True:
            try:
                values, actions = act(future, state_token, *noise, guidance)
            except StaleValuesError:  # picked longer ago than its buffers last
                future = self.imagine(future.scene, future.noise, self.shape.video_times)
            else:
                return values[0, 0].cpu(), actions[0, 0].cpu()

    def _act_at_once(
        self,
        future: CompiledFutures,
        state: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        guidance: Guidance | None,
    ) -> tuple[Tensor, Tensor]:
        values, features = self._judged_sample(future, value_noise)
        target, weight = _steering(action_noise, guidance)
        tensors = {"action_noise": action_noise, "state": state, "target": target, "weight": weight, **features}
        return values, self._run("action_dit", tensors, future.context)["actions"]

    def _judged_sample(self, future: CompiledFutures, value_noise: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Values and value features [1, 1, T, ...] of one sample: of its round, where it was judged there."""
        judged = future.judged
        if judged is None or (place := judged.place(value_noise[0, 0])) is None:
            judged, place = self._judge(future.context, value_noise), 0
        graph = self._graph("action_dit")
        features = {name: graph.tensor(x)[judged.first, place][None, None] for name, x in judged.features.items()}
        return judged.values[:, place : place + 1], features

    def _act_by_steps(
        self,
        future: CompiledFutures,
        state: Tensor,
        value_noise: Tensor,
        action_noise: Tensor,
        guidance: Guidance | None,
    ) -> tuple[Tensor, Tensor]:
        context = future.context
        features: Values = {}
        values = euler(self._velocity("value_step_1", context, left=features), value_noise, self.shape.num_value_steps)
        seen = self._graph("action_context").run({}, features)
        inputs = {"state": state}
        if self.config.horizon.given_steps is not None:
            target, weight = _steering(action_noise, guidance)
            inputs["given"], guidance = weight, None
            action_noise = action_noise + weight * (target - action_noise)
        velocity = self._velocity("action_step", {**context, **seen}, inputs)
        if guidance is not None:
            velocity = guided(velocity, guidance)
        return values, euler(velocity, action_noise, self.shape.num_action_steps)

    def denoise(self, scene: CompiledScene, video_noise: Tensor, num_steps: int) -> Tensor:
        velocity = self._velocity("video_velocity", scene.context, scene.tensors)
        return torch.cat([euler(velocity, noise, num_steps) for noise in video_noise.split(1)]).cpu()

    def decode_images(self, latents: Tensor) -> ImageArray:
        return self._run("vae_decoder", {"latents": latents})["frames"].cpu().numpy()

    def _velocity(
        self, name: str, context: Values, tensors: Mapping[str, Tensor] | None = None, left: Values | None = None
    ) -> Velocity:
        """A graph of one network call; its other outputs are put into `left`, those of the last call remaining."""
        graph = self._graph(name)

        def velocity(x_t: Tensor, flow_time: float) -> Tensor:
            outputs = graph.run({"x_t": x_t, "flow_time": torch.full((1,), flow_time), **(tensors or {})}, context)
            if left is not None:
                left.update(outputs)
            return graph.tensor(outputs["velocity"]).to(x_t.device)

        return velocity

    def _run(self, name: str, tensors: Mapping[str, Tensor], context: Values | None = None) -> dict[str, Tensor]:
        graph = self._graph(name)
        return {key: graph.tensor(value) for key, value in graph.run(tensors, context or {}).items()}

    def _graph(self, name: str) -> Graph:
        if name not in self._graphs:
            raise EngineError(f"graph {name!r} is not part of this export; export again with `wav export`, all graphs")
        return self._graphs[name]

    def _require(self, name: str, value: Any) -> None:
        if value != getattr(self.shape, name):
            raise self._misfit(name, value)

    def _misfit(self, name: str, value: Any) -> EngineError:
        return EngineError(
            f"{name} is {value}, but the graphs were exported for {getattr(self.shape, name)}; load the engine with "
            "the planner it shall serve, or use engine 'torch'"
        )


def _steering(action_noise: Tensor, guidance: Guidance | None) -> tuple[Tensor, Tensor]:
    """Target and weight of the actions, shaped as their noise [1, 1, H, A + S]; without guidance the weight is 0."""
    if guidance is None:
        free = torch.zeros_like(action_noise)
        return free, free
    target, weight = (x[None, None].float() for x in (guidance.target, guidance.weight))
    return target, weight
