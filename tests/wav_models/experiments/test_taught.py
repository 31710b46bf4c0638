"""A student against its teacher on recorded moments: who does the same agrees wholly, others less."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from tests.wav_policy.recording.foreign import record
from wav_models.checkpoint import Checkpoint
from wav_models.data.dataset import Dataset
from wav_models.data.normalization import Normalization
from wav_models.engines.torch_engine import TorchEngine
from wav_models.experiments.reader import FutureReader
from wav_models.experiments.taught import measure_taught, require_comparable
from wav_models.networks.autoencoder import Autoencoder, make_autoencoder
from wav_models.networks.random_weights import random_model
from wav_models.networks.text_encoder import make_text_encoder
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY, ModelConfig
from wav_policy.robot.joints import ROBOT

PLANNER = PlannerConfig(
    num_video_samples=3,
    num_value_samples=2,
    num_video_elites=1,
    num_value_elites=1,
    num_value_steps=2,
    num_action_steps=1,
    score="gain",
)


@pytest.fixture(scope="module")
def reader() -> Callable[..., FutureReader]:
    rng = np.random.default_rng(0)
    chunks = rng.normal(size=(2, 5, WAV_TINY.horizon.action_horizon, 14))
    normalization = Normalization.fit(rng.normal(size=(5, 14)), *chunks, rng.normal(size=(5, 17)), ROBOT)
    text, autoencoder = make_text_encoder(WAV_TINY), make_autoencoder(WAV_TINY)

    def make(config: ModelConfig = WAV_TINY, **planner: object) -> FutureReader:
        model = random_model(config, torch.Generator().manual_seed(0))
        return FutureReader(TorchEngine(model, autoencoder, text), normalization, replace(PLANNER, **planner))

    return make


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset(record(tmp_path_factory.mktemp("taught") / "data"))


def test_who_does_the_same_agrees_and_fewer_steps_do_less(
    reader: Callable[..., FutureReader], dataset: Dataset
) -> None:
    found = measure_taught(reader(), reader(), dataset, [0], 5, 0)
    assert (found["regular"]["moments"], found["choices"]["moments"]) == (5, 1)
    for kind in found.values():
        whole = ("futures_r2", "actions_r2", "score_rank", "same_best", "captured")
        assert [kind[name] for name in whole] == pytest.approx([1.0] * 5)
        assert kind["gain_of_choice"] == kind["gain_of_best"] > 0.0
        assert kind["action_error_rad"] == 0.0 < kind["action_spread_rad"]
    assert found["choices"]["action_spread_rad"] >= found["regular"]["action_spread_rad"]
    fewer = measure_taught(reader(num_value_steps=1), reader(), dataset, [0], 5, 0)
    assert fewer["regular"]["futures_r2"] == pytest.approx(1.0)
    assert fewer["regular"]["actions_r2"] < 1.0
    assert fewer["regular"]["action_error_rad"] > 0.0
    same = ("captured_by_other_values", "gain_of_best", "action_spread_rad")
    assert [fewer["regular"][name] for name in same] == [found["regular"][name] for name in same]


def test_models_that_share_no_noise_are_not_compared() -> None:
    """Another auto-encoder has other latents: the same noise is another future."""
    autoencoder = make_autoencoder(WAV_TINY)

    def checkpoint(config: ModelConfig = WAV_TINY, autoencoder: Autoencoder = autoencoder) -> Checkpoint:
        return cast(Checkpoint, SimpleNamespace(config=config, autoencoder=autoencoder))

    other = replace(WAV_TINY, horizon=replace(WAV_TINY.horizon, value_horizon=8))
    with pytest.raises(ValueError, match="horizon is another"):
        require_comparable(checkpoint(), checkpoint(other))
    with pytest.raises(ValueError, match="auto-encoder is another"):
        require_comparable(checkpoint(), checkpoint(autoencoder=make_autoencoder(WAV_TINY)))
    given = replace(WAV_TINY, horizon=replace(WAV_TINY.horizon, given_steps=4))
    require_comparable(checkpoint(), checkpoint(given, deepcopy(autoencoder)))
