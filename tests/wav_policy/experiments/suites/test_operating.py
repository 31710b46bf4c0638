"""What scripted operators have in common, without a suite."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np
import pytest

from wav_policy.experiments.suites.catalogue import PROCESSES, SUITES

sys.path.insert(0, str(PROCESSES))  # as in a suite's process
from operating import WAITS, Phases  # type: ignore[import-not-found]


@dataclass(frozen=True)
class Part:
    name: str
    at_least: int = 0
    at_most: int = 10


PARTS = [Part("miss"), Part("grasp", at_least=4), Part("carry", at_most=1000)]


def _phases(hesitates: bool = False, hold: int = 1, num_missed: int = 1) -> Phases[Part]:
    return Phases(PARTS, num_missed, hesitates, np.random.default_rng(0), hold)


@pytest.mark.parametrize("hold", [1, 2])
def test_a_phase_ends_on_arrival_but_not_before_its_time(hold: int) -> None:
    phases = _phases(hold=hold)
    assert phases.errs
    taken = [phases.take(lambda part: True).name for _ in range(6)]
    expected = ["grasp"] * (4 // hold) + ["carry"] * (6 - 4 // hold)
    assert taken == expected, "the first has arrived at once, the second waits for its four steps"
    assert not phases.errs


def test_a_phase_that_never_arrives_ends_when_its_time_is_over() -> None:
    phases = _phases()
    taken = [phases.take(lambda part: False).name for _ in range(25)]
    assert [taken.count(part.name) for part in PARTS] == [9, 10, 6]
    assert not phases.finished
    for _ in range(WAITS):
        phases.take(lambda part: False)
    assert phases.finished


def test_who_hesitates_pauses_between_phases_and_others_do_not() -> None:
    for hesitates in (False, True):
        paused = 0
        for seed in range(20):
            phases = Phases(PARTS, 0, hesitates, np.random.default_rng(seed), 1)
            for _ in range(30):
                phases.take(lambda part: True)
                paused += phases.pauses()
        assert (paused > 100) == hesitates


def test_every_suite_that_is_demonstrated_says_how_its_commands_are_pushed() -> None:
    demonstrated = [suite for suite in SUITES.values() if suite.has_operator]
    assert {"libero_object", "aloha_transfer_cube"} <= {suite.name for suite in demonstrated}
    for suite in demonstrated:
        pushed = [(channel.gripper, push) for channel, push in zip(suite.robot.actions, suite.pushes, strict=True)]
        assert all(push == 0.0 for gripper, push in pushed if gripper)
        assert any(push > 0.0 for _, push in pushed)
