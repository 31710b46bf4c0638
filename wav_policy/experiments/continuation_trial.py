"""One episode in the simulator at control rate: policy, continuation, chunk executor and safety filter as on the robot.

The simulation waits for every plan, then lets its chunk take over `latency` after the observation, so that what is
measured does not depend on the machine. The world, the policy's inputs and the seeds are those of `wav evaluate`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from wav_models.evaluation.closed_loop import ObservationHistory, plan_seed
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkError, ChunkExecutor, ChunkingConfig
from wav_policy.control.safety import Cause, SafetyFilter, SafetyLimits
from wav_policy.policy.chunk_continuation import ChunkContinuation
from wav_policy.policy.wav_policy import WAVPolicy
from wav_policy.robot.joints import REVOLUTE
from wav_policy.sim.world import World

CONTROL_PERIOD: Final = 0.004
"""One physics step, so that velocities are sampled evenly [s]; the robot's own loop takes 5 ms."""
TAKEOVER_WINDOW: Final = 0.1
"""Time after a take-over that counts as part of it [s]."""
_EPS: Final = 1e-9
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
    world: World,
    policy: WAVPolicy,
    seed: int,
    condition: ContinuationCondition,
    *,
    replan_interval: float,
    max_seconds: float,
) -> ContinuationTrial:
    """One episode.

    Args:
        world: is reset to `seed`.
        policy: is reset.
        seed: of the layout; every plan's seed follows from it and its step.
        condition: how a chunk continues the one before, and when they come.
        replan_interval: time between plans [s], where the latency allows it.
        max_seconds: time allowed [s].
    """
    episode = _Episode(world, policy, seed, condition, replan_interval)
    for tick in range(round(max_seconds / CONTROL_PERIOD)):
        if episode.advance(tick):
            return episode.result(success=True)
    return episode.result(success=False)


class _Episode:
    def __init__(
        self, world: World, policy: WAVPolicy, seed: int, condition: ContinuationCondition, replan_interval: float
    ) -> None:
        policy.reset()
        world.reset(seed)
        self._world, self._policy, self._seed = world, policy, seed
        self._latency, self._interval = condition.latency, replan_interval
        self._continuation = ChunkContinuation(condition.method, policy.config.horizon)
        self._executor = ChunkExecutor(ChunkingConfig(blend_time=condition.blend_time))
        self._safety = SafetyFilter(SafetyLimits())
        self._history = ObservationHistory(policy.config)
        self._step_ticks = round(1.0 / policy.config.horizon.step_hz / CONTROL_PERIOD)
        self._next_plan = 0.0
        self._planned: tuple[float, ActionChunk] | None = None
        self._target: FloatArray = world.joint_positions
        self._commands: list[FloatArray] = []
        self._velocities: list[FloatArray] = []
        self._takeovers: list[int] = []
        self._jumps: list[tuple[float, float]] = []
        self._num_limited = 0

    def advance(self, tick: int) -> bool:
        """One control period; whether the task is done."""
        now = tick * CONTROL_PERIOD
        self._take_over(tick, now)
        if tick % self._step_ticks == 0:
            if self._world.success():
                return True
            self._observe(tick // self._step_ticks, now)
            self._take_over(tick, now)
        command = self._executor.sample(now)
        measured = self._world.joint_positions
        decision = self._safety.step(now, command, measured, now, self._executor.stamp)
        assert decision.target is not None
        self._num_limited += any(found.cause in _LIMITED for found in decision.interventions)
        self._target = decision.target
        self._commands.append(self._target if command is None else command)
        self._world.set_targets(self._target, CONTROL_PERIOD)
        self._world.step(CONTROL_PERIOD)
        self._velocities.append(self._world.joint_velocities)
        return False

    def _observe(self, step: int, now: float) -> None:
        seen = {**self._world.render_all(), "joint_state": self._world.joint_positions}
        self._history.add(seen)
        if self._planned is not None or now < self._next_plan - _EPS:
            return
        observation = self._history.assemble(seen, self._world.instruction, now)
        committed = self._continuation.committed(now, observation.joint_state)
        plan = self._policy.plan(observation, seed=plan_seed(self._seed, step), committed=committed)
        self._planned = (now + self._latency, self._continuation.finish(plan.chunk))
        self._next_plan = now + self._interval

    def _take_over(self, tick: int, now: float) -> None:
        """The planned chunk, if it is due."""
        if self._planned is None or now < self._planned[0] - _EPS:
            return
        is_takeover = self._executor.stamp is not None
        chunk, self._planned = self._planned[1], None
        self._continuation.took(self._latency)
        try:
            self._executor.accept(chunk, now, self._target)
        except ChunkError:  # as the control loop does: hold until a good chunk comes
            self._executor.clear()
            return
        if is_takeover and self._executor.disagreement is not None:
            position, velocity = (float(np.abs(x[REVOLUTE]).max()) for x in self._executor.disagreement)
            self._takeovers.append(tick)
            self._jumps.append((position, velocity))

    def result(self, *, success: bool) -> ContinuationTrial:
        """What was recorded so far."""
        commands = np.array(self._commands)[:, REVOLUTE]
        steps = np.abs(np.diff(commands, n=2, axis=0)).max(axis=1) / CONTROL_PERIOD
        jerk = np.diff(np.array(self._velocities)[:, REVOLUTE], n=2, axis=0) / CONTROL_PERIOD**2
        window = round(TAKEOVER_WINDOW / CONTROL_PERIOD)
        takeovers = [tick for tick in self._takeovers if tick + 2 < len(commands)]
        return ContinuationTrial(
            seed=self._seed,
            success=success,
            seconds=len(commands) * CONTROL_PERIOD,
            position_jump=tuple(jump[0] for jump in self._jumps),
            velocity_jump=tuple(jump[1] for jump in self._jumps),
            command_step=tuple(float(steps[tick - 2 : tick + 2].max()) for tick in takeovers),
            takeover_jerk=tuple(float(np.abs(jerk[tick - 1 : tick + window]).max()) for tick in takeovers),
            jerk_rms=float(np.sqrt(np.mean(jerk**2))),
            limited=self._num_limited / len(commands),
        )
