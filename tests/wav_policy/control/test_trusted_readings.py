"""One reading is not believed alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import START
from wav_models.types import FloatArray
from wav_policy.control.trusted_readings import TrustedReadings
from wav_policy.piper.bimanual import JointReading

LEFT, RIGHT = slice(0, 7), slice(7, 14)


def reading(position: FloatArray, left: float, right: float | None = None) -> JointReading:
    return JointReading(position, np.zeros(14), (left, left if right is None else right))


def damaged(joint: int) -> FloatArray:
    position = START.copy()
    position[joint] += 1.1
    return position


@pytest.fixture
def readings() -> TrustedReadings:
    return TrustedReadings(0.1)


def test_the_second_one_is_believed(readings: TrustedReadings) -> None:
    assert readings.take(reading(START, 1.0)) is None
    assert readings.take(reading(START, 1.0)) is None, "the same one again says nothing new"
    second = reading(START + 0.01, 1.005)
    assert readings.take(second) is second


@pytest.mark.parametrize("joint", [1, 6, 8, 13])
def test_a_damaged_one_is_passed_over_and_the_other_arm_is_not(readings: TrustedReadings, joint: int) -> None:
    readings.take(reading(START, 1.0))
    readings.take(reading(START, 1.005))
    taken = readings.take(reading(damaged(joint), 1.01))
    assert taken is not None
    np.testing.assert_array_equal(taken.position, START)
    assert taken.stamps == ((1.005, 1.01) if joint < 7 else (1.01, 1.005))
    readings.take(reading(START, 1.015))
    taken = readings.take(reading(START, 1.02))
    assert taken is not None
    assert taken.stamps == (1.02, 1.02)
    np.testing.assert_array_equal(taken.position, START)


@pytest.mark.parametrize("joint", [1, 8])
def test_each_arms_gripper_is_told_by_its_own_reading(readings: TrustedReadings, joint: int) -> None:
    readings.take(reading(START, 1.0))
    readings.take(reading(START, 1.005))
    taken = readings.take(replace(reading(damaged(joint), 1.01), grippers_off=(True, True)))
    assert taken is not None
    assert taken.grippers_off == (joint == 8, joint == 1)


def test_after_a_pause_it_takes_two_again(readings: TrustedReadings) -> None:
    readings.take(reading(START, 1.0))
    readings.take(reading(START, 1.005))
    elsewhere = START + 0.3
    for right in (1.5, 1.505):
        taken = readings.take(reading(np.concatenate([START[LEFT], elsewhere[RIGHT]]), 1.005, right))
        assert taken is not None
        assert taken.stamps == (1.005, 1.005 if right == 1.5 else 1.505)
    np.testing.assert_array_equal(taken.position[RIGHT], elsewhere[RIGHT])


@pytest.mark.parametrize("forget", [lambda readings: readings.forget(), lambda readings: readings.take(None)])
def test_after_a_reconnection_it_takes_two_again(readings: TrustedReadings, forget: object) -> None:
    readings.take(reading(START, 1.0))
    readings.take(reading(START, 1.005))
    forget(readings)  # type: ignore[operator]
    assert readings.take(reading(damaged(1), 1.01)) is None
    assert readings.take(reading(START, 1.015)) is None
    taken = readings.take(reading(START, 1.02))
    assert taken is not None
    np.testing.assert_array_equal(taken.position, START)


def test_a_fast_arm_is_believed(readings: TrustedReadings) -> None:
    readings.take(reading(START, 1.0))
    for tick in range(1, 20):
        moved = START + 0.02 * tick * np.array([3.0] * 6 + [0.5] + [3.0] * 6 + [0.5])
        assert readings.take(reading(moved, 1.0 + 0.02 * tick)) is not None


def test_a_joint_that_two_readings_find_elsewhere_has_jumped_once(readings: TrustedReadings) -> None:
    jumps = []
    for tick, position in enumerate([START, START, damaged(9), damaged(9), damaged(9), START, damaged(9)]):
        readings.take(reading(position, 1.0 + 0.005 * tick))
        jumps.append(np.flatnonzero(readings.jumped).tolist())
    assert jumps == [[], [], [], [9], [], [], []]


def test_what_was_found_elsewhere_after_a_pause_has_not_jumped(readings: TrustedReadings) -> None:
    elsewhere = START + 2.5 * (np.arange(14) == 1)  # farther than it can have moved meanwhile
    for stamp, position in ((1.0, START), (1.005, START), (1.2, elsewhere), (1.205, elsewhere)):
        readings.take(reading(position, stamp))
        assert not readings.jumped.any()


def test_an_arm_whose_readings_are_decoded_late_has_not_jumped(readings: TrustedReadings) -> None:
    """A reading thread that was kept from running decodes what has come meanwhile at once: stamps come too late."""
    speed = np.array([3.0, *np.zeros(13)])
    for stamp, time in ((1.0, 1.0), (1.005, 1.005), (1.09, 1.01), (1.095, 1.095), (1.1, 1.1)):
        readings.take(JointReading(START + speed * (time - 1.0), speed, (stamp, stamp)))
        assert not readings.jumped.any()


def test_a_jump_is_told_once(readings: TrustedReadings) -> None:
    for stamp, position in ((1.0, START), (1.005, START), (1.01, damaged(8)), (1.015, damaged(8))):
        readings.take(reading(position, stamp))
    assert np.flatnonzero(readings.jumped).tolist() == [8]
    for stamp in (1.015, 1.02):
        readings.take(reading(damaged(8), stamp))
        assert not readings.jumped.any()
