from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_models.data.samples import due_rows, frames_per_step, step_actions, window
from wav_models.embodiments import BIMANUAL_PIPER, LIBERO_PANDA
from wav_models.presets import WAV_2B, WAV_TINY


def test_window_in_the_middle() -> None:
    sample = window(100, 40, WAV_TINY.horizon)
    assert sample.memory.tolist() == [32, 40]
    assert sample.future.tolist() == [48, 56]
    assert sample.actions.tolist() == list(range(40, 56))
    assert sample.states.tolist() == sample.values.tolist() == list(range(41, 57))


def test_window_is_clamped_at_both_ends() -> None:
    first, last = window(20, 3, WAV_TINY.horizon), window(20, 19, WAV_TINY.horizon)
    assert first.memory.tolist() == [0, 3]
    assert last.future.tolist() == [19, 19]
    assert last.actions.tolist() == last.values.tolist() == [19] * 16


def test_stride_spreads_steps_over_faster_recordings() -> None:
    sample = window(300, 120, WAV_TINY.horizon, stride=frames_per_step(30, 10.0))
    assert sample.memory.tolist() == [96, 120]
    assert sample.actions[:3].tolist() == [122, 125, 128], "the commands due at frames 123, 126 and 129"
    assert due_rows(8, 3).tolist() == [2, 5, 7]
    with pytest.raises(ValueError, match="25 Hz cannot be stepped at 10"):
        frames_per_step(25, 10.0)


@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_held_commands_move_as_far_as_those_that_were_recorded(length: int) -> None:
    deltas = np.random.default_rng(0).uniform(-1, 1, size=(length, 7))
    steps = step_actions(deltas, 2, LIBERO_PANDA)
    held = np.repeat(steps, 2, axis=0)[:length]
    np.testing.assert_allclose(held[:, :6].sum(axis=0), deltas[:, :6].sum(axis=0))
    np.testing.assert_array_equal(steps[:, 6], deltas[due_rows(length, 2), 6], "a gripper is open or closed, not half")
    np.testing.assert_array_equal(step_actions(deltas, 1, LIBERO_PANDA), deltas)
    targets = np.random.default_rng(1).normal(size=(length, 14))
    np.testing.assert_array_equal(step_actions(targets, 2, BIMANUAL_PIPER), targets[due_rows(length, 2)])


@given(length=st.integers(1, 200), data=st.data())
def test_every_index_is_in_the_episode_and_ordered(length: int, data: st.DataObject) -> None:
    t = data.draw(st.integers(0, length - 1))
    sample = window(length, t, WAV_2B.horizon)
    for indices in (sample.memory, sample.future, sample.actions, sample.states, sample.values):
        assert indices.min() >= 0
        assert indices.max() < length
        assert (np.diff(indices) >= 0).all()
    assert sample.memory[-1] == t == sample.actions[0]
