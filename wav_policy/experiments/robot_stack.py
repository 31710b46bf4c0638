"""The robot's own stack in the simulator: chunk continuation, chunk executor and safety filter at control rate.

The simulation waits for every plan, then lets its chunk take over when it is due, so that what comes of a trial does
not depend on the machine.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from wav_models.evaluation.closed_loop import Seen
from wav_models.presets import HorizonConfig
from wav_models.types import ActionChunk, FloatArray
from wav_policy.control.chunk_executor import ChunkError, ChunkExecutor, ChunkingConfig
from wav_policy.control.collision import make_checker
from wav_policy.control.safety import SafetyDecision, SafetyFilter, SafetyLimits
from wav_policy.policy.chunk_continuation import ChunkContinuation, CommittedMotion
from wav_policy.sim.operator import ACTION_PERIOD

if TYPE_CHECKING:
    from wav_policy.sim.env import WavEnv

CONTROL_PERIOD: Final = 0.004
"""One physics step, so that velocities are sampled evenly [s]; the robot's own loop takes 5 ms."""
_TICKS_PER_STEP: Final = round(ACTION_PERIOD / CONTROL_PERIOD)
_EPS: Final = 1e-9  # s


@dataclass(frozen=True)
class StackConfig:
    """The stack as `config/` has it for the robot.

    Attributes:
        continuation: method of the `ChunkContinuation`.
        chunking: of the executor.
        limits: of the safety filter and its collision check.
    """

    continuation: str = "rtc"
    chunking: ChunkingConfig = field(default_factory=ChunkingConfig)
    limits: SafetyLimits = field(default_factory=SafetyLimits)


class Probe(Protocol):
    """Looks on while a `RobotStack` runs."""

    def took_over(self, executor: ChunkExecutor) -> None:
        """A chunk has taken over from another one."""

    def ticked(self, command: FloatArray, decision: SafetyDecision, velocity: FloatArray) -> None:
        """A control period is over: what was commanded [14], what the filter made of it, measured velocity [14]."""


class RobotStack:
    """A `TrialRobot`: chunks reach the arms of a `WavEnv` as they do on the robot.

    Args:
        environment: a `WavEnv`, maybe in wrappers; its steps are those of the model.
        horizon: of the model.
        config: of the stack.
        probe: looks on.
    """

    def __init__(
        self, environment: Any, horizon: HorizonConfig, config: StackConfig | None = None, probe: Probe | None = None
    ) -> None:
        if round(horizon.step_hz * ACTION_PERIOD, 6) != 1.0:
            raise ValueError(f"the model steps at {horizon.step_hz:g} Hz; the simulator at {1.0 / ACTION_PERIOD:g} Hz")
        self._config = config or StackConfig()
        self._environment, self._horizon, self._probe = environment, horizon, probe
        self._cell: WavEnv = environment.unwrapped
        self._checker = make_checker(self._config.limits)

    def reset(self, seed: int) -> tuple[Seen, str]:
        """Lay out an episode; the arms hold until the first chunk."""
        observation, info = self._environment.reset(seed=seed)
        self._continuation = ChunkContinuation(self._config.continuation, self._horizon)
        self._executor = ChunkExecutor(self._config.chunking)
        self._safety = SafetyFilter(self._config.limits, self._checker)
        self._waiting: deque[tuple[float, ActionChunk]] = deque()
        self._target: FloatArray = self._cell.world.joint_positions
        self._tick = 0
        return Seen(observation, bool(info["success"]), False), str(info["instruction"])

    def committed(self, stamp: float, joint_state: FloatArray) -> CommittedMotion | None:
        """What the chunk in force has decided of the next one."""
        return self._continuation.committed(stamp, joint_state)

    def schedule(self, chunk: ActionChunk, due: float) -> None:
        """Let a chunk, finished as `policy_node` does, take over at `due` [s]."""
        self._waiting.append((due, self._continuation.finish(chunk)))
        self._continuation.took(due - chunk.stamp)

    def step(self) -> Seen:
        """0.1 s at control rate."""
        for _ in range(_TICKS_PER_STEP):
            self._control(self._tick * CONTROL_PERIOD)
            self._tick += 1
        observation, _, terminated, truncated, info = self._cell.finish_step()
        return Seen(observation, bool(info["success"]), terminated or truncated)

    def _control(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] <= now + _EPS:
            self._take_over(self._waiting.popleft()[1], now)
        world = self._cell.world
        command = self._executor.sample(now)
        decision = self._safety.step(now, command, world.joint_positions, now, self._executor.stamp)
        assert decision.target is not None
        self._target = decision.target
        world.set_targets(self._target, CONTROL_PERIOD)
        world.step(CONTROL_PERIOD)
        if self._probe is not None:
            self._probe.ticked(self._target if command is None else command, decision, world.joint_velocities)

    def _take_over(self, chunk: ActionChunk, now: float) -> None:
        is_takeover = self._executor.stamp is not None
        try:
            self._executor.accept(chunk, now, self._target)
        except ChunkError:  # as the control loop does: hold until a good chunk comes
            self._executor.clear()
            return
        if is_takeover and self._probe is not None:
            self._probe.took_over(self._executor)
