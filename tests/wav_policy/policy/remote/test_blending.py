"""Chunks of servers that know no real-time chunking go on from the motion under way."""

from __future__ import annotations

import numpy as np
import pytest

from wav_policy.policy.chunk_continuation import CommittedMotion
from wav_policy.policy.remote.remote_policy import blend
from wav_policy.robot.joints import JOINT_DIM


@pytest.mark.parametrize(("overlap", "seconds"), [(30, 0.0), (40, 0.3), (15, 0.3), (45, 0.4)])
def test_blending_begins_in_the_motion_under_way_and_ends_in_the_new_one(overlap: int, seconds: float) -> None:
    positions = np.tile(0.1 * np.sin(np.arange(50) / 20.0)[:, None], (1, JOINT_DIM))
    positions[overlap:] = positions[overlap - 1]  # what a chunk that has ended is taken for
    rows = 0.1 * np.sin(np.arange(50) / 20.0)[:, None] + np.full((50, JOINT_DIM), 0.02)
    weight = np.where(np.arange(50) < overlap, 0.5, 0.0)
    blended = blend(rows, CommittedMotion(positions, weight), seconds, 50.0)
    first = round(50 * seconds)
    np.testing.assert_allclose(blended[: min(first, overlap)], positions[: min(first, overlap)], atol=1e-12)
    np.testing.assert_allclose(blended[first + 26 :], rows[first + 26 :], atol=1e-12)
    acceleration = np.abs(np.diff(blended, n=2, axis=0)).max() * 50**2
    assert acceleration < 2.0, "rad/s^2"
