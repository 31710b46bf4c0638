"""Looking around in episodes, with a cell on a line and a reader whose imagination is known."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.wav_models.piper import ANGLES, VIEWS
from wav_models.experiments.branching import Brancher, BranchSettings, Moment
from wav_models.experiments.diagnosis import summarise_moments
from wav_models.planner.config import PlannerConfig
from wav_models.presets import WAV_TINY
from wav_models.types import Observation

SETTINGS = BranchSettings(futures=5, value_samples=2, max_steps=60, first_plan=2, every_plans=5, choices=2)


LAST_FRAME = WAV_TINY.horizon.future_offsets[-1]


class Line:
    """One coordinate, which all joints show and all images; `stuck` keeps it where it is."""

    def __init__(self, stuck: bool = False) -> None:
        self.stuck, self.place, self.clock = stuck, 0.0, 0
        self.began: list[int] = []  # the time at which every step began

    def reset(self, seed: int) -> str:
        self.place, self.clock = 0.0, 0
        return "go"

    def step(self, action: np.ndarray) -> bool:
        if not self.stuck:
            self.place = float(action[0])
        self.began.append(self.clock)
        self.clock += 1
        return False

    def observe(self) -> dict[str, Any]:
        image = np.full((64, 64, 3), round(128 + 40 * self.place), dtype=np.uint8)
        return {**dict.fromkeys(VIEWS, image), "joint_state": np.full(14, self.place)}

    def save(self) -> tuple[float, int]:
        return self.place, self.clock

    def restore(self, saved: tuple[float, int]) -> None:
        self.place, self.clock = saved


@dataclass(frozen=True)
class Reading:
    latents: Tensor

    def select(self, index: int) -> Tensor:
        return self.latents[index]


class LineReader:
    """Imagines places around the present one, as far away as `widths` says of the time [steps]; worth is the place.

    True futures are read through noise, as a flow model reads them.
    """

    def __init__(self, widths: dict[int, float]) -> None:
        self.engine: Any = SimpleNamespace(config=WAV_TINY)
        self.planner = PlannerConfig(score="mean")
        self.widths = widths

    def video_noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.randn(count, 1, generator=generator)

    def value_noise(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.zeros(count, 16, 17)

    action_noise = value_noise

    def observe(self, seen: Observation) -> tuple[float, float]:
        return float(seen.joint_state[0]), self.widths.get(round(10 * seen.stamp), 0.01)

    def imagined(self, scene: tuple[float, float], noise: Tensor) -> Reading:
        return Reading(scene[0] + scene[1] * noise)

    def noised(self, scene: tuple[float, float], latents: Tensor, noise: Tensor) -> Reading:
        return Reading(latents + noise)

    def encode_frames(self, images: np.ndarray) -> Tensor:
        return torch.tensor([(images[0, -1].mean() - 128) / 40], dtype=torch.float32)

    def values(self, reading: Reading, value_noise: Tensor) -> np.ndarray:
        return reading.latents.double().numpy()[:, :, None] * np.ones((1, len(value_noise), 16))

    def actions(self, reading: Reading, *_: Any) -> np.ndarray:
        return np.stack([self.act(reading.select(m)) for m in range(len(reading.latents))])

    def act(self, future: Tensor, *_: Any) -> np.ndarray:
        return np.full((16, 14), float(future))

    def choose(self, scene: tuple[float, float], joint_state: Any, planner: PlannerConfig, seed: int) -> Any:
        noise = torch.tensor([float(planner.num_iterations)])
        return noise, self.act(scene[0] + scene[1] * noise)


def look(cell: Line, widths: dict[int, float], searches: dict[str, PlannerConfig] | None = None) -> list[Moment]:
    return Brancher(LineReader(widths), cell, SETTINGS, searches).episode(3)  # type: ignore[arg-type]


def test_choices_are_the_widest_moments_and_not_neighbours() -> None:
    moments = look(Line(), {8: 0.2, 20: 0.9, 24: 0.8, 52: 0.5})
    assert [m.step for m in moments if m.choice] == [20, 52]
    assert [m.step for m in moments if m.regular] == [8, 28, 48]
    assert [m.step for m in moments] == [8, 20, 28, 48, 52]


def test_every_future_is_acted_out_from_the_same_moment() -> None:
    cell = Line()
    moments = look(cell, {20: 0.9, 52: 0.5})
    acted_out = [m.step + step for m in moments for _ in range(SETTINGS.futures) for step in range(LAST_FRAME)]
    assert cell.began == [*range(SETTINGS.max_steps), *acted_out]
    for moment in moments:
        np.testing.assert_allclose(moment.outcome, moment.imagined, atol=1 / 40)  # as finely as images show it
    links = summarise_moments([m for m in moments if m.choice], ANGLES)
    assert links["concordance"] == 1.0
    assert links["gain_realised"] == pytest.approx(links["gain_promised"], rel=0.1)
    assert links["following"] == pytest.approx(1.0, abs=0.01)


def test_where_acting_changes_nothing_nothing_is_realised() -> None:
    moments = look(Line(stuck=True), {20: 0.9, 52: 0.5})
    links = summarise_moments([m for m in moments if m.choice], ANGLES)
    assert links["gain_promised"] is not None
    assert links["gain_promised"] > 0.3
    assert links["gain_realised"] == pytest.approx(0.0, abs=1e-6)
    assert links["concordance"] == 0.5


@pytest.mark.parametrize("stuck", [False, True])
def test_what_searches_choose_is_acted_out_from_the_same_moment(stuck: bool) -> None:
    """A planner of K rounds finds the future K widths away; where acting changes nothing, it realises nothing."""
    searches = {f"k{k}": PlannerConfig(num_iterations=k) for k in (0, 2)}
    cell = Line(stuck)
    every = look(cell, {20: 0.9, 52: 0.5}, searches)
    branches = SETTINGS.futures + len(searches)
    acted_out = [m.step + step for m in every for _ in range(branches) for step in range(LAST_FRAME)]
    assert cell.began == [*range(SETTINGS.max_steps), *acted_out]
    moments = [m for m in every if m.choice]
    promised, realised = np.mean([np.subtract(m.searched["k2"], m.searched["k0"]) for m in moments], axis=0)
    assert promised == pytest.approx(2 * 0.7)
    assert realised == pytest.approx(0.0 if stuck else 2 * 0.7, abs=1 / 40)


def test_one_future_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        BranchSettings(futures=1, value_samples=2, max_steps=60)


def test_plans_may_be_further_apart_than_a_chunk_is_long() -> None:
    settings = BranchSettings(2, 1, 30, first_plan=0, every_plans=1, choices=1, replan_steps=20)
    moments = Brancher(LineReader({}), Line(), settings).episode(0)  # type: ignore[arg-type]
    assert [m.step for m in moments] == [0, 20]
