"""What take-overs do to the motion: jumps between chunks and jerk, measured while the robot's own stack runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from wav_models.evaluation import closed_loop
from wav_models.evaluation.closed_loop import TrialPolicy, TrialSettings
from wav_models.types import FloatArray
from wav_policy.control.chunk_executor import ChunkExecutor, ChunkingConfig
from wav_policy.control.safety import Cause, SafetyDecision
from wav_policy.experiments.robot_stack import CONTROL_PERIOD, RobotStack, StackConfig
from wav_policy.robot.joints import REVOLUTE
from wav_policy.sim.operator import ACTION_PERIOD

TAKEOVER_WINDOW: Final = 0.1
"""Time after a take-over that counts as part of it [s]."""
_LIMITED: Final = (Cause.VELOCITY_LIMIT, Cause.ACCELERATION_LIMIT)
"""Without the grippers, whose unit is another."""


@dataclass(frozen=True)
class ContinuationCondition:
    """What is compared.

    Attributes:
        name: for tables.
        method: name of the `ChunkContinuation`.
        blend_time: of the executor [s]; 0 = switch at once.
        latency: from observation to take-over [s].
    """

    name: str
    method: str
    blend_time: float
    latency: float


@dataclass(frozen=True)
class ContinuationTrial:
    """What came of one episode. Every entry of the tuples is one take-over, the largest value over the 12 arm joints.

    Attributes:
        seed: of the episode.
        success: within the time allowed.
        seconds: until success or the end of the time allowed.
        position_jump: of the paths of old and new chunk, before any fade [rad].
        velocity_jump: the same of their velocities [rad/s].
        command_step: largest change of the executor's velocity from one tick to the next [rad/s].
        takeover_jerk: largest jerk of the measured joints within `TAKEOVER_WINDOW` [rad/s^3].
        jerk_rms: of the measured joints, root mean square over joints and the whole episode [rad/s^3].
        limited: share of ticks in which the safety filter limited velocity or acceleration.
    """

    seed: int
    success: bool
    seconds: float
    position_jump: tuple[float, ...]
    velocity_jump: tuple[float, ...]
    command_step: tuple[float, ...]
    takeover_jerk: tuple[float, ...]
    jerk_rms: float
    limited: float


def run_trial(
    environment: Any,
    policy: TrialPolicy,
    seed: int,
    condition: ContinuationCondition,
    *,
    replan_interval: float,
    max_seconds: float,
) -> ContinuationTrial:
    """One episode.

    Args:
        environment: a `WavEnv`; is reset to `seed`.
        policy: is reset.
        seed: of the layout; every plan's seed follows from it and its step.
        condition: how a chunk continues the one before, and when they come.
        replan_interval: time between plans [s], where the latency allows it; whole steps of 0.1 s.
        max_seconds: time allowed [s].
    """
    probe = _Motion()
    stack = StackConfig(condition.method, ChunkingConfig(blend_time=condition.blend_time))
    latency = condition.latency / ACTION_PERIOD
    replan_steps = max(1, math.ceil(max(latency, replan_interval / ACTION_PERIOD) - 1e-6))
    settings = TrialSettings(replan_steps, min(latency, replan_steps), round(max_seconds / ACTION_PERIOD))
    robot = RobotStack(environment, policy.config.horizon, stack, probe)
    trial = closed_loop.run_trial(robot, policy, seed, settings)
    return probe.result(seed, success=trial.success)


class _Motion:
    """The `Probe` of a trial."""

    def __init__(self) -> None:
        self._commands: list[FloatArray] = []
        self._velocities: list[FloatArray] = []
        self._takeovers: list[int] = []
        self._jumps: list[tuple[float, float]] = []
        self._num_limited = 0

    def took_over(self, executor: ChunkExecutor) -> None:
        assert executor.disagreement is not None
        position, velocity = (float(np.abs(x[REVOLUTE]).max()) for x in executor.disagreement)
        self._takeovers.append(len(self._commands))
        self._jumps.append((position, velocity))

    def ticked(self, command: FloatArray, decision: SafetyDecision, velocity: FloatArray) -> None:
        self._num_limited += any(found.cause in _LIMITED for found in decision.interventions)
        self._commands.append(command)
        self._velocities.append(velocity)

    def result(self, seed: int, *, success: bool) -> ContinuationTrial:
        """What was recorded."""
        commands = np.array(self._commands)[:, REVOLUTE]
        steps = np.abs(np.diff(commands, n=2, axis=0)).max(axis=1) / CONTROL_PERIOD
        jerk = np.diff(np.array(self._velocities)[:, REVOLUTE], n=2, axis=0) / CONTROL_PERIOD**2
        window = round(TAKEOVER_WINDOW / CONTROL_PERIOD)
        takeovers = [tick for tick in self._takeovers if tick + 2 < len(commands)]
        return ContinuationTrial(
            seed=seed,
            success=success,
            seconds=len(commands) * CONTROL_PERIOD,
            position_jump=tuple(jump[0] for jump in self._jumps),
            velocity_jump=tuple(jump[1] for jump in self._jumps),
            command_step=tuple(float(steps[tick - 2 : tick + 2].max()) for tick in takeovers),
            takeover_jerk=tuple(float(np.abs(jerk[tick - 1 : tick + window]).max()) for tick in takeovers),
            jerk_rms=float(np.sqrt(np.mean(jerk**2))),
            limited=self._num_limited / len(commands),
        )
