"""Goals from the gateway's words to motions of the control loop, in real time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")

from tests.wav_policy.control.loop_bench import RATE, START, PerfectArms
from tests.wav_policy.nodes.test_goal_desk import GOOD, large_goal, point, request
from wav_policy.control.control_loop import ControlLoop
from wav_policy.control.gripper_motion import GripperGoal
from wav_policy.control.safety import SafetyLimits
from wav_policy.nodes.messages.follow_joint_trajectory import goal_from_message
from wav_policy.nodes.messages.gateway_words import Cancel, Ended, Goal, HomeGoal, UnderWay, goal_parts
from wav_policy.nodes.runtime.goal_runner import Configured, GoalRunner
from wav_policy.robot.joints import GRIPPERS

HOME = START + 0.05


class Run:
    """A runner over a loop in real time."""

    def __init__(self, loop: ControlLoop | None) -> None:
        self.told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.notes: list[str] = []
        self.loop: Any = loop
        self.runner = GoalRunner(
            lambda: loop, Configured(HOME, 1.0, 1.0), lambda stamp: stamp, self.told.put, self.notes.append
        )

    def send(self, number: int, message: Any) -> None:
        self.pursue(number, goal_from_message(message))

    def pursue(self, number: int, goal: Goal) -> None:
        for part in goal_parts(number, goal):
            self.runner.hear(part)

    def ended(self) -> tuple[list[UnderWay], Ended]:
        """The next end, and what was told before."""
        before: list[UnderWay] = []
        while not isinstance(word := self.told.get(timeout=20.0), Ended):
            before.append(word)
        return before, word


@pytest.fixture
def arms() -> PerfectArms:
    return PerfectArms(time.monotonic)


@pytest.fixture
def run(arms: PerfectArms) -> Iterator[Run]:
    loop = ControlLoop(arms, RATE, SafetyLimits(max_tick=1.0, max_measurement_age=5.0))
    loop.start()
    loop.engage()
    while not arms.writes:
        time.sleep(0.005)
    run = Run(loop)
    yield run
    run.runner.close()
    loop.close()


def test_a_goal_is_followed_and_reported(run: Run, arms: PerfectArms) -> None:
    run.send(5, request(["left_joint1"], point(0.5, [0.1])))
    before, ended = run.ended()
    assert ended == Ended(5, 0, False, "")
    assert {word.number for word in before} == {5}
    assert len(before) >= 3
    assert arms.position[0] == pytest.approx(0.1, abs=1e-3)


def test_a_newer_goal_ends_the_older_and_a_cancel_the_newer(run: Run, arms: PerfectArms) -> None:
    run.send(5, request(["left_joint1"], point(20.0, [1.0])))
    run.send(6, request(["left_joint1"], point(20.0, [-1.0])))
    assert run.ended()[1] == Ended(5, -1, False, "replaced by a newer goal")
    run.runner.hear(Cancel(5, "of the older"))
    time.sleep(0.3)
    run.runner.hear(Cancel(6, "canceled"))
    before, ended = run.ended()
    assert before
    assert ended == Ended(6, 0, True, "canceled")
    run.send(7, request(["left_joint1"], point(20.0, [1.0])))
    run.runner.hear(Cancel(0, "nobody hears who cancels"))
    assert run.ended()[1] == Ended(7, -1, False, "nobody hears who cancels")
    assert run.notes[-1] == "follow_joint_trajectory ended: nobody hears who cancels"


def test_what_the_loop_refuses_is_told_and_the_one_before_goes_on(run: Run) -> None:
    run.send(5, request(["left_joint1"], point(1.5, [0.1])))
    run.send(6, request(["left_joint2"], point(1.0, [9.0])))
    ended = run.ended()[1]
    assert (ended.number, ended.code) == (6, -1)
    assert "outside its limits" in ended.text
    assert run.ended()[1] == Ended(5, 0, False, "")


def test_a_goal_of_a_gateway_that_died_in_the_middle_is_dropped(run: Run) -> None:
    first, *_ = goal_parts(5, large_goal())
    run.runner.hear(first)
    run.runner.hear(Cancel(0, "the process that listens to it is gone"))
    run.send(6, request(["left_joint1"], point(0.3, [0.05])))
    assert run.ended()[1] == Ended(6, 0, False, "")


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (goal_from_message(request(["left_joint1", "right_joint2"], point(1.0, [0.0, 1.0]))), "right_joint2"),
        (GripperGoal(13, 0.05), "right_gripper"),
    ],
)
def test_an_arm_that_is_left_out_is_not_said_to_have_moved(run: Run, goal: Goal, words: str) -> None:
    run.runner._configured = replace(run.runner._configured, absent="right")
    run.pursue(5, goal)
    assert run.ended()[1] == Ended(5, -2, False, f"{words}: the right arm is absent by configuration")
    run.pursue(6, GripperGoal(6, 0.04))
    assert run.ended()[1] == Ended(6, 0, False, "")


def test_home_and_a_gripper_come_through_and_a_motion_that_takes_too_long_is_ended(
    run: Run, arms: PerfectArms, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.pursue(5, HomeGoal())
    before, ended = run.ended()
    assert ended == Ended(5, 0, False, "")
    assert before
    np.testing.assert_allclose(arms.position, np.where(np.isin(np.arange(14), GRIPPERS), 0.07, HOME), atol=1e-4)
    monkeypatch.setattr("wav_policy.nodes.runtime.goal_runner.SETTLE_TIMEOUT", -1.0)
    run.pursue(6, GripperGoal(6, 0.01))
    assert run.ended()[1] == Ended(6, -1, False, "it took too long")


def test_what_was_heard_before_the_arms_were_held_does_not_begin(run: Run, arms: PerfectArms) -> None:
    first, *others = goal_parts(5, large_goal())
    run.runner.hear(first)
    for part in others[:-1]:
        run.runner.hear(part)
    begin = run.runner._act
    at_work, may_go_on = threading.Event(), threading.Event()

    def dawdle(word: Any, heard: float) -> None:
        at_work.set()
        may_go_on.wait(5.0)
        begin(word, heard)

    run.runner._act = dawdle  # type: ignore[method-assign]
    run.runner.hear(others[-1])
    assert at_work.wait(5.0)
    run.loop.hold("held by request")
    may_go_on.set()
    ended = run.ended()[1]
    assert (ended.number, ended.code) == (5, -1)
    assert "held, stopped or enabled while this waited" in ended.text
    run.pursue(6, GripperGoal(6, 0.04))
    assert run.ended()[1] == Ended(6, 0, False, "")


def test_without_arms_nothing_is_followed() -> None:
    run = Run(None)
    run.send(5, GOOD)
    assert run.ended()[1] == Ended(5, -1, False, "piper_node is not configured")
    run.runner.close()
    assert "goals" not in {thread.name for thread in threading.enumerate()}
