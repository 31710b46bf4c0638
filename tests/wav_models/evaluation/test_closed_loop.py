"""Closed-loop trials with a counting environment and a policy that writes down what it was given."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.wav_models.piper import VIEWS
from wav_models.evaluation.closed_loop import (
    BareRobot,
    TrialResult,
    TrialSettings,
    image_period,
    plan_seed,
    run_trial,
)
from wav_models.evaluation.trials import PolicyWorker, run_trials, summarise
from wav_models.presets import WAV_TINY
from wav_models.types import ActionChunk, Observation, Plan


class CountingEnvironment:
    """Images show the step; success at step `goal` of a seed that is even. Offers privileged values everywhere."""

    def __init__(self, goal: int = 12) -> None:
        self.goal = goal
        self.actions: list[np.ndarray] = []

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        self.seed, self.count = seed, 0
        return self._observe(), self._info()

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self.count += 1
        return self._observe(), 0.0, False, False, self._info()

    def _observe(self) -> dict[str, Any]:
        image = np.full((80, 96, 3), self.count, dtype=np.uint8)
        views = {"head": image, "left_wrist": image + 100, "right_wrist": image + 200}
        return {**views, "joint_state": np.full(14, 0.01 * self.count), "bowl_position": np.array([7.0, 7.0, 7.0])}

    def _info(self) -> dict[str, Any]:
        return {"instruction": "go", "success": self.count >= self.goal and self.seed % 2 == 0, "bowl_position": 7.0}


def bare(environment: CountingEnvironment | None = None, goal: int = 12) -> BareRobot:
    return BareRobot(environment or CountingEnvironment(goal), 10.0)


class RecordingPolicy:
    """Chunk row i of the plan at step t holds 100 * t + i."""

    config = WAV_TINY
    engine: Any = SimpleNamespace(name="torch", precision="fp32")

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.seeds: list[int] = []
        self.resets = 0

    def plan(self, observation: Observation, *, seed: int = 0, committed: Any = None) -> Plan:
        assert committed is None
        self.observations.append(observation)
        self.seeds.append(seed)
        step = round(observation.stamp * 10)
        positions = np.repeat(100.0 * step + np.arange(16.0)[:, None], 14, axis=1)
        return Plan(ActionChunk(positions, observation.stamp, 0.1), np.zeros(16), (), "completed", {}, seed)

    def reset(self) -> None:
        self.resets += 1


def test_policy_gets_images_joints_and_instruction_and_nothing_else() -> None:
    policy = RecordingPolicy()
    run_trial(bare(), policy, 0, TrialSettings(max_steps=12))
    for observation in policy.observations:
        assert vars(observation).keys() == {"images", "joint_state", "instruction", "stamp"}
        assert observation.images.shape == (3, 2, 64, 64, 3)
        assert observation.images.dtype == np.uint8
        assert observation.joint_state.shape == (14,)
        assert observation.instruction == "go"
        assert 7.0 not in observation.joint_state


def test_memory_frames_are_those_of_the_offsets_and_repeat_before_the_start() -> None:
    policy = RecordingPolicy()
    run_trial(bare(), policy, 1, TrialSettings(max_steps=13))
    shown = [observation.images[0, :, 0, 0, 0].tolist() for observation in policy.observations]
    assert shown == [[0, 0], [0, 4], [0, 8], [4, 12]]
    assert policy.observations[3].images[2, 1, 5, 5, 0] == 212


def test_chunks_replace_each_other_every_replan_steps() -> None:
    environment = CountingEnvironment()
    run_trial(bare(environment), RecordingPolicy(), 1, TrialSettings(replan_steps=4, max_steps=10))
    assert [a[0] for a in environment.actions] == [0, 1, 2, 3, 400, 401, 402, 403, 800, 801]


def test_latency_executes_the_old_chunk_until_the_new_one_is_due() -> None:
    environment = CountingEnvironment()
    run_trial(bare(environment), RecordingPolicy(), 1, TrialSettings(replan_steps=4, latency_steps=2, max_steps=10))
    assert [a[0] for a in environment.actions] == [0, 0, 2, 3, 4, 5, 402, 403, 404, 405]
    assert environment.actions[0].tolist() == [0.0] * 14


def test_latency_beyond_the_replanning_period_is_refused() -> None:
    with pytest.raises(ValueError, match="latency_steps 5"):
        TrialSettings(replan_steps=4, latency_steps=5)


class SeldomSeen(CountingEnvironment):
    """Images are black between those that `period` lets through."""

    def __init__(self, period: int) -> None:
        super().__init__(goal=30)
        self.period = period

    def _observe(self) -> dict[str, Any]:
        seen = super()._observe()
        dark = {view: np.zeros_like(image) for view, image in seen.items() if view in VIEWS}
        return seen if self.count % self.period == 0 else {**seen, **dark}


@pytest.mark.parametrize(("replan_steps", "latency_steps", "period"), [(4, 2, 4), (6, 0, 2), (3, 1, 1)])
def test_plans_read_only_the_images_of_the_period(replan_steps: int, latency_steps: int, period: int) -> None:
    settings = TrialSettings(replan_steps, latency_steps)
    assert image_period(RecordingPolicy.config, settings) == period
    seen = []
    for environment in (CountingEnvironment(goal=30), SeldomSeen(period)):
        policy = RecordingPolicy()
        run_trial(bare(environment), policy, 0, settings)
        seen.append([o.images for o in policy.observations])
    assert len(seen[0]) > 4
    np.testing.assert_array_equal(*seen)


def test_result_counts_steps_and_plans_and_seeds_are_reproducible() -> None:
    policy = RecordingPolicy()
    result = run_trial(bare(), policy, 2, TrialSettings(max_steps=50))
    assert (result.success, result.steps, len(result.plan_ms)) == (True, 12, 3)
    assert policy.seeds == [plan_seed(2, step) for step in (0, 4, 8)]
    assert len({*policy.seeds, *(plan_seed(3, step) for step in (0, 4, 8))}) == 6, "no two plans draw the same noise"
    assert policy.resets == 1


def test_conditions_are_paired_over_worker_processes() -> None:
    policies = {"K=0": RecordingPolicy, "K=3": RecordingPolicy}
    make = partial(bare, goal=3)
    worker = partial(PolicyWorker, make, policies, TrialSettings(max_steps=5))
    results = run_trials(worker, policies, range(10, 15), num_workers=2)
    assert [trial.seed for trial in results["K=3"]] == [10, 11, 12, 13, 14]
    summary = summarise(results)
    assert summary["conditions"]["K=0"]["successes"] == 3
    assert summary["comparisons"] == [
        {
            "first": "K=0",
            "second": "K=3",
            "only_second_succeeded": 0,
            "only_first_succeeded": 0,
            "mcnemar_p": 1.0,
        }
    ]


def test_trials_that_are_done_are_not_run_again() -> None:
    known = TrialResult(11, False, 99, (1.0,))
    ran: list[int] = []
    results = run_trials(
        partial(PolicyWorker, partial(bare, goal=3), {"K=0": RecordingPolicy}, TrialSettings(max_steps=5)),
        ["K=0"],
        range(10, 13),
        num_workers=1,
        done={"K=0": {11: known, 40: known}},
        report=lambda condition, trial: ran.append(trial.seed),
    )
    assert sorted(ran) == [10, 12]
    assert [trial.seed for trial in results["K=0"]] == [10, 11, 12]
    assert results["K=0"][1] is known
