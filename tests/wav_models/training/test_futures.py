"""What the experts read while they train: recorded futures, the model's own, and with parts hidden."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from wav_models.networks.video_dit import VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.training.config import FuturesConfig, TrainConfig
from wav_models.training.data.batches import Batches
from wav_models.training.randomness import streams_at
from wav_models.training.stage_table import make_stage

BATCH = 8


class Oracle(nn.Module):
    """A video DiT that knows every recorded future, and keeps what it was asked."""

    def __init__(self, x_1: Tensor) -> None:
        super().__init__()
        self.x_1 = x_1
        self.calls: list[tuple[Tensor, Tensor]] = []

    def encode_text(self, *_: Tensor) -> None:
        return None

    def forward(self, x: Tensor, flow_time: Tensor, text: Any, memory: Tensor) -> VideoOutput:
        self.calls.append((x.clone(), flow_time.clone()))
        rest = (1.0 - flow_time).reshape(-1, 1, 1, 1, 1)
        return VideoOutput((self.x_1[: len(x)] - x) / rest, VideoFeatures((), ()))


def read(model: WAVModel, batches: Batches, futures: FuturesConfig) -> tuple[Oracle, Tensor]:
    """What the stage's last video pass read, and the loss."""
    config = TrainConfig()
    stage = make_stage("action", model, batches, replace(config, action=replace(config.action, futures=futures)), dict)
    streams = streams_at(0, "test", 0)
    batch = batches.draw(BATCH, streams)
    oracle = Oracle(batch.future_latents)
    stage.model.video = oracle
    _, loss = stage._read_futures(batch, streams, futures)
    return oracle, loss


def noise_in(oracle: Oracle) -> Tensor:
    """x_0 of the last pass, solved from x_t = (1 - t) x_0 + t x_1."""
    x_t, flow_time = oracle.calls[-1]
    t = flow_time.reshape(-1, 1, 1, 1, 1)
    return (x_t - t * oracle.x_1) / (1.0 - t)


def test_own_futures_keep_what_was_recorded(model: WAVModel, batches: Batches) -> None:
    """With a perfect model, its own futures are the recorded ones at the flow time that is read."""
    recorded, _ = read(model, batches, FuturesConfig(own_fraction=0.0))
    own, loss = read(model, batches, FuturesConfig(own_fraction=0.5, own_start=(0.3, 0.6), own_steps=3))
    assert [len(x) for x, _ in own.calls] == [4, 4, 4, 8]
    starts, ends = own.calls[0][1], own.calls[-1][1][:4]
    assert ((starts >= 0.3) & (starts <= 0.6) & (ends >= starts)).all()
    torch.testing.assert_close(noise_in(own), noise_in(recorded), rtol=1e-3, atol=1e-3)
    assert float(loss) < 1e-6


def test_own_futures_have_no_part_in_the_video_loss(model: WAVModel, batches: Batches) -> None:
    futures = FuturesConfig(own_fraction=1.0)
    _, loss = read(model, batches, futures)
    assert float(loss) == 0.0  # and not the mean of nothing
    oracle, _ = read(model, batches, replace(futures, own_fraction=0.5))
    x_t, flow_time = oracle.calls[-1]
    assert len(x_t) == len(flow_time) == BATCH


def test_hidden_memory_is_zero_for_its_share(model: WAVModel, batches: Batches) -> None:
    stage = make_stage("action", model, batches, TrainConfig(), dict)
    features = VideoFeatures((torch.ones(400, 3, 2),), (torch.ones(400, 3, 2),))
    hidden = stage._hide_memory(features, 0.25, streams_at(0, "test", 0))
    assert set(hidden.memory[0].flatten().tolist()) == {0.0, 1.0}
    assert 0.65 < float(hidden.memory[0].mean()) < 0.85
    assert (hidden.memory[0].std(dim=(1, 2)) == 0).all()
    assert torch.equal(hidden.future[0], features.future[0])


def test_own_futures_leave_every_gradient(model: WAVModel, batches: Batches) -> None:
    """In reduced precision, where weights cast without gradients must not be used again."""
    config = TrainConfig()
    action = replace(config.action, futures=FuturesConfig(own_fraction=0.5))
    stage = make_stage("action", model, batches, replace(config, action=action), dict)
    with torch.autocast("cpu", torch.bfloat16):
        loss = stage.losses(BATCH, streams_at(0, "test", 0))["loss"]
    loss.backward()
    assert [name for name, parameter in stage.named_parameters().items() if parameter.grad is None] == []
