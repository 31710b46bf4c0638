"""What is said of plans that had no time to plan."""

from __future__ import annotations

import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from wav_models.planner.config import PlannerConfig
from wav_models.types import ActionChunk, Plan, PlanRound
from wav_policy.policy.planning_effort import EffortStatistics, PlanCost
from wav_policy.robot.joints import JOINT_DIM

PLANNER = PlannerConfig(num_iterations=3, num_video_samples=8, num_value_samples=4, deadline=0.25)


def plan(rounds: int, futures: int = 8, samples: int = 4) -> Plan:
    done = PlanRound(np.zeros(futures), np.zeros((futures, samples)), np.zeros(futures), 0.01)
    return Plan(ActionChunk(np.zeros((16, JOINT_DIM)), 0.0, 0.1), np.zeros(16), (done,) * rounds, "", {}, 0)


def after(plans: list[Plan], planner: PlannerConfig = PLANNER) -> EffortStatistics:
    statistics = EffortStatistics(planner)
    for each in plans:
        statistics.add(each)
    return statistics


@pytest.mark.parametrize(
    ("plans", "said"),
    [
        ([], "planning"),
        ([plan(3)], "planning"),
        ([plan(3), plan(3, 8, 2)], "planning less than asked: 3 of 3 rounds, 8 of 8 futures, 2 of 4 value samples"),
        ([plan(2, 4, 2)], "planning less than asked: 2 of 3 rounds, 4 of 8 futures, 2 of 4 value samples"),
        ([plan(3), plan(0)], "acting WITHOUT planning: the deadline leaves no time for a round"),
        ([plan(0), plan(3)], "planning, but 1 of the last 2 plans WITHOUT a round"),
        ([plan(0), *[plan(3)] * 9], "planning"),
    ],
)
def test_the_state_of_planning_in_words(plans: list[Plan], said: str) -> None:
    statistics = after(plans)
    assert (statistics.complaint or statistics.summary) == said


def test_counts() -> None:
    statistics = after([plan(3), plan(3, 8, 2), plan(0), plan(1, 4, 2)])
    assert statistics.values() == {
        "rounds": 1,
        "futures": 4,
        "value_samples": 2,
        "rounds_asked": 3,
        "futures_asked": 8,
        "value_samples_asked": 4,
        "rounds_mean": 7 / 4,
        "plans_shed": 3,
        "plans_without_round": 1,
        "plans": 4,
    }
    assert after([]).values() == {"plans": 0}


def test_no_more_plans_are_shed_than_made_while_they_are_counted() -> None:
    """Another thread reports."""
    statistics, bare = after([plan(0)]), plan(0)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        adding = threading.Thread(target=lambda: [statistics.add(bare) for _ in range(20_000)])
        adding.start()
        while adding.is_alive():
            values = statistics.values()
            assert values["plans_without_round"] <= values["plans"]
            assert values["plans_shed"] <= values["plans"]
    finally:
        adding.join()
        sys.setswitchinterval(interval)


def test_who_asks_for_no_planning_misses_none() -> None:
    statistics = after([plan(0)], replace(PLANNER, num_iterations=0))
    assert statistics.complaint is None
    assert statistics.summary == "planning"
    assert statistics.values()["plans_without_round"] == 0


@pytest.mark.parametrize(
    ("cost", "planner", "said"),
    [
        (PlanCost(1.0, 0.1, {(8, 4): 0.3, (4, 2): 0.15}), PLANNER, None),
        (
            PlanCost(1.0, 0.1, {(8, 4): 0.3, (4, 2): 0.16}),
            PLANNER,
            "one round of 4 futures and 2 value samples takes 260 ms",
        ),
        (PlanCost(1.0, 0.1, {(8, 4): 0.3, (4, 2): 0.16}), replace(PLANNER, deadline=None), None),
        (PlanCost(0.1, 0.1), replace(PLANNER, num_iterations=0), None),
    ],
)
def test_a_round_that_will_not_fit_is_known_before_the_first_plan(
    cost: PlanCost, planner: PlannerConfig, said: str | None
) -> None:
    shortage = cost.shortage(planner, "torch fp32")
    if said is None:
        assert shortage is None
    else:
        assert shortage is not None
        assert said in shortage
        assert "the deadline is 250 ms" in shortage
        assert "wav export --precision int8" in shortage
        assert "wav export" not in str(cost.shortage(planner, "onnxruntime int8 (...)"))
