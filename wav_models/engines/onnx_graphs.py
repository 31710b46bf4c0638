"""The graphs of MODEL.md for a model with causal memory: what each takes, gives and consists of.

Names of values are the same in all graphs, so that an output of one is an input of the next by name: `text_*`,
`memory_*`, `value_memory_*`, `action_memory_*`, `value_video_*`, `action_video_*`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from wav_models.checkpoint import Checkpoint
from wav_models.engines import network_calls as calls
from wav_models.engines.base import EngineError
from wav_models.engines.manifest import PlanShape
from wav_models.engines.network_calls import NetworkCall, example, keys_values_names
from wav_models.engines.onnx_composer import OnnxComposer
from wav_models.networks.autoencoder import TinyAutoencoder

OPSET: Final = 20


class OnnxGraphs:
    """Builds the graphs of one checkpoint.

    Args:
        checkpoint: with causal memory and the auto-encoder "tiny", on the CPU in float32.
        shape: futures, value samples and steps.

    Raises:
        EngineError: the checkpoint's form has no graphs.
    """

    def __init__(self, checkpoint: Checkpoint, shape: PlanShape) -> None:
        config = checkpoint.config
        if not config.video.causal_memory or not isinstance(checkpoint.autoencoder, TinyAutoencoder):
            raise EngineError(
                f"checkpoint {config.name!r} cannot be exported: graphs exist for causal memory and the auto-encoder "
                "'tiny' only; use engine 'torch'"
            )
        self.config, self.shape = config, shape
        self._model, self._autoencoder = checkpoint.model, checkpoint.autoencoder
        blocks = config.video.num_layers
        self._text = (*keys_values_names("text", blocks), "text_bias")
        self._memory = keys_values_names("memory", blocks)
        self._value_memory = keys_values_names("value_memory", blocks)
        self._action_memory = keys_values_names("action_memory", blocks)
        self._value_video = keys_values_names("value_video", blocks)
        self._action_video = keys_values_names("action_video", blocks)

    def builders(self) -> dict[str, Callable[[], Any]]:
        """Per graph, the function that makes it: an ONNX model, static shapes, weights inside."""
        futures = {1, self.shape.num_video_samples}
        return {
            "vae_encoder": self._vae_encoder,
            "text_encoder": self._text_encoder,
            "memory_prefix": self._memory_prefix,
            **{video_dit_name(count): self._video_dit_builder(count) for count in sorted(futures)},
            "video_velocity": self._video_velocity,
            "value_dit": self._value_dit,
            "action_dit": self._action_dit,
            "vae_decoder": self._vae_decoder,
        }

    def _vae_encoder(self) -> Any:
        frame = example(self.config.video.max_view, *self.config.latent.image_size, 3, dtype=torch.uint8)
        return _export(NetworkCall(calls.EncodeFrame(self._autoencoder), {"frame": frame}, ("latents",)))

    def _vae_decoder(self) -> Any:
        module = calls.DecodeFrames(self._autoencoder)
        return _export(NetworkCall(module, {"latents": self._futures(1)}, ("frames",)))

    def _text_encoder(self) -> Any:
        text, video = self.config.text, self.config.video
        inputs = {
            "embedding": example(1, text.max_tokens, video.caption_channels),
            "mask": example(1, text.max_tokens, dtype=torch.bool),
        }
        return _export(NetworkCall(calls.EncodeText(self._model), inputs, self._text))

    def _memory_prefix(self) -> Any:
        config = self.config
        latents = example(
            1, config.video.max_view, config.num_memory_frames, config.num_tokens_per_frame, config.video.in_channels
        )
        outputs = (*self._memory, *self._value_memory, *self._action_memory)
        inputs = {"memory_latents": latents, **self._text_inputs()}
        return _export(NetworkCall(calls.EncodeMemory(self._model), inputs, outputs))

    def _video_velocity(self, count: int = 1) -> Any:
        inputs = {
            "x_t": self._futures(count),
            "flow_time": example(1),
            **self._text_inputs(),
            **self._memory_inputs(),
        }
        return _export(NetworkCall(calls.VideoVelocity(self._model), inputs, ("velocity",)))

    def _video_dit_builder(self, count: int) -> Callable[[], Any]:
        return lambda: self._video_dit(count)

    def _video_dit(self, count: int) -> Any:
        """All passes; the last gives the experts' keys and values, for the action expert only of a single future."""
        with_action = count == 1
        inputs = {
            "x_t": self._futures(count),
            "flow_time": example(1),
            **self._text_inputs(),
            **self._memory_inputs(),
            **self._expert_inputs(self._value_memory, self._num_memory_tokens, 1, self.config.value.hidden_size),
        }
        if with_action:
            inputs |= self._expert_inputs(
                self._action_memory, self._num_memory_tokens, 1, self.config.action.hidden_size
            )
        outputs = (*self._value_video, *self._action_video) if with_action else self._value_video
        last_pass = _export(NetworkCall(calls.ImagineFutures(self._model, with_action), inputs, outputs))
        num_steps = self.shape.num_video_steps
        end = (num_steps - 1) / num_steps
        composer = OnnxComposer(video_dit_name(count), OPSET)
        x_t = composer.input_like(last_pass, "x_t", "video_noise")
        context = {name: composer.input_like(last_pass, name) for name in inputs if name not in ("x_t", "flow_time")}
        if num_steps > 1:
            earlier = self._video_velocity(count)
            seen = {name: context[name] for name in (*self._text, *self._memory)}

            def velocity(x: str, t: str) -> str:
                return composer.call(earlier, "video_velocity", {"x_t": x, "flow_time": t, **seen})["velocity"]

            x_t = composer.euler(velocity, x_t, num_steps - 1, end)
        bindings = {"x_t": x_t, "flow_time": composer.constant([end]), **context}
        for name, value in composer.call(last_pass, "video_dit", bindings).items():
            composer.output_like(last_pass, name, value, name)
        return composer.model()

    def _value_dit(self) -> Any:
        """All Euler steps of M x N value samples."""
        count, draws = self.shape.num_video_samples, self.shape.num_value_samples
        step = self._value_step(count, draws, with_features=False)
        composer = OnnxComposer("value_dit", OPSET)
        noise = composer.input_like(step, "x_t", "value_noise")
        context = {name: composer.input_like(step, name) for name in self._value_video}

        def velocity(x: str, t: str) -> str:
            return composer.call(step, "value_dit", {"x_t": x, "flow_time": t, **context})["velocity"]

        values = composer.euler(velocity, noise, self.shape.num_value_steps)
        composer.output_like(step, "x_t", values, "values")
        return composer.model()

    def _action_dit(self) -> Any:
        """All value steps of one sample, then all action steps on the value features of the last one."""
        value_step = self._value_step(1, 1, with_features=True)
        feature_names = tuple(f"value_features_{i}" for i in range(self.config.video.num_layers))
        feature_context = self._value_feature_context(feature_names)
        action_step = self._action_step()
        composer = OnnxComposer("action_dit", OPSET)
        value_noise = composer.input_like(value_step, "x_t", "value_noise")
        action_noise = composer.input_like(action_step, "x_t", "action_noise")
        state = composer.input_like(action_step, "state")
        value_video = {name: composer.input_like(value_step, name) for name in self._value_video}
        action_video = {name: composer.input_like(action_step, name) for name in self._action_video}
        features: dict[str, str] = {}

        def value_velocity(x: str, t: str) -> str:
            nonlocal features
            features = composer.call(value_step, "value_dit", {"x_t": x, "flow_time": t, **value_video})
            return features["velocity"]

        values = composer.euler(value_velocity, value_noise, self.shape.num_value_steps)
        seen = composer.call(feature_context, "action_dit_context", {name: features[name] for name in feature_names})

        def action_velocity(x: str, t: str) -> str:
            bindings = {"x_t": x, "flow_time": t, "state": state, **action_video, **seen}
            return composer.call(action_step, "action_dit", bindings)["velocity"]

        actions = composer.euler(action_velocity, action_noise, self.shape.num_action_steps)
        composer.output_like(value_step, "x_t", values, "values")
        composer.output_like(action_step, "x_t", actions, "actions")
        return composer.model()

    def _value_step(self, count: int, draws: int, with_features: bool) -> Any:
        horizon, value = self.config.horizon, self.config.value
        inputs = {
            "x_t": example(count, draws, horizon.value_horizon, value.in_channels),
            "flow_time": example(1),
            **self._expert_inputs(self._value_video, self._num_video_tokens, count, value.hidden_size),
        }
        blocks = range(self.config.video.num_layers)
        features = tuple(f"value_features_{i}" for i in blocks) if with_features else ()
        return _export(NetworkCall(calls.ValueVelocity(self._model, with_features), inputs, ("velocity", *features)))

    def _value_feature_context(self, names: tuple[str, ...]) -> Any:
        size = (1, 1, self.config.horizon.value_horizon, self.config.value.hidden_size)
        outputs = keys_values_names("action_value", self.config.video.num_layers)
        return _export(
            NetworkCall(calls.ValueFeatureContext(self._model), {name: example(*size) for name in names}, outputs)
        )

    def _action_step(self) -> Any:
        horizon, action = self.config.horizon, self.config.action
        value_keys = keys_values_names("action_value", self.config.video.num_layers)
        inputs = {
            "x_t": example(1, 1, horizon.action_horizon, action.in_channels),
            "flow_time": example(1),
            "state": example(1, 1, action.in_channels),
            **self._expert_inputs(self._action_video, self._num_video_tokens, 1, action.hidden_size),
            **self._expert_inputs(value_keys, horizon.value_horizon, 1, action.hidden_size),
        }
        return _export(NetworkCall(calls.ActionVelocity(self._model), inputs, ("velocity",)))

    @property
    def _num_memory_tokens(self) -> int:
        config = self.config
        return config.video.max_view * config.num_memory_frames * config.num_tokens_per_frame

    @property
    def _num_video_tokens(self) -> int:
        config = self.config
        return self._num_memory_tokens + config.video.max_view * config.num_future_frames * config.num_tokens_per_frame

    def _futures(self, count: int) -> torch.Tensor:
        video, config = self.config.video, self.config
        return example(count, video.max_view, config.num_future_frames, config.num_tokens_per_frame, video.in_channels)

    def _text_inputs(self) -> dict[str, torch.Tensor]:
        tokens, hidden = self.config.text.max_tokens, self.config.video.hidden_size
        return {name: example(1, tokens, hidden) for name in self._text[:-1]} | {"text_bias": example(1, 1, 1, tokens)}

    def _memory_inputs(self) -> dict[str, torch.Tensor]:
        config = self.config
        size = (config.video.max_view, config.num_memory_frames, config.num_tokens_per_frame, config.video.hidden_size)
        return {name: example(1, *size) for name in self._memory}

    def _expert_inputs(
        self, names: tuple[str, ...], num_tokens: int, count: int, hidden: int
    ) -> dict[str, torch.Tensor]:
        return {name: example(count, num_tokens, hidden) for name in names}


def video_dit_name(count: int) -> str:
    """Graph video_dit for `count` futures."""
    return f"video_dit_{count}"


@torch.no_grad()
def _export(call: NetworkCall) -> Any:
    """The call as an ONNX model with static shapes."""
    with _quiet():
        program = torch.onnx.export(
            call.module.eval(),
            tuple(call.inputs.values()),
            input_names=list(call.inputs),
            output_names=list(call.outputs),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports missing optional packages and its own deprecations; neither is the user's business."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
