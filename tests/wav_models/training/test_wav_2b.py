"""The configuration of the published model: the paper's numbers, and a dry run of every stage without memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import EVERY_STAGE, Schedule, load_config
from wav_models.training.data.batches import Batch
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage

CONFIG = Path(__file__).parents[3] / "config/train_wav_2b.yaml"


def test_numbers_are_those_of_tables_3_and_4() -> None:
    config = load_config(CONFIG)
    video, experts = config.video.loop, (config.value.loop, config.action.loop)
    assert (video.steps, video.learning_rate, config.video.caption_dropout) == (40_000, 3e-4, 0.06)
    assert {(loop.steps, loop.learning_rate) for loop in experts} == {(30_000, 5e-5)}
    assert config.action.caption_dropout == 0.0
    for loop in (video, *experts):
        assert (loop.clip_norm, loop.warmup_steps, loop.batch_size, loop.weight_decay) == (1.0, 1000, 128, 1e-5)
        assert loop.betas == (0.9, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY_STAGE)
def test_every_stage_runs_forwards_and_backwards_at_full_size(name: str) -> None:
    """On the meta device: all shapes are computed, no number is."""
    config = load_config(CONFIG)
    futures = replace(config.action.futures, own_fraction=0.5)
    config = replace(
        config,
        value=replace(config.value, futures=futures),
        action=replace(config.action, futures=futures),
        distil=replace(config.distil, teacher=Schedule((0.0, 0.25), 1, 1), student=Schedule((0.25,), 1, 1)),
    )
    model, horizon, latent = config.model, config.model.horizon, config.model.latent
    text = model.text.max_tokens, model.video.caption_channels
    tokens = latent.tokens_per_frame[0] * latent.tokens_per_frame[1], model.video.in_channels
    with torch.device("meta"):
        network = WAVModel(model).to("meta")  # the rotary tables too
        batch = Batch(
            memory_latents=torch.empty(2, 3, len(horizon.memory_offsets), *tokens),
            future_latents=torch.empty(2, 3, len(horizon.future_offsets), *tokens),
            text=torch.zeros(2, dtype=torch.int64),
            state_token=torch.empty(2, 1, 28),
            actions=torch.empty(2, horizon.action_horizon, 28),
            values=torch.empty(2, horizon.value_horizon, 17),
            state=torch.empty(2, 14),
            targets=torch.empty(2, horizon.action_horizon, 14),
            action_known=torch.empty(2, horizon.action_horizon),
            value_known=torch.empty(2, horizon.value_horizon),
            imitated=torch.empty(2),
        )
        table = SimpleNamespace(
            text_embedding=torch.empty(2, *text), text_mask=torch.empty(2, text[0], dtype=torch.bool)
        )
    stage = make_stage(name, network, SimpleNamespace(episodes=table), config, dict)  # type: ignore[arg-type]
    losses = stage.batch_losses(batch, streams_at(0, name, 0))
    losses["loss"].backward()
    trained = stage.named_parameters()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in trained.values())
    assert sum(p.numel() for p in network.parameters()) == 2_305_626_285
