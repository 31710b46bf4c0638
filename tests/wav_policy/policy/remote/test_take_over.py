"""0 to 500 ms of delay and jitter between observation and chunk, through the real executor and safety filter.

Time is simulated, so that the result does not depend on the machine; the messages pass through a real websocket.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.wav_policy.policy.remote.foreign_server import ForeignServer, running
from wav_models import project_files
from wav_models.configuration import load
from wav_models.types import ActionChunk, Observation
from wav_policy.control.chunk_executor import ChunkExecutor
from wav_policy.control.safety import SafetyFilter, SafetyLimits
from wav_policy.policy.chunk_continuation import ChunkContinuation
from wav_policy.policy.remote.mapping import RemoteMapping
from wav_policy.policy.remote.remote_policy import RemotePolicy
from wav_policy.robot.joints import JOINT_DIM, REVOLUTE

PERIOD = 0.005
"""Of the robot's control loop [s]."""
HOME = np.array([0.0, 1.1716, -0.6219, 0.0, 1.1084, -1.5708, 0.07, 0.0, 1.1716, -0.6219, 0.0, 1.1084, 1.5708, 0.07])
MAPPING = replace(
    load(RemoteMapping, project_files.find("config/remote_openpi.yaml")),
    image_size=(16, 16),
    scale={},
    step_hz=30.0,
    num_execute_steps=15,
)
"""Chunks of 1.7 s: they must last twice the delay, or the arms hold in between."""
MAX_STEP = 0.03
"""Change of velocity from one tick to the next at a take-over [rad/s]."""


def undecided(question: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A policy that begins where the arms are, wants to be elsewhere every time, up to 0.16 rad, and knows no delay."""
    goal = HOME + rng.uniform(-0.08, 0.08, JOINT_DIM)
    t = np.arange(1, 51)[:, None] / MAPPING.step_hz
    return {"actions": question["state"] + (goal - question["state"]) * (1.0 - np.exp(-t / 0.5))}


def velocity_steps(delay: Callable[[int], float], seconds: float) -> tuple[list[float], int]:
    """Largest change of velocity from tick to tick around every take-over [rad/s], and how many ticks were held.

    Of what the executor commands, before the safety filter, which allows no more than 0.025 rad/s whatever comes.
    """
    rng = np.random.default_rng(0)
    clock = Clock(delay)
    server = ForeignServer(lambda question: (clock.answer(), undecided(question, rng))[1])
    with running(server), closing(RemotePolicy(server.address, MAPPING, lambda: clock.now)) as policy:
        return _run(policy, clock, seconds)


class Clock:
    """Simulated time as the policy's client sees it: an answer takes what its delay is."""

    def __init__(self, delay: Callable[[int], float]) -> None:
        self.now = 0.0
        self.delay = 0.0
        self._delays = map(delay, itertools.count())

    def answer(self) -> None:
        self.delay = next(self._delays)
        self.now += self.delay


def _run(policy: RemotePolicy, clock: Clock, seconds: float) -> tuple[list[float], int]:
    executor, safety = ChunkExecutor(), SafetyFilter(SafetyLimits())
    continuation = ChunkContinuation("rtc", policy.config.horizon)
    images = np.zeros((3, 1, 16, 16, 3), np.uint8)
    target, command, velocity = HOME.copy(), HOME.copy(), np.zeros(JOINT_DIM)
    coming: tuple[float, ActionChunk] | None = None
    steps: list[float] = []
    held = window = 0
    interval, begin = MAPPING.num_execute_steps / MAPPING.step_hz, 100.0
    for tick in range(round(seconds / PERIOD)):
        now = 100.0 + tick * PERIOD
        if coming is None and now >= begin:
            observation = Observation(images, target, "fold the towel", now)
            plan = policy.plan(observation, committed=continuation.committed(now, target))
            coming = (now + clock.delay, plan.chunk)
        if coming is not None and now >= coming[0]:
            chunk, coming = continuation.finish(coming[1]), None
            continuation.took(now - chunk.stamp)
            begin = now + max(0.0, interval - continuation.latency)
            if executor.sample(now) is not None:
                steps.append(0.0)
                window = 3
            assert executor.accept(chunk, now, target)
        wanted = executor.sample(now)
        held += bool(steps and wanted is None)
        decision = safety.step(now, wanted, target, now, executor.stamp)
        assert decision.target is not None
        wanted = decision.target if wanted is None else wanted
        new_velocity = (wanted - command) / PERIOD
        if window:
            steps[-1] = max(steps[-1], float(np.abs(new_velocity - velocity)[REVOLUTE].max()))
            window -= 1
        target, command, velocity = decision.target, wanted, new_velocity
    return steps, held


@pytest.mark.parametrize("milliseconds", [0, 100, 200, 300, 400, 500])
def test_take_overs_are_smooth_whatever_the_delay(milliseconds: int) -> None:
    steps, held = velocity_steps(lambda number: 1e-3 * milliseconds, 12.0)
    assert len(steps) > 15
    assert max(steps) < MAX_STEP
    assert held == 0


@pytest.mark.parametrize("seed", range(6))
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
