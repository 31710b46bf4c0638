"""0 to 500 ms of delay and jitter between observation and chunk, through the real executor and safety filter.

Time is simulated, so that the result does not depend on the machine; the messages pass through a real websocket.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.policy.remote.foreign_server import ForeignServer, running
from wav_models.configuration import load
from wav_models.types import ActionChunk, Observation
from wav_policy.bringup import paths
from wav_policy.control.chunk_executor import ChunkExecutor
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.policy.chunk_continuation import ChunkContinuation
from wav_policy.policy.remote.mapping import RemoteMapping
from wav_policy.policy.remote.remote_policy import RemotePolicy
from wav_policy.robot.joints import JOINT_DIM, REVOLUTE

PERIOD = 0.005
"""Of the robot's control loop [s]."""
HOME = np.array([0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07, 0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07])
MAPPING = replace(load(RemoteMapping, paths.find("config/remote_openpi.yaml")), image_size=(16, 16), scale={})
MAX_STEP = 0.03
"""Change of velocity from one tick to the next at a take-over [rad/s]."""


def undecided(question: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A policy that begins where the arms are, wants to be elsewhere every time, and knows nothing of its own delay."""
    goal = HOME + rng.uniform(-0.15, 0.15, JOINT_DIM)
    t = 0.02 * np.arange(1, 51)[:, None]
    return {"actions": question["state"] + (goal - question["state"]) * (1.0 - np.exp(-t / 0.5))}


def velocity_steps(delay: Callable[[int], float], seconds: float) -> tuple[list[float], int]:
    """Largest change of the arms' target velocity around every take-over [rad/s], and how many ticks were held."""
    rng = np.random.default_rng(0)
    server = ForeignServer(lambda question: undecided(question, rng))
    with running(server), closing(RemotePolicy(server.address, MAPPING)) as policy:
        return _run(policy, delay, seconds)


def _run(policy: RemotePolicy, delay: Callable[[int], float], seconds: float) -> tuple[list[float], int]:
    executor, safety = ChunkExecutor(), SafetyFilter(SafetyLimits())
    continuation = ChunkContinuation("rtc", policy.config.horizon)
    images = np.zeros((3, 1, 16, 16, 3), np.uint8)
    target, velocity = HOME.copy(), np.zeros(JOINT_DIM)
    coming: tuple[float, ActionChunk] | None = None
    steps: list[float] = []
    held = number = 0
    window = 0
    for tick in range(round(seconds / PERIOD)):
        now = 100.0 + tick * PERIOD
        if coming is not None and now >= coming[0]:
            _, chunk = coming
            chunk = continuation.finish(chunk)
            continuation.took(now - chunk.stamp)
            is_take_over = executor.sample(now) is not None
            assert executor.accept(chunk, now, target)
            coming = None
            if is_take_over:
                steps.append(0.0)
                window = 3
        if coming is None:
            observation = Observation(images, target, "fold the towel", now)
            plan = policy.plan(observation, committed=continuation.committed(now, target))
            coming = (now + max(delay(number), 0.1), plan.chunk)
            number += 1
        decision = safety.step(now, executor.sample(now), target, now, executor.stamp)
        held += bool(tick > 200 and executor.sample(now) is None)
        assert decision.target is not None
        new_velocity = (decision.target - target) / PERIOD
        if window:
            steps[-1] = max(steps[-1], float(np.abs(new_velocity - velocity)[REVOLUTE].max()))
            window -= 1
        target, velocity = decision.target, new_velocity
    return steps, held


@pytest.mark.parametrize("milliseconds", [0, 100, 200, 300, 400, 500])
def test_take_overs_are_smooth_whatever_the_delay(milliseconds: int) -> None:
    steps, held = velocity_steps(lambda number: 1e-3 * milliseconds, 12.0)
    assert len(steps) > 15
    assert max(steps) < MAX_STEP
    assert held == 0


@pytest.mark.parametrize("seed", range(3))
def test_take_overs_are_smooth_with_jitter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, held = velocity_steps(lambda number: float(rng.uniform(0.0, 0.5)), 20.0)
    assert len(steps) > 40
    assert max(steps) < MAX_STEP
    assert held == 0


def test_a_slow_first_answer_is_no_jump() -> None:
    """LeRobot #4223: 0.7 s for the first inference, then 0.3 s."""
    steps, held = velocity_steps(lambda number: 0.7 if number == 0 else 0.3, 12.0)
    assert max(steps) < MAX_STEP
    assert held == 0
    assert not math.isnan(steps[0])
