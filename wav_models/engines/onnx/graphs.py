"""The graphs of `docs/engines.md`: what each takes, gives and consists of.

Names of values are the same in all graphs, so that an output of one is an input of the next by name: `text_*`,
`memory_*`, `value_memory_*`, `action_memory_*`, `value_video_*`, `action_video_*`; without causal memory the video
graphs take `memory_latents` instead of the three `memory` ones, and there is no graph memory_prefix.

Loops over the experts come in two forms. "unrolled": all Euler steps are one graph, in which the runtime folds time
embeddings and computes what all steps share once. "stepwise": one graph per network call, for runtimes that would
keep, and compile, every copy of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from math import prod
from typing import Any, Final

import torch
from torch import Tensor

from wav_models.engines.manifest import PICKED, PlanShape, pick_name, value_dit_name, video_dit_name
from wav_models.engines.onnx import network_calls as calls
from wav_models.engines.onnx.composer import OnnxComposer
from wav_models.engines.onnx.network_calls import NetworkCall, example, keys_values_names
from wav_models.engines.onnx.opaque_blocks import BlockExporter, Dialect
from wav_models.flow import equal_times
from wav_models.networks.autoencoder import Autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.timing import Size

NEVER_QUANTIZED: Final = ("text_encoder",)
"""Runs once per instruction: nothing is gained."""


class OnnxGraphs:
    """Builds the graphs of one model.

    Args:
        model, autoencoder: on the CPU; keys, values and features of the graphs have the precision of the model.
        shape: futures, value samples and steps.
        loops: "unrolled" or "stepwise".
        quantize: linear layers in 8 bits, for ONNX Runtime.
        dialect: of the runtime.
    """

    def __init__(
        self,
        model: WAVModel,
        autoencoder: Autoencoder,
        shape: PlanShape,
        dialect: Dialect,
        *,
        loops: str = "unrolled",
        quantize: bool = False,
    ) -> None:
        self.config, self.shape = model.config, shape
        self._loops, self._quantize = loops, quantize
        self._exporter = BlockExporter(model, dialect)
        self._model, self._autoencoder = self._exporter.model, autoencoder
        self._dtype = calls.precision(model)
        blocks = self.config.video.num_layers
        self._text = (*keys_values_names("text", blocks), "text_bias")
        self._memory = keys_values_names("memory", blocks)
        self._value_memory = keys_values_names("value_memory", blocks)
        self._action_memory = keys_values_names("action_memory", blocks)
        self._value_video = keys_values_names("value_video", blocks)
        self._action_video = keys_values_names("action_video", blocks)
        self._action_value = keys_values_names("action_value", blocks)
        self._value_features = tuple(f"value_features_{i}" for i in range(blocks))
        self._video_features = tuple(f"video_features_{i}" for i in range(blocks))
        self._video_pass = cache(self._export_video_pass)
        self._value_step = cache(self._export_value_step)

    def builders(self) -> dict[str, Callable[[], OnnxComposer]]:
        """Per graph, the function that makes it: static shapes, blocks in place."""
        made: dict[str, Callable[[], OnnxComposer]] = {
            "vae_encoder": self._vae_encoder,
            "text_encoder": self._text_encoder,
        }
        if self.config.video.causal_memory:
            made["memory_prefix"] = self._memory_prefix
        sizes = self.shape.sizes if self._loops == "unrolled" else self.shape.sizes[:1]
        for count in sorted({1, *(futures for futures, _ in sizes)}):
            made[video_dit_name(count)] = partial(self._video_dit, count)
        for count in sorted({futures for futures, _ in sizes} - {1}):
            made[pick_name(count, self.shape)] = partial(self._pick, count)
        if self.shape.share_first_step:
            made["video_mean"] = self._video_mean
        made["video_velocity"] = lambda: self._wrapped("video_velocity", self._video_pass(1), ("velocity",))
        if self._loops == "unrolled":
            for size in dict.fromkeys((*sizes, (1, 1))):
                made[value_dit_name(size, self.shape)] = partial(self._value_dit, size)
            made["action_dit"] = self._action_dit
        else:
            made |= {
                "value_step": partial(self._value_step_graph, "value_step", self.shape.sizes[0], ()),
                "value_step_1": partial(self._value_step_graph, "value_step_1", (1, 1), self._value_features),
                "action_context": lambda: self._wrapped(
                    "action_context", self._export_action_context(), self._action_value
                ),
                "action_step": lambda: self._wrapped("action_step", self._action_step(), ("velocity",)),
            }
        made["vae_decoder"] = self._vae_decoder
        return {name: partial(self._finished, name, build) for name, build in made.items()}

    def _finished(self, name: str, build: Callable[[], OnnxComposer]) -> OnnxComposer:
        composer = build()
        composer.finish(self._exporter, quantize=self._quantize and name not in NEVER_QUANTIZED)
        return composer

    def _alone(self, name: str, call: NetworkCall) -> OnnxComposer:
        """A graph that is one network call."""
        return self._wrapped(name, self._exporter.export(call), call.outputs)

    def _wrapped(self, name: str, part: Any, outputs: tuple[str, ...]) -> OnnxComposer:
        """A graph that gives some outputs of one exported call."""
        composer = self._composer(name)
        found = composer.call(part, name, composer.inputs_of(part))
        for output in outputs:
            composer.output_like(part, output, found[output], output)
        return composer

    def _composer(self, name: str) -> OnnxComposer:
        return OnnxComposer(name, self._exporter.dialect.opset)

    def _vae_encoder(self) -> OnnxComposer:
        frame = example(self.config.num_views, *self.config.latent.image_size, 3, dtype=torch.uint8)
        call = NetworkCall(calls.encode_frame, self._autoencoder, {"frame": frame}, ("latents",))
        return self._alone("vae_encoder", call)

    def _vae_decoder(self) -> OnnxComposer:
        inputs = {"latents": self._futures(1)}
        return self._alone("vae_decoder", NetworkCall(calls.decode_frames, self._autoencoder, inputs, ("frames",)))

    def _text_encoder(self) -> OnnxComposer:
        text, video = self.config.text, self.config.video
        inputs = {
            "embedding": example(1, text.max_tokens, video.caption_channels),
            "mask": example(1, text.max_tokens, dtype=torch.bool),
        }
        return self._alone("text_encoder", NetworkCall(calls.encode_text, self._model, inputs, self._text))

    def _memory_prefix(self) -> OnnxComposer:
        outputs = (*self._memory, *self._value_memory, *self._action_memory)
        inputs = {"memory_latents": self._memory_latents(), **self._text_inputs()}
        return self._alone("memory_prefix", NetworkCall(calls.encode_memory, self._model, inputs, outputs))

    def _export_video_pass(self, count: int) -> Any:
        """One pass for `count` futures; graphs take what they need of it."""
        inputs = {"x_t": self._futures(count), "flow_time": example(1), **self._text_inputs(), **self._memory_inputs()}
        outputs = ("velocity", *self._value_video, *self._action_video, *self._video_features)
        return self._exporter.export(NetworkCall(calls.imagine_futures, self._model, inputs, outputs))

    def _pick(self, count: int) -> OnnxComposer:
        config = self.config
        causal = config.video.causal_memory
        tokens = self._num_video_tokens - (self._num_memory_tokens if causal else 0)
        inputs = {
            "index": example(1, dtype=torch.int64),
            **self._context(self._value_video, count, self._num_video_tokens, config.value.hidden_size),
            **self._context(self._video_features, count, tokens, config.video.hidden_size),
        }
        if causal:
            size = (1, self._num_memory_tokens, config.action.hidden_size)
            inputs |= self._context(self._action_memory, *size)
        outputs = tuple(f"{PICKED}{name}" for name in (*self._value_video, *self._action_video))
        return self._alone(pick_name(count, self.shape), NetworkCall(calls.pick_future, self._model, inputs, outputs))

    def _video_mean(self) -> OnnxComposer:
        """The velocity at zero noise and flow time 0, which leads to the mean of all futures."""
        video_pass = self._video_pass(1)
        composer = self._composer("video_mean")
        context = composer.inputs_of(video_pass, but=("x_t", "flow_time"))
        zero = {"x_t": composer.constant(self._futures(1).numpy()), "flow_time": composer.constant([0.0])}
        mean = composer.call(video_pass, "video_dit", {**zero, **context})["velocity"]
        composer.output_like(video_pass, "velocity", mean, "mean")
        return composer

    def _video_dit(self, count: int) -> OnnxComposer:
        """All passes; the last gives the value expert's keys and values, and what the action expert's come from: for a
        single future those themselves, for several the features that `pick` needs."""
        video_pass = self._video_pass(count)
        composer = self._composer(video_dit_name(count))
        noise = composer.input_like(video_pass, "x_t", "video_noise")
        context = composer.inputs_of(video_pass, but=("x_t", "flow_time"))

        def run(x: str, t: str) -> dict[str, str]:
            return composer.call(video_pass, "video_dit", {"x_t": x, "flow_time": t, **context})

        times, x_t = self.shape.video_times, noise
        if self.shape.share_first_step:
            mean = composer.input_like(self._video_pass(1), "x_t", "mean")
            own = composer.apply("Mul", noise, composer.constant(1.0 - times[0]))
            x_t = composer.apply("Add", own, composer.apply("Mul", mean, composer.constant(times[0])))
        x_t = composer.euler_through(lambda x, t: run(x, t)["velocity"], x_t, times)
        features = run(x_t, composer.constant(times[-1:]))
        for name in (*self._value_video, *(self._action_video if count == 1 else self._video_features)):
            composer.output_like(video_pass, name, features[name], name)
        return composer

    def _value_dit(self, size: Size) -> OnnxComposer:
        """All Euler steps of M x N value samples; the features of the last step, for the action expert."""
        step = self._value_step(*size)
        composer = self._composer(value_dit_name(size, self.shape))
        noise = composer.input_like(step, "x_t", "value_noise")
        context = composer.inputs_of(step, but=("x_t", "flow_time"))
        found: dict[str, str] = {}

        def velocity(x: str, t: str) -> str:
            found.update(composer.call(step, "value_dit", {"x_t": x, "flow_time": t, **context}))
            return found["velocity"]

        values = composer.euler_through(velocity, noise, equal_times(self.shape.num_value_steps))
        composer.output_like(step, "x_t", values, "values")
        for name in self._value_features:
            composer.output_like(step, name, found[name], name)
        return composer

    def _action_dit(self) -> OnnxComposer:
        """All action steps on the features of one value sample.

        The action steps are guided to `target` by `weight` [1, 1, H, A + S] (0: not at all), see `wav_models.guidance`;
        a network that was trained so is given `target` where `weight` is 1.
        """
        action_context, step = self._export_action_context(), self._action_step()
        composer = self._composer("action_dit")
        noise = composer.input_like(step, "x_t", "action_noise")
        state = composer.input_like(step, "state")
        target = composer.input_like(step, "x_t", "target")
        weight = composer.input_like(step, "x_t", "weight")
        video = {name: composer.input_like(step, name) for name in self._action_video}
        value = composer.call(action_context, "action_context", composer.inputs_of(action_context))
        given = dict.fromkeys(self._given, weight)

        def uncorrected(x: str, t: str) -> str:
            bindings = {"x_t": x, "flow_time": t, "state": state, **given, **video, **value}
            return composer.call(step, "action_dit", bindings)["velocity"]

        start, velocity = noise, composer.guided(uncorrected, target, weight)
        if given:
            change = composer.apply("Mul", weight, composer.apply("Sub", target, noise))
            start, velocity = composer.apply("Add", noise, change), uncorrected
        actions = composer.euler_through(velocity, start, equal_times(self.shape.num_action_steps))
        composer.output_like(step, "x_t", actions, "actions")
        return composer

    def _value_step_graph(self, name: str, size: Size, features: tuple[str, ...]) -> OnnxComposer:
        """One step; the features are those of a single sample, for the action expert."""
        return self._wrapped(name, self._value_step(*size), ("velocity", *features))

    def _export_value_step(self, count: int, draws: int) -> Any:
        inputs = {
            "x_t": example(count, draws, *self.config.value_shape),
            "flow_time": example(1),
            **self._context(self._value_video, count, self._num_video_tokens, self.config.value.hidden_size),
        }
        outputs = ("velocity", *self._value_features)
        return self._exporter.export(NetworkCall(calls.value_velocity, self._model, inputs, outputs))

    def _export_action_context(self) -> Any:
        size = (1, 1, self.config.horizon.value_horizon, self.config.value.hidden_size)
        inputs = self._context(self._value_features, *size)
        return self._exporter.export(NetworkCall(calls.value_feature_context, self._model, inputs, self._action_value))

    def _action_step(self) -> Any:
        horizon, action = self.config.horizon, self.config.action
        inputs = {
            "x_t": example(1, 1, *self.config.action_shape),
            "flow_time": example(1),
            "state": example(1, 1, action.in_channels),
            **self._given,
            **self._context(self._action_video, 1, self._num_video_tokens, action.hidden_size),
            **self._context(self._action_value, 1, horizon.value_horizon, action.hidden_size),
        }
        return self._exporter.export(NetworkCall(calls.action_velocity, self._model, inputs, ("velocity",)))

    @property
    def _given(self) -> dict[str, Tensor]:
        """Which actions the action expert is given, where it was trained so."""
        return {} if self.config.horizon.given_steps is None else {"given": example(1, 1, *self.config.action_shape)}

    @property
    def _num_memory_tokens(self) -> int:
        return prod(self.config.memory_shape[:3])

    @property
    def _num_video_tokens(self) -> int:
        return self._num_memory_tokens + prod(self.config.future_shape[:3])

    def _futures(self, count: int) -> Tensor:
        return example(count, *self.config.future_shape)

    def _memory_latents(self) -> Tensor:
        return example(1, *self.config.memory_shape)

    def _text_inputs(self) -> dict[str, Tensor]:
        tokens, hidden = self.config.text.max_tokens, self.config.video.hidden_size
        return self._context(self._text[:-1], 1, tokens, hidden) | self._context(self._text[-1:], 1, 1, 1, tokens)

    def _memory_inputs(self) -> dict[str, Tensor]:
        """What the video graphs know of the observation."""
        config = self.config
        if not config.video.causal_memory:
            return {"memory_latents": self._memory_latents()}
        return {
            **self._context(self._memory, 1, *config.memory_shape[:3], config.video.hidden_size),
            **self._context(self._value_memory, 1, self._num_memory_tokens, config.value.hidden_size),
            **self._context(self._action_memory, 1, self._num_memory_tokens, config.action.hidden_size),
        }

    def _context(self, names: tuple[str, ...], *shape: int) -> dict[str, Tensor]:
        """Tensors that stay in the runtime, in the precision of the model."""
        return {name: example(*shape, dtype=self._dtype) for name in names}
