"""Conversions at the CAN edge."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wav_policy.piper import units

INT32 = st.integers(-(2**31), 2**31 - 1)


@given(st.lists(INT32, min_size=6, max_size=6))
def test_joint_counts_survive_the_way_there_and_back(counts: list[int]) -> None:
    assert units.millidegrees_from_radians(units.radians_from_millidegrees(counts)) == counts


@given(INT32)
def test_stroke_counts_survive(count: int) -> None:
    assert units.micrometres_from_metres(units.metres_from_micrometres(count)) == count


@given(st.integers(-1800, 1800))
def test_limit_counts_survive(count: int) -> None:
    assert units.decidegrees_from_radians(units.radians_from_decidegrees(count)) == count


@given(st.floats(-math.tau, math.tau))
def test_angles_are_rounded_to_the_nearest_count(angle: float) -> None:
    back = units.radians_from_millidegrees(units.millidegrees_from_radians([angle]))[0]
    assert abs(back - angle) <= math.radians(0.0005) * (1 + 1e-9)


def test_pi_is_exact() -> None:
    """The vendor's ROS node uses 3.14: half a turn would come out as 179909."""
    assert units.millidegrees_from_radians([math.pi, -math.pi / 2]) == [180_000, -90_000]
    np.testing.assert_allclose(units.radians_from_millidegrees([180_000]), [math.pi], rtol=1e-15)
    assert units.micrometres_from_metres(0.07) == 70_000


@given(st.integers(0, 0xFFFF))
def test_rate_limits_survive(count: int) -> None:
    assert units.counts_from_rate_limit(units.rate_limit_from_counts(count)) == count


def test_a_rate_limit_counts_hundredths() -> None:
    assert units.rate_limit_from_counts(300) == 3.0


def test_the_firmware_reads_what_the_protocol_says() -> None:
    """One number of every unit, as written in the protocol: what both ends convert alike may be wrong at both."""
    assert units.effort_counts_from_newton_metres(1.5) == 1500
    assert units.newton_metres_from_effort_counts(1500) == 1.5
    assert units.speed_counts_from_radians_per_second(-2.5) == -2500
    assert units.counts_from_rate_limit(5.0) == 500
    assert units.decidegrees_from_radians(math.radians(-150.0)) == -1500
    assert units.radians_from_decidegrees(1800) == math.pi
    assert units.metres_from_micrometres(70_000) == 0.07
