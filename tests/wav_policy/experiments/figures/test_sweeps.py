"""Swept parameters give planners that can run, and change nothing else than they must."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from wav_models.planner.config import PlannerConfig
from wav_policy.experiments.figures.sweeps import REFIT, SEARCH, with_parameter

SHIPPED = PlannerConfig(num_video_samples=4, num_value_samples=2, num_video_elites=2, num_value_elites=3)
POINTS = [(name, value) for table in (SEARCH, REFIT) for name, (_, values) in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), POINTS)
def test_a_swept_value_is_set_and_the_counts_follow(name: str, value: float) -> None:
    planner = with_parameter(SHIPPED, name, value)
    assert getattr(planner, name) == value
    changed = {key for key, number in asdict(planner).items() if number != asdict(SHIPPED)[key]}
    assert changed <= {name, "num_video_elites", "num_value_elites"}
