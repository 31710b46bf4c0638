"""Going back in time: the same targets from the same moment have the same consequences."""

from __future__ import annotations

import numpy as np
import pytest

from wav_policy.experiments.branching_world import BranchingWorld
from wav_policy.experiments.feasibility import FeasibilityTest, draw_uniform, survival

pytestmark = pytest.mark.sim


@pytest.fixture(scope="module")
def cell() -> BranchingWorld:
    return BranchingWorld("bowl")


def test_a_restored_moment_goes_on_as_it_did(cell: BranchingWorld) -> None:
    cell.reset(5)
    rng = np.random.default_rng(0)
    actions = cell.world.joint_positions + 0.05 * rng.normal(size=(12, 14))
    for action in actions[:4]:
        cell.step(action)
    saved = cell.save()
    first = [(cell.step(action), cell.world.joint_positions) for action in actions[4:]]
    seen = cell.observe()
    for other in actions[::-1]:
        cell.step(other)
    cell.restore(saved)
    second = [(cell.step(action), cell.world.joint_positions) for action in actions[4:]]
    again = cell.observe()
    for (done, joints), (done_again, joints_again) in zip(first, second, strict=True):
        assert done == done_again
        assert np.array_equal(joints, joints_again)
    assert np.array_equal(seen["head"], again["head"])
    assert np.array_equal(seen["right_wrist"], again["right_wrist"])


def test_standing_still_is_feasible_and_leaping_is_not(cell: BranchingWorld) -> None:
    cell.reset(5)
    test, saved = FeasibilityTest(cell.world), cell.save()
    still = np.repeat(cell.world.joint_positions[None], 6, axis=0)
    assert test.feasible_steps(still) == (6, "feasible")
    cell.restore(saved)
    leap = draw_uniform(cell.world.joint_positions, 6, np.random.default_rng(0))
    assert test.feasible_steps(leap) == (0, "not reached")


def test_driving_an_arm_into_the_table_is_a_collision(cell: BranchingWorld) -> None:
    cell.reset(5)
    test = FeasibilityTest(cell.world)
    down = np.repeat(cell.world.joint_positions[None], 40, axis=0)
    down[:, 1] += np.minimum(0.05 * np.arange(1, 41), 1.2)  # the left shoulder leans forward
    count, why = test.feasible_steps(down)
    assert why == "collision"
    assert 3 < count < 40


def test_survival_counts_sequences_that_last() -> None:
    assert survival([0, 1, 3, 3], 3) == [0.75, 0.5, 0.5]
