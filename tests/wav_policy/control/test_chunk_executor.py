"""Chunks are executed at their own times, and one follows another without a jump in position or velocity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkError, ChunkExecutor, ChunkingConfig, positions_at
from wav_policy.robot.joints import JOINT_DIM

STEP = 0.1


def make_chunk(stamp: float, seed: int = 0, num_rows: int = 16, step: float = STEP) -> ActionChunk:
    """A random walk of joint positions."""
    walk = np.random.default_rng(seed).normal(scale=0.05, size=(num_rows, JOINT_DIM)).cumsum(axis=0)
    return ActionChunk(walk, stamp, step)


def sampled(executor: ChunkExecutor, times: FloatArray) -> FloatArray:
    rows = [executor.sample(t) for t in times]
    assert all(row is not None for row in rows)
    return np.array(rows)


def test_rows_are_reached_at_their_due_times_and_past_rows_are_dropped() -> None:
    chunk = make_chunk(stamp=10.0)
    executor = ChunkExecutor(ChunkingConfig(blend_time=0.05))
    assert executor.accept(chunk, now=10.35, current=np.zeros(JOINT_DIM))
    np.testing.assert_allclose(executor.sample(10.35), np.zeros(JOINT_DIM), atol=1e-12)  # no jump from where it is
    np.testing.assert_allclose(sampled(executor, chunk.times[3:]), chunk.positions[3:], atol=1e-9)
    assert executor.stamp == 10.0
    assert executor.sample(11.6) is not None
    assert executor.sample(11.601) is None


def test_an_exhausted_chunk_gives_nothing() -> None:
    executor = ChunkExecutor()
    assert executor.sample(10.0) is None
    executor.accept(make_chunk(10.0), now=10.1)
    assert executor.sample(11.6) is not None
    assert executor.sample(11.6001) is None
    assert executor.sample(math.nan) is None
    executor.clear()
    assert executor.sample(10.5) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.02, 0.7), st.floats(0.0, 0.9), st.floats(0.02, 0.5))
def test_takeovers_are_continuous_in_position_and_velocity(seed: int, gap: float, latency: float, blend: float) -> None:
    executor = ChunkExecutor(ChunkingConfig(blend_time=blend))
    executor.accept(make_chunk(10.0, seed), now=10.1, current=np.zeros(JOINT_DIM))
    for index in (1, 2):  # the second blend may fall into the blend of the first
        now = 10.1 + index * gap
        before, speed_before = executor.sample(now), executor.sample_velocity(now)
        stamp = max(now - latency, 10.0) + index * 1e-3
        assert executor.accept(make_chunk(stamp, seed + index), now)
        np.testing.assert_allclose(executor.sample(now), before, atol=1e-9)
        np.testing.assert_allclose(executor.sample_velocity(now), speed_before, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 20))
def test_between_rows_the_path_stays_between_them_and_its_velocity_is_its_derivative(seed: int, num_rows: int) -> None:
    chunk = make_chunk(10.0, seed, num_rows)
    executor = ChunkExecutor()
    executor.accept(chunk, now=10.1)
    step = 1e-3
    times = np.arange(10.1, chunk.times[-1], step)
    path = sampled(executor, times)
    for before, after, start in zip(chunk.positions, chunk.positions[1:], chunk.times, strict=False):
        inside = path[(times >= start) & (times <= start + STEP)]
        assert (inside >= np.minimum(before, after) - 1e-9).all()
        assert (inside <= np.maximum(before, after) + 1e-9).all()
    middle = times[1:-1]
    velocity = np.array([executor.sample_velocity(t) for t in middle])
    np.testing.assert_allclose(velocity, (path[2:] - path[:-2]) / (2.0 * step), atol=0.05)
    assert np.abs(np.diff(velocity, axis=0)).max() < 0.2, "no jump of velocity at a row"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 0.5))
def test_within_a_blend_the_path_moves_as_its_velocity_says(seed: int, blend: float) -> None:
    """It is the positions that are sent to the arms: they must go on at the speed that the chunk before had."""
    executor = ChunkExecutor(ChunkingConfig(blend_time=blend))
    executor.accept(make_chunk(10.0, seed), now=10.1)
    before = executor.sample_velocity(10.5)
    executor.accept(make_chunk(10.3, seed + 1), now=10.5)
    step = 1e-5
    times = np.linspace(10.5, 10.5 + blend, 50)
    moved = (sampled(executor, times + step) - sampled(executor, times)) / step
    np.testing.assert_allclose(moved[0], before, atol=0.01)
    np.testing.assert_allclose(moved, [executor.sample_velocity(t) for t in times], atol=0.01)


def test_the_first_chunk_takes_over_from_where_the_arms_are_at_rest() -> None:
    current = np.linspace(-1.0, 1.0, JOINT_DIM)
    executor = ChunkExecutor()
    executor.accept(make_chunk(10.0), now=10.35, current=current)
    np.testing.assert_allclose(executor.sample(10.35), current, atol=1e-12)
    np.testing.assert_allclose(executor.sample(10.35 + 1e-5), current, atol=1e-6)
    np.testing.assert_allclose(executor.sample(10.2), current, atol=1e-12)


def test_after_the_blend_the_new_chunk_is_followed_exactly() -> None:
    executor = ChunkExecutor(ChunkingConfig(blend_time=0.2))
    executor.accept(make_chunk(10.0, 1), now=10.05)
    new = make_chunk(10.4, 2)
    executor.accept(new, now=10.75)
    after = new.times > 10.95
    np.testing.assert_allclose(sampled(executor, new.times[after]), new.positions[after], atol=1e-9)


def test_before_its_first_row_a_chunk_leads_there_from_the_current_target() -> None:
    executor = ChunkExecutor()
    chunk = ActionChunk(np.full((1, JOINT_DIM), 0.5), stamp=10.0, step=2.0)
    executor.accept(chunk, now=10.0, current=np.zeros(JOINT_DIM))
    np.testing.assert_allclose(executor.sample(11.0), 0.25 * np.ones(JOINT_DIM))
    np.testing.assert_allclose(executor.sample(12.0), 0.5 * np.ones(JOINT_DIM))


def test_older_and_expired_chunks_are_ignored() -> None:
    executor = ChunkExecutor()
    first = make_chunk(10.0)
    assert executor.accept(first, now=10.2)
    expected = executor.sample(10.9)
    assert not executor.accept(make_chunk(9.9, 5), now=10.3)
    assert not executor.accept(make_chunk(10.0, 5), now=10.3)
    assert not executor.accept(make_chunk(10.1, 5), now=11.7)
    np.testing.assert_array_equal(executor.sample(10.9), expected)
    executor.clear()
    assert executor.accept(make_chunk(9.9), now=10.3), "after a restart any stamp may come"


GOOD = np.zeros((4, JOINT_DIM))
NAN_ROW = np.where(np.arange(4 * JOINT_DIM).reshape(4, JOINT_DIM) == 17, np.nan, 0.0)


@pytest.mark.parametrize(
    ("positions", "stamp", "step", "message"),
    [
        (np.zeros((4, 13)), 10.0, STEP, r"shape \(4, 13\)"),
        (np.zeros((0, JOINT_DIM)), 10.0, STEP, "shape"),
        (np.zeros(JOINT_DIM), 10.0, STEP, "shape"),
        (NAN_ROW, 10.0, STEP, "row 1, left_joint4: nan"),
        (np.full((4, JOINT_DIM), 1e9), 10.0, STEP, "no joint position"),
        (np.full((4, JOINT_DIM), -1e9), 10.0, STEP, "no joint position"),
        (GOOD, 10.0, 0.0, "times do not increase"),
        (GOOD, 10.0, -0.1, "times do not increase"),
        (GOOD, 10.0, math.nan, "times do not increase"),
        (GOOD, math.inf, STEP, "times do not increase"),
        (GOOD, 11.0, STEP, "0.800 s in the future"),
    ],
)
def test_a_malformed_chunk_is_refused_and_the_one_in_force_stays(
    positions: FloatArray, stamp: float, step: float, message: str
) -> None:
    executor = ChunkExecutor()
    executor.accept(make_chunk(9.0), now=10.0)
    expected = executor.sample(10.3)
    with pytest.raises(ChunkError, match=message):
        executor.accept(ActionChunk(positions, stamp, step), now=10.2)
    np.testing.assert_array_equal(executor.sample(10.3), expected)


def test_without_a_blend_the_path_jumps_by_the_disagreement() -> None:
    executor = ChunkExecutor(ChunkingConfig(blend_time=0.0))
    assert executor.disagreement is None
    executor.accept(make_chunk(10.0, 1), now=10.05)
    before, speed_before = executor.sample(10.75), executor.sample_velocity(10.75)
    new = make_chunk(10.4, 2)
    executor.accept(new, now=10.75)
    np.testing.assert_allclose(executor.sample(10.75), positions_at(new, np.array([10.75]))[0])
    assert executor.disagreement is not None
    position, velocity = executor.disagreement
    np.testing.assert_allclose(executor.sample(10.75) + position, before)
    np.testing.assert_allclose(executor.sample_velocity(10.75) + velocity, speed_before)
    assert np.abs(position).max() > 0.01


@pytest.mark.parametrize("values", [{"blend_time": -0.1}, {"blend_time": math.inf}, {"max_future": math.nan}])
def test_impossible_configurations_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        ChunkingConfig(**values)


@pytest.mark.parametrize(("lead", "dropped"), [(0.4, True), (0.6, False)])
def test_a_first_row_due_in_less_than_half_a_step_is_not_hurried_to(lead: float, dropped: bool) -> None:
    executor = ChunkExecutor(ChunkingConfig(blend_time=0.0))
    rows = np.tile(np.array([0.1, 0.2, 0.3])[:, None], JOINT_DIM)
    chunk = ActionChunk(rows, stamp=10.0, step=STEP)
    now = chunk.times[0] - lead * STEP
    executor.accept(chunk, now=now, current=np.zeros(JOINT_DIM))
    at_first = executor.sample(chunk.times[0])
    assert at_first is not None
    assert (at_first[0] == pytest.approx(rows[0, 0])) != dropped
    np.testing.assert_allclose(sampled(executor, chunk.times[1:]), rows[1:], atol=1e-9)
