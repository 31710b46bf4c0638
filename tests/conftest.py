"""Every test process has a ROS domain and a run-time directory of its own and talks to this host only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_DOMAIN_ID", str(20 + os.getpid() % 80))


@pytest.fixture(scope="session", autouse=True)
def _runtime_directory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pseudo-terminal links of the tests do not meet those of a running system."""
    os.environ["XDG_RUNTIME_DIR"] = str(tmp_path_factory.mktemp("runtime"))


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def random_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete `wav-tiny` checkpoint with random weights: it plans and moves the arms a little, without sense."""
    import torch

    from wav_models.checkpoint import save_checkpoint
    from wav_models.networks.autoencoder import make_autoencoder
    from wav_models.networks.wav_model import WAVModel
    from wav_models.presets import WAV_TINY

    directory = tmp_path_factory.mktemp("checkpoints") / "random"
    torch.manual_seed(0)
    save_checkpoint(
        directory,
        model=WAVModel(WAV_TINY),
        autoencoder=make_autoencoder(WAV_TINY),
        normalization=_unit_normalization(WAV_TINY.horizon.action_horizon),
        training_record={"data": "none: random weights"},
    )
    return directory


def _unit_normalization(horizon: int):  # type: ignore[no-untyped-def]
    """States as they are; actions within about a hundredth of a radian of the measured state."""
    import numpy as np

    from wav_models.data.normalization import Normalization
    from wav_models.types import JOINT_DIM

    small = np.full((horizon, JOINT_DIM), 0.01)
    return Normalization(
        state_mean=np.zeros(JOINT_DIM),
        state_std=np.ones(JOINT_DIM),
        action_diff_mean=np.zeros((horizon, JOINT_DIM)),
        action_diff_std=small,
        state_diff_mean=np.zeros((horizon, JOINT_DIM)),
        state_diff_std=small,
        value_mean=np.zeros(17),
        value_std=np.ones(17),
    )
