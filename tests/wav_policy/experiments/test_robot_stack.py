"""Trials run the robot's own stack: what reaches the simulated arms has passed executor and safety filter."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wav_models.evaluation.closed_loop import BareRobot, TrialRobot, TrialSettings, run_trial
from wav_models.presets import WAV_TINY
from wav_models.types import ActionChunk, FloatArray, Observation, Plan
from wav_policy.control.safety import SafetyDecision
from wav_policy.experiments.robot_stack import CONTROL_PERIOD, RobotStack
from wav_policy.policy.chunk_continuation import CommittedMotion

pytestmark = pytest.mark.sim

LIMIT, ACCELERATION = 3.0, 5.0  # rad/s, rad/s^2


class Jumpy:
    """Asks for joint 1 of the left arm to be `reach` further within a step; keeps what it was told to continue."""

    config = WAV_TINY
    engine: Any = SimpleNamespace(name="torch", precision="fp32")

    def __init__(self, reach: float) -> None:
        self.reach = reach
        self.committed: list[CommittedMotion | None] = []

    def reset(self) -> None:
        self.committed.clear()

    def plan(self, observation: Observation, *, seed: int = 0, committed: Any = None) -> Plan:
        self.committed.append(committed)
        rows = np.tile(observation.joint_state, (16, 1))
        rows[:, 0] += self.reach
        return Plan(ActionChunk(rows, observation.stamp, 0.1), np.zeros(16), (), "planning off", {}, seed)


class Targets:
    """The probe: what was sent to the arms."""

    def __init__(self) -> None:
        self.sent: list[FloatArray] = []

    def took_over(self, executor: Any) -> None: ...

    def ticked(self, command: FloatArray, decision: SafetyDecision, velocity: FloatArray) -> None:
        assert decision.target is not None
        self.sent.append(decision.target)


@pytest.fixture(scope="module")
def cell() -> Any:
    from wav_policy.sim.env import WavEnv

    cell = WavEnv("bowl", image_period=4)
    yield cell
    cell.close()


def test_what_a_plan_asks_for_is_limited_before_it_reaches_the_arms(cell: Any) -> None:
    probe, policy = Targets(), Jumpy(0.2)
    settings = TrialSettings(replan_steps=2, latency_steps=1, max_steps=8)
    result = run_trial(RobotStack(cell, WAV_TINY.horizon, probe=probe), policy, 3, settings)
    assert (result.steps, len(result.plan_ms), len(probe.sent)) == (8, 4, 200)
    velocity = np.diff(np.array(probe.sent)[:, 0]) / CONTROL_PERIOD
    assert 0.3 < np.abs(velocity).max() <= LIMIT + 1e-6
    assert np.abs(np.diff(velocity)).max() <= ACCELERATION * CONTROL_PERIOD + 1e-6
    assert np.ptp(np.array(probe.sent)[:25], axis=0).max() == 0.0, "nothing moves before the first chunk is due"
    first, *others = policy.committed
    assert first is None
    assert all(isinstance(motion, CommittedMotion) for motion in others), "real-time chunking, as on the robot"


def test_a_chunk_beyond_sense_is_held_on_by_the_stack_and_acted_on_by_the_bare_rows(cell: Any) -> None:
    """The two loops differ by what makes the robot safe, and by nothing a policy sees before it has moved."""

    def moved(robot: TrialRobot) -> float:
        start = robot.reset(3)[0].observation["joint_state"]
        robot.schedule(ActionChunk(np.tile(start + 3.5 * np.eye(14)[0], (16, 1)), 0.0, 0.1), 0.0)
        return float([robot.step() for _ in range(8)][-1].observation["joint_state"][0] - start[0])

    # Far outside the limits: garbage to the filter (`SafetyLimits.command_tolerance`).
    assert abs(moved(RobotStack(cell, WAV_TINY.horizon))) < 0.2 < 0.5 < moved(BareRobot(cell, 10.0))


def test_a_chunk_that_is_none_ends_the_one_before(cell: Any) -> None:
    """As on the robot: its planner is not to be trusted."""
    robot = RobotStack(cell, WAV_TINY.horizon)
    start = robot.reset(3)[0].observation["joint_state"]
    rows = start + np.linspace(0.05, 0.8, 16)[:, None] * np.eye(14)[0]
    robot.schedule(ActionChunk(rows, 0.0, 0.1), 0.0)
    before = [robot.step() for _ in range(4)][-1].observation["joint_state"][0]
    robot.schedule(ActionChunk(np.full((16, 14), np.nan), 0.4, 0.1), 0.4)
    after = [robot.step() for _ in range(8)][-1].observation["joint_state"][0]
    assert before - start[0] > 0.1
    assert after - before < 0.15, "it went on for 0.4 rad"


def test_a_model_of_another_rate_is_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match="the model steps at 30 Hz; the simulator at 10 Hz"):
        RobotStack(cell, replace(WAV_TINY.horizon, step_hz=30.0))
