"""What `wav demonstrate --suite aloha_transfer_cube` records is trained on, and what comes of it plays there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.wav_models.training.recorded import record, wav_train
from wav_models.data.check_episode import _check_instruction
from wav_models.embodiments import ALOHA
from wav_models.presets import PRESETS, WAV_TINY, WAV_TINY_ALOHA, expert_configs
from wav_models.types import Observation
from wav_policy.experiments.suites.catalogue import get_suite
from wav_policy.experiments.suites.players import checkpoint_players
from wav_policy.policy.wav_policy import WAVPolicy

INSTRUCTION = "pick up the cube with the right arm and hand it over to the left arm"
CONFIG = """
preset: wav-tiny-aloha
workers: 1
validation_fraction: 0.3
validation_samples: 4
autoencoder: {loop: {batch_size: 4, bf16: false}}
video: {loop: {batch_size: 2, bf16: false}}
value: {loop: {batch_size: 2, bf16: false}}
action: {loop: {batch_size: 2, bf16: false}}
"""


def test_its_times_are_those_of_the_small_model() -> None:
    ours, theirs = WAV_TINY_ALOHA.horizon, WAV_TINY.horizon
    for name in ("memory_offsets", "future_offsets", "action_horizon", "value_horizon", "num_execute_steps"):
        np.testing.assert_allclose(
            np.array(getattr(ours, name)) / ours.step_hz, np.array(getattr(theirs, name)) / theirs.step_hz
        )
    assert list(_check_instruction(ALOHA, INSTRUCTION, "episode 0")) == [], "it takes all of the suite's instruction"


def test_every_stage_gives_a_checkpoint_that_plays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value, action = expert_configs(ALOHA, num_attention_heads=1, attention_head_dim=16)
    video = replace(WAV_TINY.video, num_layers=2, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32)
    small = replace(WAV_TINY_ALOHA, video=video, value=value, action=action)
    monkeypatch.setitem(PRESETS, small.name, small)
    data = record(tmp_path / "cube", INSTRUCTION, [True, True, False], robot=ALOHA, fps=50)
    config = tmp_path / "run.yaml"
    config.write_text(CONFIG)
    common = ["--data", str(data), "--out", str(tmp_path / "run"), "--config", str(config)]
    assert wav_train(["autoencoder", *common, "--steps", "1"]) == 0
    assert wav_train(["latents", *common]) == 0
    for stage in ("video", "value", "action"):
        assert wav_train([stage, *common, "--steps", "1"]) == 0
    assert wav_train(["checkpoint", *common]) == 0
    checkpoint = tmp_path / "run/checkpoint"
    assert list(checkpoint_players(checkpoint, get_suite("aloha_transfer_cube"), ("k0", "k3"))) == ["k0", "k3"]
    policy = WAVPolicy.load(checkpoint, engine="torch", robot=ALOHA)
    images = np.random.default_rng(0).integers(0, 255, (1, 2, *small.latent.image_size, 3), dtype=np.uint8)
    plan = policy.plan(Observation(images, np.zeros(ALOHA.state_dim), INSTRUCTION))
    assert plan.chunk.positions.shape == (80, ALOHA.action_dim)
    assert plan.chunk.step == 1.0 / get_suite("aloha_transfer_cube").robot.control_rate
