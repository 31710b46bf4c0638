"""Whether one publisher speaks on a topic, or several in turn."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from wav_policy.nodes.messages.authors import REMEMBERED, Authors


def answers(numbers: Sequence[int], period: float = 0.2) -> list[bool]:
    times = (period * k for k in range(len(numbers)))
    authors = Authors(lambda: next(times))
    return [authors.are_several(number) for number in numbers]


@pytest.mark.parametrize(
    "numbers",
    [
        [1, 2, 3, 4],
        [5, 9, 10, 40],  # messages that were lost
        [7, 8, 1, 2, 3, 9],  # started again
        [7, 1, 2, 3],
    ],
)
def test_one_that_speaks_and_its_successor_are_one(numbers: list[int]) -> None:
    assert not any(answers(numbers))


@pytest.mark.parametrize(
    "numbers",
    [
        [57, 3, 58, 4],
        [3, 57, 4, 58, 5],
        [1, 1, 2, 2],  # begun at the same time
        [57, 58, 3, 59, 60, 4],
        [100, 2, 50, 3, 101, 51],  # three
    ],
)
def test_two_that_speak_in_turn_are_noticed_by_the_second_fall(numbers: list[int]) -> None:
    told = answers(numbers)
    falls = [k for k in range(1, len(numbers)) if numbers[k] <= numbers[k - 1]]
    assert told == [k >= falls[1] for k in range(len(numbers))]


def test_once_one_is_left_they_are_forgotten() -> None:
    num_more = round(REMEMBERED / 0.2)
    told = answers([57, 3, 58, 4, *range(5, 7 + num_more)])
    assert told[4]
    assert told[num_more]
    assert not told[-1]


def test_who_is_started_again_now_and_then_is_one() -> None:
    assert not any(answers([1] * 20, period=REMEMBERED + 0.1))
