"""Which rows belong to an instant: the rule of every consumer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_models.alignment import memory_rows, memory_times, newest_at
from wav_models.presets import WAV_2B, WAV_TINY, HorizonConfig


def test_nothing_newer_than_wanted_is_taken_and_nothing_older_than_needed() -> None:
    stamps = np.array([1.0, 1.1, 1.5])
    assert newest_at(stamps, [0.9, 1.0, 1.09, 1.1, 1.3, 9.0]).tolist() == [-1, 0, 0, 1, 1, 2]
    assert newest_at(stamps, 1.5 - 2e-7) == 2, "a stamp rounded by its driver is the same instant"
    assert newest_at([], [1.0]).tolist() == [-1]


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=40, unique=True), st.floats(-1.0, 6.0))
def test_newest_is_what_a_search_by_hand_finds(stamps: list[float], wanted: float) -> None:
    stamps.sort()
    older = [row for row, stamp in enumerate(stamps) if stamp <= wanted + 1e-4]
    assert newest_at(stamps, wanted) == (older[-1] if older else -1)


def test_before_an_episode_its_first_row_stands_in() -> None:
    assert memory_rows(40, WAV_TINY.horizon).tolist() == [32, 40]
    assert memory_rows([3, 20], WAV_TINY.horizon, first=[0, 18]).tolist() == [[0, 3], [18, 20]]
    assert memory_rows(60, WAV_TINY.horizon, stride=3).tolist() == [36, 60]


@pytest.mark.parametrize("horizon", [WAV_TINY.horizon, WAV_2B.horizon])
def test_rows_of_even_steps_are_the_rows_at_the_times(horizon: HorizonConfig) -> None:
    stamps = 1.8e9 + np.arange(90) / horizon.step_hz
    for row in range(90):
        by_time = np.maximum(newest_at(stamps, memory_times(float(stamps[row]), horizon)), 0)
        np.testing.assert_array_equal(by_time, memory_rows(row, horizon))
