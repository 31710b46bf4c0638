"""Every hold is told once, when it begins, with who is concerned and what to do; a chunk that ends is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.control.loop_bench import Bench
from wav_models.types import ActionChunk
from wav_policy.piper.bimanual import JointReading
from wav_policy.piper.inhibits import Inhibit, Reaction


@pytest.fixture
def holds(following: Bench) -> list[tuple[str, str]]:
    told: list[tuple[str, str]] = []
    following.loop._on_hold = lambda reason, detail: told.append((reason, detail))
    return told


def into_the_table(bench: Bench) -> None:
    positions = np.tile(bench.arms.position, (16, 1))
    positions[:, 1] += np.linspace(0.0, 1.2, 16)
    bench.loop.accept(ActionChunk(positions, bench.now, 0.1))
    bench.run(1.5)


def nan(bench: Bench) -> None:
    chunk = bench.chunk(0.1)
    chunk.positions[3, 9] = np.nan
    bench.loop.accept(chunk)


def far_outside(bench: Bench) -> None:
    chunk = bench.chunk(0.1)
    chunk.positions[:, 7] = 4.0
    bench.loop.accept(chunk)


def lose_policy(bench: Bench) -> None:
    bench.loop.reject("policy lost: silent for 70 ms")


def right_arm_silent(bench: Bench) -> None:
    arms, since = bench.arms, bench.now

    def read() -> JointReading:
        return JointReading(arms.position.copy(), np.zeros(14), (bench.now, since))

    arms.read = read  # type: ignore[method-assign]


def hold(bench: Bench) -> None:
    bench.loop.hold("held by request")


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (into_the_table, ["collision: ", "table", "call piper/home"]),
        (nan, ["no_command: ", "row 3, right_joint3"]),
        (far_outside, ["implausible_command: ", "right_joint1"]),
        (lose_policy, ["no_command: policy lost"]),
        (right_arm_silent, ["stale_measurement: right arm: "]),
        (hold, ["no_command: held by request"]),
    ],
)
def test_a_hold_is_told_when_it_begins(
    following: Bench, holds: list[tuple[str, str]], cause: Callable[[Bench], None], words: list[str]
) -> None:
    cause(following)
    following.run(0.3)
    assert 1 <= len(holds) < 5, "arms that come to a halt at the table creep on"
    assert len({reason for reason, _ in holds}) == 1, holds
    assert all(word in ": ".join(holds[0]) for word in words), holds
    assert following.loop.state().holding


def test_a_chunk_that_comes_to_its_end_is_nothing_to_tell(following: Bench, holds: list[Any]) -> None:
    following.run(3.0)
    assert following.loop.state().reason == "no_command"
    assert holds == []


def test_arms_that_are_enabled_are_measured_first(following: Bench, holds: list[Any]) -> None:
    assert following.loop.engage()
    following.run(0.3)
    assert holds == []


@pytest.mark.parametrize("reaction", list(Reaction))
def test_what_is_told_of_an_arm_is_not_told_twice(following: Bench, holds: list[Any], reaction: Reaction) -> None:
    following.arms.in_the_way = Inhibit(reaction, "in the way", "left arm: in the way")
    following.run(0.5)
    following.arms.in_the_way = None
    following.run(0.5)
    assert holds == []
    assert following.told[0] == "left arm: in the way"


def test_it_is_told_again_after_it_was_over(following: Bench, holds: list[Any]) -> None:
    for _ in range(2):
        nan(following)
        following.run(0.5)
        following.loop.accept(following.chunk(0.2))
        following.run(0.3)
    assert [reason for reason, _ in holds] == ["no_command"] * 2
