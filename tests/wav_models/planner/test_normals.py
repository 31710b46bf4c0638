"""The numbers of a round are those of the streams, whatever was drawn ahead and wherever they go."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from wav_models.planner.config import PlannerConfig
from wav_models.planner.noise import NoiseStreams
from wav_models.planner.normals import RoundNormals

SHAPES = {"video_noise_shape": (3, 2, 5, 4), "value_noise_shape": (6, 17)}
CPU, ELSEWHERE = torch.device("cpu"), torch.device("meta")


def model(device: torch.device) -> Any:
    return SimpleNamespace(device=device, **SHAPES)


@pytest.mark.parametrize("shared", [False, True])
def test_numbers_are_those_of_the_two_streams(shared: bool) -> None:
    config, streams = PlannerConfig(shared_value_noise=shared), NoiseStreams.from_seed(3)
    normals = RoundNormals(NoiseStreams.from_seed(3), config, model(CPU))
    for _ in range(2):
        video, value = normals.take()
        assert torch.equal(video, torch.randn(8, *SHAPES["video_noise_shape"], generator=streams.video))
        expected = torch.randn(1 if shared else 8, 4, *SHAPES["value_noise_shape"], generator=streams.value)
        assert torch.equal(value, expected.expand_as(value))
        assert value.shape[:2] == (8, 4)


def test_what_was_drawn_ahead_is_the_next_round_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As beside a GPU, of which only that it is not the CPU matters here."""
    sent: list[Tensor] = []
    to = Tensor.to

    def note(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        sent.append(tensor)
        return to(tensor, *arguments, **options)

    monkeypatch.setattr(Tensor, "to", note)
    streams, alike = NoiseStreams.from_seed(5), NoiseStreams.from_seed(5)
    normals = RoundNormals(streams, PlannerConfig(), model(ELSEWHERE))
    plain = RoundNormals(alike, PlannerConfig(), model(ELSEWHERE))
    for _ in range(3):
        assert normals.take()[0].device == ELSEWHERE
        normals.draw_ahead()
    assert len(sent) == 4  # one copy a round, and one ahead
    rounds = list(sent)
    sent.clear()
    for _ in range(4):
        plain.take()
    for one, other in zip(rounds, sent, strict=True):
        assert torch.equal(one, other)
    normals.put_back()
    again = NoiseStreams.from_seed(5)
    third = RoundNormals(again, PlannerConfig(), model(ELSEWHERE))
    for _ in range(3):
        third.take()
    for one, other in ((streams.video, again.video), (streams.value, again.value)):
        assert torch.equal(torch.randn(3, generator=one), torch.randn(3, generator=other))
