"""One stray stamp is never believed about a stream; several that agree are a new clock."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wav_policy.policy.stream_buffer import Capture, StampLimits, StreamBuffer, is_same_picture, staleness

LIMITS = StampLimits(max_age=1.0, max_ahead=0.1)


def filled(num: int = 60, period: float = 0.05, begin: float = 100.0) -> StreamBuffer[int]:
    buffer: StreamBuffer[int] = StreamBuffer("topic", 10.0, LIMITS)
    for number in range(num):
        offer(buffer, begin + period * number, number, begin + period * number)
    return buffer


def offer(buffer: StreamBuffer[int], stamp: float, value: int, now: float | None) -> bool:
    admitted = buffer.admits(stamp, now)
    if admitted:
        buffer.append(stamp, value)
    return admitted


def test_the_newest_capture_not_newer_is_found() -> None:
    buffer = filled()
    assert buffer.at(100.51) == Capture(100.5, 10)
    assert buffer.at(99.0) is None
    assert buffer.latest == Capture(pytest.approx(102.95), 59)  # type: ignore[comparison-overlap]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_whatever_one_stamp_says_the_rest_stays_as_it_was(stamp: float) -> None:
    buffer, now = filled(), 103.0
    times = 100.0 + 0.05 * np.arange(58)
    before = [buffer.at(time) for time in times]
    offer(buffer, stamp, -1, now)
    assert [buffer.at(time) for time in times] == before
    assert offer(buffer, 103.2, 60, 103.2)


@pytest.mark.parametrize("stamps", [(50.0, 51.0, 52.0), (50.0, 49.9, 49.8), (50.0, 50.0, 50.0), (50.0, 50.05, 40.0)])
def test_contradictions_that_do_not_agree_are_no_new_clock(stamps: tuple[float, ...]) -> None:
    buffer = filled()
    assert not any(offer(buffer, stamp, -1, None) for stamp in stamps)
    assert (buffer.newest, buffer.num_dropped) == (pytest.approx(102.95), 3)
    assert buffer.fault.startswith("stamped 5") or buffer.fault.startswith("stamped 6")


@pytest.mark.parametrize(
    ("stamp", "now", "said"),
    [
        (1.8e9, 0.0, "ROS time is 0: use_sim_time is set, and no /clock comes"),
        (0.0, 1.8e9, "its stamp is 0"),
        (12.5, 1.8e9, "stamped 12 s while it is 1800000000 s: set use_sim_time for both sides, or for neither"),
        (1.8e9, 12.5, "stamped 1800000000 s while it is 12 s: set use_sim_time for both sides, or for neither"),
        (106.0, 103.0, "stamped 3.00 s in the future: synchronise the clocks"),
        (100.0, 103.0, "stamped 3.00 s ago when it came"),
    ],
)
def test_the_remedy_is_the_one_of_that_clock(stamp: float, now: float, said: str) -> None:
    buffer: StreamBuffer[int] = StreamBuffer("topic", 10.0, LIMITS)
    assert not offer(buffer, stamp, 0, now)
    assert buffer.fault == said


@pytest.mark.parametrize("has_clock", [True, False])
def test_a_clock_that_was_set_back_is_believed_once_three_agree(has_clock: bool) -> None:
    buffer = filled()
    taken = [offer(buffer, 50.0 + 0.05 * k, k, 50.0 + 0.05 * k if has_clock else None) for k in range(6)]
    assert taken == [False, False, True, True, True, True]
    assert buffer.memory([49.0], 0.3) != [0], "the new clock's first capture is no beginning of an episode"
    assert buffer.at(50.11) == Capture(pytest.approx(50.1), 2)  # type: ignore[comparison-overlap]


def test_memory_ends_at_a_gap_and_begins_with_the_episode() -> None:
    buffer = filled(10)
    assert buffer.memory([98.0, 100.21], 0.3) == [0, 4]
    for number in range(10, 20):
        offer(buffer, 105.0 + 0.05 * number, number, 105.0 + 0.05 * number)
    assert buffer.memory([100.5, 105.55], 0.3) == [9, 11]
    assert "incomplete" in buffer.memory([103.0, 105.55], 0.3)
    buffer.clear()
    offer(buffer, 106.0, 1, 106.0)
    assert buffer.memory([105.0, 106.0], 0.3) == [1, 1]


def test_old_captures_are_forgotten() -> None:
    buffer: StreamBuffer[int] = StreamBuffer("topic", 1.0, LIMITS)
    for number in range(2000):
        offer(buffer, 0.01 * number, number, 0.01 * number)
    assert len(buffer._stamps) <= 101
    assert buffer.at(19.0) == Capture(pytest.approx(19.0), 1900)  # type: ignore[comparison-overlap]
    assert isinstance(buffer.memory([1.0], 0.3), str)


def test_staleness_says_what_is_wrong() -> None:
    assert staleness(10.0, -np.inf, 0.1) == "nothing received"
    assert staleness(10.0, 9.95, 0.1) == ""
    assert staleness(10.0, 9.0, 0.1) == "newest message is 1.00 s old, allowed 0.1 s"
    assert staleness(10.0, 10.5, 0.1) == "stamped 0.50 s in the future: synchronise the clocks"


def test_a_stream_that_repeats_itself_is_frozen_until_something_new_comes() -> None:
    buffer: StreamBuffer[int] = StreamBuffer("topic", 10.0, LIMITS, is_same=lambda before, after: before == after)
    assert buffer.frozenness(0.5) == ""
    for n, value in enumerate([1, 1, 2, 2, 2, 2, 2, 2]):
        offer(buffer, 100.0 + n / 10, value, 100.0 + n / 10)
    assert buffer.frozenness(0.51) == ""
    assert buffer.frozenness(0.49) == "frozen: the very same picture for 0.50 s"
    found = buffer.at(100.45)
    assert found is not None
    assert (found.stamp, found.first_seen) == (pytest.approx(100.4), pytest.approx(100.2))
    offer(buffer, 100.8, 3, 100.8)
    assert buffer.frozenness(0.0) == ""
    buffer.clear()
    offer(buffer, 100.9, 3, 100.9)
    assert buffer.frozenness(0.0) == "", "what was forgotten is not compared with"


def test_without_a_measure_of_sameness_nothing_is_frozen() -> None:
    buffer: StreamBuffer[int] = StreamBuffer("topic", 10.0, LIMITS)
    for n in range(20):
        offer(buffer, 100.0 + n / 10, 1, 100.0 + n / 10)
    assert buffer.frozenness(0.5) == ""


def test_pictures_are_the_same_to_the_last_bit_or_not_at_all() -> None:
    picture = np.zeros((4, 5, 3), np.uint8)
    assert is_same_picture(picture, picture.copy())
    assert not is_same_picture(picture, np.zeros((4, 6, 3), np.uint8))
    assert not is_same_picture(picture, np.zeros((5, 5, 3), np.uint8))
    other = picture.copy()
    other[3, 4, 2] = 1
    assert not is_same_picture(picture, other)
