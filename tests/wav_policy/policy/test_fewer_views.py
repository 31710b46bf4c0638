"""A checkpoint that sees with two cameras runs on a robot that has three: from messages to a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.wav_models.piper import with_views
from tests.wav_models.small_checkpoint import SMALL
from wav_models.checkpoint import save_checkpoint
from wav_models.data.normalization import Normalization, statistic_shapes
from wav_models.embodiment import Embodiment, EmbodimentError
from wav_models.embodiments import BIMANUAL_PIPER
from wav_models.networks.autoencoder import make_autoencoder
from wav_models.networks.wav_model import WAVModel
from wav_models.planner.config import PlannerConfig
from wav_policy.policy.observation import NotReady, ObservationBuffer
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.joints import JOINT_DIM

PLANNER = PlannerConfig(
    num_iterations=1, num_video_samples=2, num_value_samples=2, num_video_elites=1, num_value_elites=1
)
TWO = with_views("head", "right_wrist")


def save(directory: Path, robot: Embodiment) -> Path:
    torch.manual_seed(0)
    config = replace(SMALL, embodiment=robot)
    shapes = statistic_shapes(robot, config.horizon.action_horizon)
    statistics = {f"{name}_mean": np.zeros(shape) for name, shape in shapes.items()}
    statistics |= {f"{name}_std": np.ones(shape) for name, shape in shapes.items()}
    save_checkpoint(
        directory,
        model=WAVModel(config),
        autoencoder=make_autoencoder(config),
        normalization=Normalization(**statistics, embodiment=robot),
        training_record={},
        planner=PLANNER,
    )
    return directory


def test_two_of_three_cameras_are_enough_for_a_checkpoint_of_two(tmp_path: Path) -> None:
    policy = WAVPolicy.load(save(tmp_path / "two", TWO), engine="torch", num_threads=1)
    model = policy.config
    buffer = ObservationBuffer(model.horizon, model.latent.image_size, views=model.embodiment.view_names)
    rng = np.random.default_rng(0)
    for stamp in np.arange(20) / 10.0:
        buffer.add_joint_state(np.zeros(JOINT_DIM), stamp)
        buffer.add_image("head", rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), stamp)
    with pytest.raises(NotReady, match="right_wrist/image_raw: nothing received"):
        buffer.assemble(1.9, "go")
    for stamp in np.arange(20) / 10.0:
        buffer.add_image("right_wrist", rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), stamp)
    observation = buffer.assemble(1.9, "go")
    assert observation.images.shape[0] == 2
    plan = policy.plan(observation)
    assert plan.chunk.positions.shape == (model.horizon.action_horizon, JOINT_DIM)
    assert policy.imagine(plan, num_steps=1).shape[0] == 2


def test_a_camera_that_the_robot_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(EmbodimentError, match="there is no view left_wrist, only head, right_wrist"):
        WAVPolicy.load(save(tmp_path / "three", BIMANUAL_PIPER), robot=TWO)
