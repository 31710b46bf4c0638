"""Our networks against inputs and outputs recorded from the published architecture (random weights, float32).

`tests/data/parity/README.md` says what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from wav_models.flow import euler
from wav_models.networks.expert_dit import ExpertContext
from wav_models.networks.tensor_names import our_name
from wav_models.networks.video_dit import VideoFeatures, VideoOutput
from wav_models.networks.wav_model import WAVModel
from wav_models.presets import ExpertConfig, HorizonConfig, LatentConfig, ModelConfig, VideoConfig

DIRECTORY = Path(__file__).parents[2] / "data" / "parity"
TOLERANCE = 5e-5
VIEWS, MEMORY, FUTURE, TOKENS, LAYERS = 3, 4, 2, 16, 4

CONFIG = ModelConfig(
    name="parity",
    video=VideoConfig(
        num_layers=LAYERS,
        num_attention_heads=2,
        attention_head_dim=32,
        in_channels=8,
        out_channels=8,
        caption_channels=32,
        cross_attention_dim=64,
    ),
    value=ExpertConfig(num_attention_heads=2, attention_head_dim=16, in_channels=17, out_channels=17),
    action=ExpertConfig(num_attention_heads=2, attention_head_dim=16, in_channels=28, out_channels=28),
    latent=LatentConfig(tokens_per_frame=(4, 4)),
    horizon=HorizonConfig(action_horizon=12, value_horizon=12),
)


@pytest.fixture(scope="module")
def vectors() -> dict[str, Tensor]:
    return load_file(DIRECTORY / "vectors.safetensors")


@pytest.fixture(scope="module")
def model() -> WAVModel:
    model = WAVModel(CONFIG)
    model.load_state_dict({our_name(name): t for name, t in load_file(DIRECTORY / "weights.safetensors").items()})
    return model.eval()


@pytest.fixture
def video(model: WAVModel, vectors: dict[str, Tensor]) -> VideoOutput:
    latents = vectors["input.hidden_states"].view(2, VIEWS, MEMORY + FUTURE, TOKENS, -1)
    time = flow_time(vectors["input.timestep"].view(2, VIEWS, MEMORY + FUTURE, TOKENS)[:, 0, -1, 0])
    text = model.video.encode_text(vectors["input.encoder_hidden_states"], vectors["input.encoder_attention_mask"])
    return model.video(latents[:, :, MEMORY:], time, text, latents[:, :, :MEMORY])


@pytest.fixture
def features(vectors: dict[str, Tensor]) -> VideoFeatures:
    """The recorded features of case 2, so that a fault of the video DiT does not hide one of an expert."""
    buffers = [
        vectors[f"output.case2.video_states_buffer.{i}"].view(2, VIEWS, MEMORY + FUTURE, TOKENS, -1)
        for i in range(LAYERS)
    ]
    return VideoFeatures(
        tuple(x[:, :, :MEMORY].flatten(1, 3) for x in buffers), tuple(x[:, :, MEMORY:].flatten(1, 3) for x in buffers)
    )


@pytest.fixture
def value_features(vectors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    return tuple(vectors[f"output.case3.value_states_buffer.{i}"] for i in range(LAYERS))


def flow_time(timestep: Tensor) -> Tensor:
    """In double precision: 1 - (1 - t) loses in float32 what the tolerance needs."""
    return 1.0 - timestep.double() / 1000.0


def assert_close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0.0, atol=TOLERANCE)


def test_video(video: VideoOutput, vectors: dict[str, Tensor]) -> None:
    """Cases 1 and 2."""
    expected = vectors["output.case1.video"].view(2, VIEWS, MEMORY + FUTURE, TOKENS, -1)
    assert_close(-video.velocity, expected[:, :, MEMORY:])
    for block in range(LAYERS):
        parts = (video.features.memory[block], video.features.future[block])
        tokens = torch.cat([x.view(2 * VIEWS, -1, x.shape[-1]) for x in parts], dim=1)
        assert_close(tokens, vectors[f"output.case2.video_states_buffer.{block}"])


def test_value(model: WAVModel, features: VideoFeatures, vectors: dict[str, Tensor]) -> None:
    """Case 3."""
    time = flow_time(vectors["input.value_timestep"][:, :1])
    output = model.value(vectors["input.value_states"][:, None], time, model.value.context(features))
    assert_close(-output.velocity[:, 0], vectors["output.case3.value"])
    for block in range(LAYERS):
        assert_close(output.features[block][:, 0], vectors[f"output.case3.value_states_buffer.{block}"])


def test_action(
    model: WAVModel, features: VideoFeatures, value_features: tuple[Tensor, ...], vectors: dict[str, Tensor]
) -> None:
    """Case 4."""
    time = flow_time(vectors["input.action_timestep"][:, :1])
    context = model.action.context(features, value_features)
    output = model.action(vectors["input.action_states"][:, None], time, vectors["input.history_action_state"], context)
    assert_close(-output.velocity[:, 0], vectors["output.case4.action"])


def test_value_head_on_kept_features(
    model: WAVModel, value_features: tuple[Tensor, ...], vectors: dict[str, Tensor]
) -> None:
    """Case 4b."""
    rows = model.value.time_embed(flow_time(vectors["input.value_timestep"][:, :1, None] * 0.5))
    velocity = model.value.head(value_features[-1][:, None], rows)
    assert_close(-velocity[:, 0], vectors["output.case4b.value_head_frozen"])


def test_action_without_value_and_state(model: WAVModel, features: VideoFeatures, vectors: dict[str, Tensor]) -> None:
    """Case 5."""
    time = flow_time(vectors["input.action_timestep"][:, :1])
    output = model.action(vectors["input.action_states"][:, None], time, None, model.action.context(features, None))
    assert_close(-output.velocity[:, 0], vectors["output.case5.action_no_value_no_history"])


def test_joint_pass(model: WAVModel, video: VideoOutput, vectors: dict[str, Tensor]) -> None:
    """Case 6: every expert on what the one before it has just computed."""
    value = model.value(
        vectors["input.value_states"][:, None],
        flow_time(vectors["input.value_timestep"][:, :1]),
        model.value.context(video.features),
    )
    action = model.action(
        vectors["input.action_states"][:, None],
        flow_time(vectors["input.action_timestep"][:, :1]),
        vectors["input.history_action_state"],
        model.action.context(video.features, value.features),
    )
    expected = vectors["output.case6.joint_video"].view(2, VIEWS, MEMORY + FUTURE, TOKENS, -1)
    assert_close(-video.velocity, expected[:, :, MEMORY:])
    assert_close(-value.velocity[:, 0], vectors["output.case6.joint_value"])
    assert_close(-action.velocity[:, 0], vectors["output.case6.joint_action"])


def test_roll_outs(
    model: WAVModel, features: VideoFeatures, value_features: tuple[Tensor, ...], vectors: dict[str, Tensor]
) -> None:
    """Case 7: our Euler integration from 0 to 1 is theirs from sigma 1 to 0."""
    num_steps = len(vectors["output.aux.scheduler_timesteps"])

    def integrate(start: str, step: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        def velocity(x: Tensor, t: float) -> Tensor:
            return step(x, torch.full((1, 1), t, dtype=torch.float64))

        return euler(velocity, vectors[start][:, None], num_steps)[:, 0]

    value_context: ExpertContext = model.value.context(features)
    action_context = model.action.context(features, value_features)
    state = vectors["input.history_action_state"]
    value = integrate("input.value_states", lambda x, t: model.value(x, t, value_context).velocity)
    action = integrate("input.action_states", lambda x, t: model.action(x, t, state, action_context).velocity)
    assert_close(value, vectors["output.case7.value_rollout"])
    assert_close(action, vectors["output.case7.action_rollout"])
