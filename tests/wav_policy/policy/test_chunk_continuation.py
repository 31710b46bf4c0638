"""What is decided of the next chunk: latency, soft mask, alignment in time, averages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_models.presets import WAV_TINY
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkExecutor, positions_at
from wav_policy.policy.chunk_continuation import AGE_DECAY, ChunkContinuation, soft_mask
from wav_policy.robot.joints import JOINT_DIM

HORIZON = WAV_TINY.horizon
ROWS = HORIZON.action_horizon
STEP = 1.0 / HORIZON.step_hz


def ramp(stamp: float, speed: float = 0.3, offset: float = 0.0) -> ActionChunk:
    """All joints move evenly in absolute time, so chunks of any stamp agree."""
    times = stamp + STEP * np.arange(1, ROWS + 1)
    return ActionChunk(np.repeat((offset + speed * times)[:, None], JOINT_DIM, axis=1), stamp, STEP)


def at(stamp: float) -> FloatArray:
    """Where arms are that follow `ramp`."""
    return np.full(JOINT_DIM, 0.3 * stamp)


def test_mask_is_that_of_the_paper() -> None:
    """H = 10, d = 3, H - s = 7: 1 up to row 2, then c (e^c - 1) / (e - 1) with c = (7 - i) / 5, then 0."""
    mask = soft_mask(10, 3, 7)
    c = np.array([4.0, 3.0, 2.0, 1.0]) / 5.0
    np.testing.assert_allclose(mask[3:7], c * (np.exp(c) - 1.0) / (math.e - 1.0))
    np.testing.assert_array_equal(mask[:3], 1.0)
    np.testing.assert_array_equal(mask[7:], 0.0)


@given(st.integers(1, 60), st.data())
def test_mask_falls_from_one_to_zero(num_rows: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, num_rows))
    frozen = data.draw(st.integers(0, num_rows + 5))
    mask = soft_mask(num_rows, frozen, overlap)
    assert (np.diff(mask) <= 0.0).all()
    assert (mask[: min(frozen, overlap)] == 1.0).all()
    assert (mask[min(frozen, overlap) : overlap] < 1.0).all()
    assert (mask[:overlap] > 0.0).all()
    assert (mask[overlap:] == 0.0).all()


def test_frozen_rows_follow_recent_latencies_and_forget_the_warm_up() -> None:
    continuation = ChunkContinuation("rtc", HORIZON)
    assert (continuation.latency, continuation.num_frozen) == (0.0, 0)
    continuation.took(5.0)
    assert continuation.num_frozen == ROWS
    for _ in range(25):
        continuation.took(0.13)
    assert continuation.latency == pytest.approx(0.13)
    assert continuation.num_frozen == 2, "the row under way at the take-over is frozen too"
    continuation.reset()
    assert continuation.num_frozen == 2, "latency outlives an episode"
    for _ in range(2):
        continuation.took(0.95)  # two slow plans in twenty: nine of ten are faster
    assert continuation.latency < 0.9
    continuation.took(0.95)  # a third one is more than one in ten
    assert continuation.latency == pytest.approx(0.95)


@pytest.mark.parametrize(("latency", "num_frozen"), [(0.0, 0), (STEP, 1), (3 * STEP, 3), (3.1 * STEP, 4)])
def test_a_row_that_is_due_when_the_next_chunk_takes_over_is_the_last_frozen_one(
    latency: float, num_frozen: int
) -> None:
    """However the latency is rounded."""
    for error in (-1e-9, 1e-9):
        continuation = ChunkContinuation("rtc", HORIZON)
        continuation.took(latency + error)
        assert continuation.num_frozen == num_frozen


def test_committed_motion_is_the_previous_chunk_at_the_new_rows_times() -> None:
    continuation = ChunkContinuation("rtc", HORIZON)
    assert continuation.committed(10.0, at(10.0)) is None
    continuation.finish(ramp(10.0))
    for _ in range(3):
        continuation.took(0.15)
    committed = continuation.committed(10.33, at(10.33))
    assert committed is not None
    due = 10.33 + STEP * np.arange(1, ROWS + 1)
    inside = due <= 11.6 + 1e-9
    np.testing.assert_allclose(committed.positions[inside, 4], 0.3 * due[inside], atol=1e-9)
    np.testing.assert_allclose(committed.positions[~inside, 4], 0.3 * 11.6)
    np.testing.assert_array_equal(committed.weight, soft_mask(ROWS, 2, int(inside.sum())))
    assert continuation.committed(10.0, at(10.0)) is None, "nothing is planned from the past"
    assert continuation.committed(11.55, at(11.55)) is None, "no row of the previous chunk is left"
    continuation.reset()
    assert continuation.committed(10.33, at(10.33)) is None


def test_arms_that_do_not_follow_are_not_run_away_from() -> None:
    """Stopped arms: every plan would continue the one before, and be farther away when they are enabled again."""
    continuation = ChunkContinuation("rtc", HORIZON)
    continuation.finish(ramp(10.0))
    lagging = at(10.3) - 0.1
    lagging[6] = 0.0  # a gripper that holds something
    assert continuation.committed(10.3, lagging) is not None
    for distance in (-0.3, 0.3):
        stopped = at(10.3)
        stopped[9] += distance
        assert continuation.committed(10.3, stopped) is None
    stopped[9] = math.nan
    assert continuation.committed(10.3, stopped) is None


def test_average_weighs_all_chunks_that_reach_a_row() -> None:
    continuation = ChunkContinuation("average", HORIZON)
    assert continuation.committed(10.0, at(10.0)) is None
    continuation.finish(ramp(10.0, offset=0.0))
    continuation.finish(ramp(10.2, offset=0.3))
    averaged = continuation.finish(ramp(10.4, offset=0.6))
    weights = np.exp(-AGE_DECAY * np.arange(3))
    middle = np.average([0.0, 0.3, 0.6], weights=weights)
    np.testing.assert_allclose(averaged.positions[3], middle + 0.3 * averaged.times[3])
    np.testing.assert_allclose(averaged.positions[-1], 0.6 + 0.3 * averaged.times[-1])  # nobody else looks so far
    last_of_all = int(np.argmin(np.abs(averaged.times - ramp(10.0).times[-1])))
    np.testing.assert_allclose(averaged.positions[last_of_all], middle + 0.3 * averaged.times[last_of_all])
    later = continuation.finish(ramp(13.0, offset=2.0))
    np.testing.assert_allclose(later.positions, ramp(13.0, offset=2.0).positions)


def test_naive_leaves_chunks_alone() -> None:
    continuation = ChunkContinuation("naive", HORIZON)
    chunk = ramp(10.0)
    assert continuation.finish(chunk) is chunk
    assert continuation.committed(10.2, at(10.2)) is None


def test_positions_are_those_the_executor_runs() -> None:
    rng = np.random.default_rng(0)
    chunk = ActionChunk(rng.normal(scale=0.1, size=(ROWS, JOINT_DIM)).cumsum(axis=0), 10.0, STEP)
    executor = ChunkExecutor()
    executor.accept(chunk, now=10.1)
    times: FloatArray = np.linspace(10.1, 11.6, 77, dtype=np.float64)
    np.testing.assert_allclose(positions_at(chunk, times), np.array([executor.sample(t) for t in times]), atol=1e-12)
    single = ActionChunk(chunk.positions[:1], 10.0, STEP)
    np.testing.assert_array_equal(positions_at(single, times), np.repeat(chunk.positions[:1], 77, axis=0))


def test_unknown_continuation_is_named() -> None:
    with pytest.raises(ValueError, match="unknown continuation 'rct'.*rtc"):
        ChunkContinuation("rct", HORIZON)
