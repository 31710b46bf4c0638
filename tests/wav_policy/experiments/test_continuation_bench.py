"""The comparison of continuations runs the robot's own code in the simulator; its numbers are those of the motion."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wav_models.presets import WAV_TINY
from wav_models.types import ActionChunk, Observation, Plan
from wav_policy.cli.main import main
from wav_policy.experiments.continuation_bench import METHODS, ContinuationBenchmark, plot, summarise, table
from wav_policy.experiments.continuation_trial import ContinuationCondition, ContinuationTrial, run_trial
from wav_policy.policy.chunk_continuation import CommittedMotion

pytestmark = pytest.mark.sim

SWING = 0.1


class Undecided:
    """Joint 1 of the left arm swings to alternating sides, unless a chunk is to be continued, which it does."""

    config = WAV_TINY
    engine: Any = SimpleNamespace(name="torch", precision="fp32")

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def reset(self) -> None:
        self.stamps.clear()

    def plan(self, observation: Observation, *, seed: int = 0, committed: CommittedMotion | None = None) -> Plan:
        self.stamps.append(observation.stamp)
        rows = np.tile(observation.joint_state, (16, 1))
        if committed is None:
            rows[:, 0] += np.linspace(0.0, SWING, 16) * (-1.0) ** len(self.stamps)
        else:
            rows = committed.positions
        return Plan(ActionChunk(rows, observation.stamp, 0.1), np.zeros(16), (), "planning off", {}, seed)


@pytest.fixture(scope="module")
def cell() -> Any:
    from wav_policy.sim.env import WavEnv

    cell = WavEnv("bowl")
    yield cell
    cell.close()


def run(cell: Any, policy: Undecided, method: str, latency: float) -> ContinuationTrial:
    condition = ContinuationCondition(method, *METHODS[method], latency)
    return run_trial(cell, policy, 3, condition, replan_interval=0.2, max_seconds=1.5)


def test_chunks_come_when_due_and_jumps_are_those_of_the_method(cell: Any) -> None:
    policy = Undecided()
    trials = {method: run(cell, policy, method, 0.1) for method in METHODS}
    assert not trials["naive"].success
    np.testing.assert_allclose(policy.stamps, 0.2 * np.arange(8), atol=1e-9)
    count = 6  # eight plans, seven of them delivered, the first is no take-over
    assert {len(trial.velocity_jump) for trial in trials.values()} == {count}
    assert max(trials["rtc"].position_jump) < 1e-9
    assert np.median(trials["naive"].velocity_jump) > 0.5 * SWING
    assert max(trials["naive"].command_step) > 5.0 * max(trials["fade"].command_step)
    assert np.median(trials["average"].velocity_jump) < np.median(trials["naive"].velocity_jump)
    assert trials["rtc"].jerk_rms < trials["naive"].jerk_rms


def test_a_latency_above_the_interval_delays_the_next_plan(cell: Any) -> None:
    policy = Undecided()
    run(cell, policy, "naive", 0.5)
    np.testing.assert_allclose(policy.stamps, [0.0, 0.5, 1.0], atol=1e-9)


def test_result_becomes_table_and_picture(tmp_path: Path) -> None:
    benchmark = ContinuationBenchmark(Path("some"), latencies=(0.0, 0.3), seeds=(1, 2))
    trial = ContinuationTrial(1, True, 5.0, (0.01, 0.03), (0.1, 0.3), (0.2, 0.4), (10.0, 30.0), 3.0, 0.5)
    trials = (trial, replace(trial, seed=2, success=False, jerk_rms=4.0))
    conditions = [summarise(condition, trials) for condition in benchmark.conditions()]
    result = {"settings": {"methods": list(METHODS)}, "conditions": conditions}
    assert len(conditions) == 8
    assert conditions[0]["position_jump_p50"] == pytest.approx(0.02)
    assert conditions[0]["jerk_rms"] == pytest.approx(12.5**0.5)
    assert json.loads(json.dumps(conditions[0]))["trials"][1] == {"seed": 2, "success": False, "seconds": 5.0}
    assert "| 300 ms | rtc | 1/2 [" in table(result)
    plot(result, tmp_path / "takeovers.png")
    assert (tmp_path / "takeovers.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"methods": ("rtcc",)}, "unknown method 'rtcc'.*rtc"),
        ({"seeds": ()}, "seeds is empty"),
        ({"latencies": (-0.1,)}, "latencies is"),
        ({"num_workers": 0}, "must be positive"),
    ],
)
def test_what_cannot_run_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContinuationBenchmark(Path("some"), **values)


def test_the_command_names_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "splices", "--methods", "rtcc"]) == 2
    assert "unknown method 'rtcc'" in capsys.readouterr().err
