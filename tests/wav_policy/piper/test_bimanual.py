"""Two arms as one robot: left first, and the worse of two says how the whole stands."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wav_policy.piper.bimanual import BimanualPiper
from wav_policy.piper.feedback import ArmFeedback
from wav_policy.piper.inhibits import Inhibit, Reaction

POSITION = np.arange(14) / 10.0


class Arm:
    """One arm that says what it is told to, and keeps what it gets."""

    def __init__(self, position: Any, stamp: float) -> None:
        self.feedback = ArmFeedback(position, 10.0 * position, stamp, 100.0 * position)
        self.reason: Inhibit | None = None
        self.got: list[Any] = []
        self.probes = 0

    def read(self) -> ArmFeedback:
        return self.feedback

    @property
    def latest(self) -> ArmFeedback:
        return self.feedback

    def inhibit(self) -> Inhibit | None:
        return self.reason

    def write(self, position: Any) -> bool:
        self.got.append(position.copy())
        return True

    def probe(self) -> bool:
        self.probes += 1
        return False


@pytest.fixture
def robot() -> Any:
    """The robot and its arms; nothing is opened."""
    robot: Any = BimanualPiper("slcan", "nowhere_left", "nowhere_right")
    robot.left, robot.right = Arm(POSITION[:7], 5.0), Arm(POSITION[7:], 4.0)
    return robot


def test_a_reading_is_left_arm_first_and_as_old_as_the_older_half(robot: Any) -> None:
    reading = robot.read()
    np.testing.assert_array_equal(reading.position, POSITION)
    np.testing.assert_array_equal(reading.velocity, 10.0 * POSITION)
    np.testing.assert_array_equal(reading.effort, 100.0 * POSITION)
    assert (reading.stamps, reading.stamp) == ((5.0, 4.0), 4.0)


def test_a_reading_is_told_once_both_arms_have_told_a_new_one(robot: Any) -> None:
    """At the rate of the slower arm, also after a clock was set back."""
    told: list[Any] = []
    robot._on_reading = told.append
    for left, right in ((5.0, 4.0), (5.1, 4.0), (5.2, 4.1), (5.2, 4.2), (5.2, 4.3), (1.0, 4.3), (1.1, 0.5)):
        robot.left.feedback = ArmFeedback(POSITION[:7] + left, POSITION[:7], left, POSITION[:7])
        robot.right.feedback = ArmFeedback(POSITION[7:] + right, POSITION[7:], right, POSITION[7:])
        robot._pair()
    assert [reading.stamps for reading in told] == [(5.0, 4.0), (5.2, 4.1), (1.0, 4.3), (1.1, 0.5)]
    np.testing.assert_array_equal(told[1].position, POSITION + np.repeat([5.2, 4.1], 7))


def test_each_arm_gets_its_own_targets(robot: Any) -> None:
    assert robot.write(POSITION) == (True, True)
    np.testing.assert_array_equal(robot.left.got, [POSITION[:7]])
    np.testing.assert_array_equal(robot.right.got, [POSITION[7:]])


@pytest.mark.parametrize("mute", [(True, False), (False, True), (True, True)])
def test_a_muted_arm_gets_no_target_and_the_other_one_does(robot: Any, mute: tuple[bool, bool]) -> None:
    assert robot.write(POSITION, mute) == (not mute[0], not mute[1])
    for arm, is_muted in zip((robot.left, robot.right), mute, strict=True):
        assert (len(arm.got), arm.probes) == ((0, 1) if is_muted else (1, 0))


REACTIONS = [None, *Reaction]


@pytest.mark.parametrize("right", REACTIONS)
@pytest.mark.parametrize("left", REACTIONS)
def test_the_severer_inhibit_of_two_arms_is_acted_on(robot: Any, left: Reaction | None, right: Reaction | None) -> None:
    """An arm in emergency stop must not be masked by another one whose motor is warm, on whichever side."""
    for arm, reaction in ((robot.left, left), (robot.right, right)):
        arm.reason = None if reaction is None else Inhibit(reaction, "cause", "text")
    found = robot.inhibit()
    severest = max((reaction for reaction in (left, right) if reaction is not None), default=None)
    assert (None if found is None else found.reaction) is severest
    assert robot.inhibit() is found, "the same object while nothing changes"
