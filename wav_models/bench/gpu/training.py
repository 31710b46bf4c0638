"""Training steps of the three stages on random data: time, memory, and whether the loss falls."""

from __future__ import annotations

import time
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

import torch

from wav_models.bench.gpu.session import Session
from wav_models.bench.subject import model_of
from wav_models.networks.wav_model import recompute_activations
from wav_models.presets import ModelConfig
from wav_models.training.config import STAGES, TrainConfig
from wav_models.training.data.batches import Batch
from wav_models.training.launched import LaunchedWorker
from wav_models.training.loop import initial_state
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.stage_table import make_stage

SAMPLES: Final = 4


class RandomBatches:
    """Observations as `Batches` draws them, of random numbers; always the same ones, so that a loss can fall."""

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        text = config.text.max_tokens
        embedding = torch.randn(2, text, config.video.caption_channels, generator=torch.Generator().manual_seed(0))
        self.episodes = SimpleNamespace(text_embedding=embedding, text_mask=torch.ones(2, text, dtype=torch.bool))

    def draw(self, size: int, streams: RngStreams) -> Batch:
        config, horizon, generator = self._config, self._config.horizon, torch.Generator().manual_seed(1)

        def drawn(*shape: int) -> torch.Tensor:
            return torch.randn(size, *shape, generator=generator)

        robot = config.embodiment
        return Batch(
            memory_latents=drawn(*config.memory_shape),
            future_latents=drawn(*config.future_shape),
            text=torch.ones(size, dtype=torch.int64),
            state_token=drawn(1, config.action.in_channels),
            actions=drawn(*config.action_shape),
            values=drawn(*config.value_shape),
            state=drawn(robot.state_dim),
            targets=drawn(horizon.action_horizon, robot.action_dim),
            action_known=torch.ones(size, horizon.action_horizon),
            value_known=torch.ones(size, horizon.value_horizon),
            imitated=torch.ones(size),
        )


def training(session: Session) -> None:
    """Every stage, with activations kept and computed again; bfloat16 autocast, AdamW and the weight average."""
    for name in STAGES:
        for checkpointed in (False, True):
            what: dict[str, Any] = {"stage": name, "checkpointed": checkpointed}
            steps = session.attempt(partial(_steps, session, name, checkpointed), phase="training", **what)
            if steps is not None:
                session.say("training step", **what, **steps)


def _steps(session: Session, name: str, checkpointed: bool) -> dict[str, Any]:
    size = SAMPLES if session.on_gpu else 1
    session.forget()
    model = model_of(session.preset, causal=session.config.video.causal_memory, device=session.device).train()
    if checkpointed:
        recompute_activations(model)
    batches: Any = RandomBatches(session.config)
    config = TrainConfig(preset=session.preset)
    stage = make_stage(name, model, batches, config, dict)
    losses_of = LaunchedWorker(device=session.device).distribute(stage)
    state = initial_state(stage, getattr(config, name).loop)
    parameters = list(state.parameters.values())

    def step() -> torch.Tensor:
        state.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(session.device.type, torch.bfloat16):
            losses = losses_of(size, streams_at(0, name, 0))
        losses["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        state.optimizer.step()
        torch._foreach_lerp_(list(state.average.values()), [p.detach() for p in parameters], 0.01)
        return losses["loss"].detach()

    began = time.monotonic()
    first = float(step())
    first_seconds = time.monotonic() - began
    took = session.time(step, 3, 1).p50
    last = float(step())
    return {
        "samples": size,
        "first_s": first_seconds,
        "ms": took,
        "samples_per_s": 1e3 * size / took,
        "peak_gb": session.peak_gigabytes(),
        "loss": [first, last],
        "falls": last < first,
    }
