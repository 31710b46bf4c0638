"""An export, run once where it was made: does it give what torch gives, and is it faster?"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from wav_models.checkpoint import Checkpoint
from wav_models.engines.base import Engine, EngineError
from wav_models.engines.manifest import Manifest, Measurement, PlanShape
from wav_models.engines.parity import TOLERANCES, Trial, agreement, graph_calls, measure
from wav_models.engines.precision import native_dtype, processor_name
from wav_models.engines.runtimes import load_engine
from wav_models.engines.torch_engine import TorchEngine
from wav_models.planner.config import PlannerConfig
from wav_models.presets import ModelConfig

logger = logging.getLogger(__name__)

REPEATS: Final = 3
ROUND: Final = ("video_dit", "value_dit")
"""The graphs of a planning round."""


def measure_export(checkpoint: Checkpoint, directory: Path, manifest: Manifest) -> Measurement:
    """Run a planning round with the graphs of an export and with torch, on the same numbers.

    Nothing is measured, and a line in the log says why, where they cannot run, as graphs for a GPU where there is none.
    """
    text_encoder = _RandomText(checkpoint.config)
    checkpoint = _where_it_runs(checkpoint)
    exact = TorchEngine(checkpoint.model, checkpoint.autoencoder, text_encoder)
    engines: dict[str, Engine] = {named("torch", "fp32"): exact}
    device = next(checkpoint.model.parameters()).device.type
    if (native := native_dtype(device)) != "fp32":
        parts = (checkpoint.model, checkpoint.autoencoder, text_encoder)
        engines[named("torch", native)] = TorchEngine(*parts, dtype=native)
    try:
        graphs = load_engine(directory, checkpoint, text_encoder)
    except EngineError as error:
        logger.info("not measured, so that engine 'auto' will not take it: %s", error)
        return Measurement()
    engines[named(manifest.engine, manifest.precision)] = graphs
    trial = Trial.draw(exact, checkpoint.normalization, _planner(manifest.shape))
    expected, found = (graph_calls(engine, trial)["value_dit"](0).flatten() for engine in (exact, graphs))
    graph_calls(graphs, trial)["action_dit"](0)
    difference = agreement(expected, found)
    times = measure(tuple(engines.values()), trial, REPEATS, ROUND)
    return Measurement(
        _computer(device),
        torch.get_num_threads(),
        difference.max_error,
        difference.cosine,
        difference.within(TOLERANCES[manifest.precision]),
        {name: sum(seconds.values()) for name, seconds in zip(engines, times, strict=True)},
    )


def _where_it_runs(checkpoint: Checkpoint) -> Checkpoint:
    """A copy on the GPU, where a robot's policy would load it; the checkpoint itself without one."""
    if not torch.cuda.is_available():
        return checkpoint
    networks: tuple[Any, Any] = (checkpoint.model, checkpoint.autoencoder)
    model, autoencoder = (copy.deepcopy(network).to("cuda") for network in networks)
    return replace(checkpoint, model=model, autoencoder=autoencoder)


def named(engine: str, precision: str) -> str:
    """Key of `Measurement.seconds`."""
    return f"{engine} {precision}"


def _computer(device: str) -> str:
    """What computes: the model of the GPU, or of the processor."""
    return torch.cuda.get_device_name() if device == "cuda" else processor_name()


def _planner(shape: PlanShape) -> PlannerConfig:
    return PlannerConfig(**vars(shape), num_video_elites=1, num_value_elites=1)


class _RandomText:
    """Embeddings as a text encoder gives them, without one: how fast a round is does not depend on the words."""

    def __init__(self, config: ModelConfig) -> None:
        self._shape = (1, config.text.max_tokens, config.video.caption_channels)

    def __call__(self, instructions: list[str]) -> tuple[Tensor, Tensor]:
        embedding = torch.randn(self._shape, generator=torch.Generator().manual_seed(0))
        return embedding, torch.ones(self._shape[:2], dtype=torch.bool)
