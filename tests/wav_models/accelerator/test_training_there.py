"""Training on an accelerator: nothing is on the wrong device, and the host does not wait for what it computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.wav_models.accelerator.fake_accelerator import (
    DEVICE,
    Launches,
    fake_accelerator,
    fake_model,
    on_accelerator,
)
from tests.wav_models.engines.small_engines import SMALL
from wav_models.bench.gpu.training import RandomBatches
from wav_models.networks.autoencoder import TinyAutoencoder, make_autoencoder
from wav_models.networks.wav_model import recompute_activations
from wav_models.training.autoencoder_stage import AutoencoderStage
from wav_models.training.config import EVERY_STAGE, AutoencoderConfig, FuturesConfig, LoraConfig, TrainConfig
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage

GIVEN = replace(SMALL.horizon, given_steps=3)
ONE_LAYER = replace(SMALL, video=replace(SMALL.video, num_layers=1), horizon=GIVEN)
OF_ALL: dict[str, Any] = {"camera_dropout": 0.5, "lora": LoraConfig()}
OF_EXPERTS: dict[str, Any] = {
    "futures": FuturesConfig(own_fraction=0.5),
    "memory_dropout": 0.5,
    "mask_padding": True,
}
PLAIN = TrainConfig()
EVERYTHING = replace(
    PLAIN,
    video=replace(PLAIN.video, **OF_ALL),
    value=replace(PLAIN.value, **OF_ALL, **OF_EXPERTS),
    action=replace(PLAIN.action, **OF_ALL, **OF_EXPERTS, caption_dropout=0.5, state_dropout=0.5, prefix_steps=(0, 3)),
    distil=replace(PLAIN.distil, **OF_ALL, num_futures=2, num_value_samples=1),
)


@pytest.mark.parametrize("name", EVERY_STAGE)
def test_a_pass_of_a_stage_stays_there_and_nobody_waits_for_it(name: str) -> None:
    """With every option, forward and backward."""
    with fake_accelerator():
        model = fake_model(ONE_LAYER).train()
        recompute_activations(model)
        batches: Any = RandomBatches(ONE_LAYER)
        stage = make_stage(name, model, batches, EVERYTHING, dict)
        for parameter in stage.named_parameters().values():  # adapters are made where their layer is
            assert parameter.device.type == DEVICE
        stage.losses(4, streams_at(0, name, 0))  # sends the instructions
        with Launches() as launched:
            losses = stage.losses(4, streams_at(0, name, 1))
            losses["loss"].backward()
    assert {loss.device.type for loss in losses.values()} == {DEVICE}
    assert launched.copies["to accelerator"] > 0
    assert launched.waited == 0
    assert launched.copies["to host"] == 0
    trained = [p for p in stage.named_parameters().values() if p.requires_grad]
    assert trained
    gradients = [p.grad for p in trained if p.grad is not None]
    assert gradients
    assert {gradient.device.type for gradient in gradients} == {DEVICE}


def test_a_pass_of_the_autoencoder_stays_there_and_nobody_waits_for_it() -> None:
    autoencoder = make_autoencoder(SMALL)
    assert isinstance(autoencoder, TinyAutoencoder)
    frames = np.zeros((8, SMALL.num_views, *SMALL.latent.image_size, 3), np.uint8)
    rows = np.arange(len(frames))
    views = [view.name for view in SMALL.embodiment.views]
    stage = AutoencoderStage(autoencoder, frames, rows[:6], rows[6:], AutoencoderConfig(), views)
    with fake_accelerator():
        on_accelerator(autoencoder)
        with Launches() as launched:
            losses = stage.losses(4, streams_at(0, stage.name, 0))
            losses["loss"].backward()
    assert {loss.device.type for loss in losses.values()} == {DEVICE}
    assert launched.copies["to accelerator"] > 0
    assert launched.waited == launched.copies["to host"] == 0
    gradients = [p.grad for p in autoencoder.parameters() if p.grad is not None]
    assert gradients
    assert {gradient.device.type for gradient in gradients} == {DEVICE}
