"""The mix of qualities that a run records."""

from __future__ import annotations

from collections import Counter

import pytest

from wav_models.data.episode_filter import QUALITIES
from wav_policy.recording.quality import parse_mix
from wav_policy.sim import demonstrate


def test_any_range_of_seeds_is_close_to_the_shares() -> None:
    mix = parse_mix("skilled=0.35, hesitant=0.15,recovering=0.15,failing=0.35")
    for first in (0, 777):
        counts = Counter(mix.of(seed) for seed in range(first, first + 100))
        for name, share in mix.shares.items():
            assert counts[name] == pytest.approx(100 * share, abs=3)
    assert mix.fails
    assert not parse_mix("skilled=1").fails


def test_the_simulator_knows_the_same_qualities() -> None:
    assert tuple(demonstrate.QUALITIES) == QUALITIES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skiled=1", "did you mean 'skilled'"),
        ("skilled=0.4,failing=0.4", "add up to 0.8"),
        ("skilled", "not of the form"),
        ("skilled=much", "not of the form"),
        ("skilled=1.5,failing=-0.5", "failing is -0.5"),
    ],
)
def test_a_bad_mix_is_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_mix(text)
