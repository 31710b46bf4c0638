"""Which instruction was said last, with clocks that are set and messages that were kept."""

from __future__ import annotations

import pytest

pytest.importorskip("rclpy")

from wav_policy.nodes.messages.instruction_topic import Succession

SECOND = 1_000_000_000
NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize("step", [-3600, -1, 0, 1, 3600])
def test_what_is_said_now_is_the_last_word_after_a_clock_was_set(step: int) -> None:
    succession = Succession()
    assert succession.is_newest(NOW, NOW + 1000)
    later = NOW + (step + 1) * SECOND
    assert succession.is_newest(later, later + 1000)


@pytest.mark.parametrize("order", [(10, 20), (20, 10)])
def test_of_what_was_kept_the_newest_counts_in_any_order(order: tuple[int, int]) -> None:
    succession = Succession()
    taken = [age for age in order if succession.is_newest(NOW - age * SECOND, NOW)]
    assert taken[-1] == 10


def test_what_was_kept_does_not_end_what_was_said_since() -> None:
    succession = Succession()
    assert succession.is_newest(NOW, NOW + 1000)
    assert not succession.is_newest(NOW - 60 * SECOND, NOW + SECOND)
