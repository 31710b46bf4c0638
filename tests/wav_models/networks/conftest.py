"""Fixtures: the small model in both forms, and its inputs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from tests.wav_models.networks.small_model import Inputs, make_model
from wav_models.networks.wav_model import WAVModel


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def gradients() -> Iterator[None]:
    with torch.enable_grad():
        yield


@pytest.fixture(scope="session")
def causal_model() -> WAVModel:
    return make_model(causal=True)


@pytest.fixture(scope="session")
def bidirectional_model() -> WAVModel:
    return make_model(causal=False)


@pytest.fixture(scope="session")
def inputs() -> Inputs:
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(1, 6, dtype=torch.bool)
    mask[:, 4:] = False
    return Inputs(
        torch.randn(1, 6, 12, generator=generator),
        mask,
        torch.randn(1, 3, 2, 6, 8, generator=generator),
        torch.randn(3, 3, 3, 6, 8, generator=generator),
        torch.tensor([0.0, 0.4, 0.9]),
    )
