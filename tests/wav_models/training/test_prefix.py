"""An action expert that is trained with prefixes continues a chunk that it is given the beginning of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from wav_models.flow import euler
from wav_models.networks.action_dit import ActionDiT
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.video_dit import VideoFeatures
from wav_models.networks.wav_model import initialize
from wav_models.presets import WAV_TINY, ModelConfig
from wav_models.training.randomness import RngStreams, streams_at
from wav_models.training.stages import Prefix, _squared_error, expert_pass

HORIZON, BATCH, NUM_GIVEN = 8, 64, 3


@pytest.fixture(scope="module")
def trained() -> ActionDiT:
    """On straight lines from 0 to 1 and from 0 to -1, between which only the beginning decides."""
    torch.manual_seed(0)
    config = _config()
    expert = ActionDiT(config)
    initialize(expert)
    optimizer = torch.optim.AdamW(expert.parameters(), lr=6e-3)
    for step in range(300):
        streams = streams_at(0, "action", step)
        lines = _lines(torch.randn(BATCH, generator=streams.torch).sign())
        given = torch.arange(HORIZON) < torch.randint(0, NUM_GIVEN + 1, (BATCH, 1, 1), generator=streams.torch)
        loss = _loss(expert, lines, given, streams)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return expert


def test_the_rest_goes_on_from_what_is_given(trained: ActionDiT) -> None:
    """Both ways from the same noises, which alone end on either line; without a step where the prefix ends."""
    noise = torch.randn(1, 32, HORIZON, 28, generator=torch.Generator().manual_seed(1))
    free = _denoise(trained, noise, torch.zeros(HORIZON, dtype=torch.bool))
    ends = free[0, :, -1, :14].mean(dim=-1)
    assert 0.1 < float((ends > 0).float().mean()) < 0.9
    for sign in (-1.0, 1.0):
        line = _lines(torch.tensor([sign]))[0]
        given = torch.arange(HORIZON) < NUM_GIVEN
        chunks = _denoise(trained, torch.where(given[:, None], line, noise), given)
        torch.testing.assert_close(chunks[:, :, :NUM_GIVEN], line[:NUM_GIVEN].expand(1, 32, -1, -1))
        assert (chunks - line)[..., :14].abs().mean() < 0.1
        jump = (chunks[:, :, NUM_GIVEN] - chunks[:, :, NUM_GIVEN - 1])[..., :14].mean(dim=-1)
        torch.testing.assert_close(jump, torch.full_like(jump, sign / HORIZON), atol=0.15, rtol=0.0)


def _config() -> ModelConfig:
    return replace(
        WAV_TINY,
        video=replace(
            WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=12, cross_attention_dim=24
        ),
        action=replace(WAV_TINY.action, num_attention_heads=2, attention_head_dim=16),
        horizon=replace(WAV_TINY.horizon, action_horizon=HORIZON),
    )


def _lines(signs: Tensor) -> Tensor:
    """Chunks [B, H, 28] whose commands go from 0 towards the sign; what is reached is not said."""
    ramp = (torch.arange(HORIZON) + 1.0) / HORIZON
    lines = torch.zeros(len(signs), HORIZON, 28)
    lines[..., :14] = (signs[:, None] * ramp)[..., None]
    return lines


def _context(expert: ActionDiT, count: int) -> ExpertContext:
    nothing = (torch.zeros(count, 1, 24),) * 2
    return expert.context(VideoFeatures(nothing, nothing), None)


def _loss(expert: ActionDiT, lines: Tensor, given: Tensor, streams: RngStreams) -> Tensor:
    context, state = _context(expert, len(lines)), torch.zeros(len(lines), 1, 28)
    velocity, target, _ = expert_pass(expert, lines, 1, streams, context, Prefix(lines, given), state=state)
    return _squared_error(velocity, target, ~given)


@torch.no_grad()
def _denoise(expert: ActionDiT, noise: Tensor, given: Tensor) -> Tensor:
    context, state = _context(expert, 1), torch.zeros(1, 1, 28)

    def velocity(x_t: Tensor, time: float) -> Tensor:
        found: Tensor = expert(x_t, torch.full((1, 1), time), state, context, given[None, None]).velocity
        return found

    return euler(velocity, noise, 10)
