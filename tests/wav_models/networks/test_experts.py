"""What the experts share between draws, steps and futures changes no number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.wav_models.networks.small_model import Inputs
from wav_models.networks.video_dit import VideoFeatures
from wav_models.networks.wav_model import WAVModel

M, R = 3, 4


@pytest.fixture
def features(causal_model: WAVModel, inputs: Inputs) -> VideoFeatures:
    video = causal_model.video
    text = video.encode_text(inputs.text_embedding, inputs.text_mask)
    return video(inputs.futures, inputs.flow_time, text, video.encode_memory(inputs.memory, text)).features


@pytest.fixture
def values() -> Tensor:
    return torch.randn(M, R, 7, 17, generator=torch.Generator().manual_seed(4))


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=1e-5)


def _alone(features: VideoFeatures, m: int) -> VideoFeatures:
    """One future with its own copy of the memory, and fresh keys and values."""
    one = features.select(m)
    return VideoFeatures(tuple(x.clone() for x in one.memory), one.future)


def test_value_draws_and_futures_are_independent(
    causal_model: WAVModel, features: VideoFeatures, values: Tensor
) -> None:
    """All M x R at once, with cached memory keys and one time for all, equals each pair alone."""
    model = causal_model.value
    memory = model.memory_context(features.memory)
    output = model(values, torch.full((1, 1), 0.3), model.context(features, memory))
    for m in range(M):
        for r in range(R):
            alone = model(values[m : m + 1, r : r + 1], torch.full((1, 1), 0.3), model.context(_alone(features, m)))
            assert_close(output.velocity[m, r], alone.velocity[0, 0])
            for cached, uncached in zip(output.features, alone.features, strict=True):
                assert_close(cached[m, r], uncached[0, 0])


def test_time_may_differ_by_draw(causal_model: WAVModel, features: VideoFeatures, values: Tensor) -> None:
    model = causal_model.value
    time = torch.rand(M, R, generator=torch.Generator().manual_seed(5))
    context = model.context(features)
    output = model(values, time, context).velocity
    for r in range(R):
        assert_close(output[:, r : r + 1], model(values[:, r : r + 1], time[:, r : r + 1], context).velocity)


def test_selected_context_is_that_future(causal_model: WAVModel, features: VideoFeatures, values: Tensor) -> None:
    model = causal_model.value
    time = torch.full((1, 1), 0.3)
    context = model.context(features)
    everything = model(values, time, context).velocity
    assert_close(everything[2:], model(values[2:], time, context.select(2)).velocity)
    assert not torch.allclose(everything[2:], model(values[2:], time, context.select(1)).velocity, atol=1e-2)


def test_action_draws_are_independent(causal_model: WAVModel, features: VideoFeatures, values: Tensor) -> None:
    """Draws sharing a future's value features, and draws that have their own, equal one at a time."""
    value, action = causal_model.value, causal_model.action
    generator = torch.Generator().manual_seed(6)
    chunk, state = torch.randn(M, R, 5, 28, generator=generator), torch.randn(M, 1, 28, generator=generator)
    time = torch.rand(M, R, generator=generator)
    of_draws = value(values, torch.full((1, 1), 0.3), value.context(features)).features
    memory = action.memory_context(features.memory)
    shared = action(chunk, time, state, action.context(features, tuple(x[:, 0] for x in of_draws), memory))
    own = action(chunk, time, state, action.context(features, of_draws, memory))
    for m in range(M):
        for r in range(R):
            arguments = chunk[m : m + 1, r : r + 1], time[m : m + 1, r : r + 1], state[m : m + 1]
            for output, draw in ((shared, 0), (own, r)):
                context = action.context(_alone(features, m), tuple(x[m : m + 1, draw] for x in of_draws))
                assert_close(output.velocity[m, r], action(*arguments, context).velocity[0, 0])


def test_state_reaches_the_actions(causal_model: WAVModel, features: VideoFeatures) -> None:
    action = causal_model.action
    chunk, time = torch.zeros(M, 1, 5, 28), torch.zeros(1, 1)
    context = action.context(features, None)
    at_rest, moved = (action(chunk, time, torch.full((M, 1, 28), x), context).velocity for x in (0.0, 1.0))
    assert at_rest.shape == chunk.shape
    assert (at_rest - moved).abs().max() > 1e-2


def test_the_state_is_a_clean_token_before_the_actions(causal_model: WAVModel, features: VideoFeatures) -> None:
    """Where the actions are clean, too, it is one token more; where they are noise, it is not noise."""
    action, generator = causal_model.action, torch.Generator().manual_seed(7)
    chunk, state = torch.randn(M, R, 5, 28, generator=generator), torch.randn(M, 1, 28, generator=generator)
    sequence = torch.cat([state[:, None].expand(-1, R, -1, -1), chunk], dim=2)
    context = action.context(features, None)
    for flow_time, same in ((1.0, True), (0.0, False)):
        time = torch.full((1, 1), flow_time)
        with_state, as_sequence = action(chunk, time, state, context), action(sequence, time, None, context)
        differences = (with_state.velocity - as_sequence.velocity[:, :, 1:]).abs().amax(dim=(2, 3))
        assert bool((differences < 1e-5).all() if same else (differences > 1e-3).all()), flow_time
