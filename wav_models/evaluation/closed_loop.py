"""Closed-loop trials: the policy moves a robot in lockstep, no ROS and no clock between them.

What reaches the policy is an `Observation` built from camera images, measured joints and the instruction; nothing else
of the environment. Images are resized by the one function that training used, memory frames are sampled at the same
offsets. A chunk takes effect `latency_steps` after the observation it was planned from, while the previous chunk goes
on, as on the robot. What turns chunks into motion is the `TrialRobot`: the robot's own stack, or a `BareRobot`.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from wav_models.alignment import memory_rows
from wav_models.data.images import resize_image
from wav_models.presets import ModelConfig
from wav_models.types import ActionChunk, FloatArray, ImageArray, Observation, Plan

if TYPE_CHECKING:
    from wav_models.engines.base import Engine

_EPS = 1e-9  # s


class TrialPolicy(Protocol):
    """The part of `WAVPolicy` that trials use."""

    config: ModelConfig
    engine: Engine

    def plan(self, observation: Observation, *, seed: int = 0, committed: Any = None) -> Plan: ...

    def reset(self) -> None: ...


class Environment(Protocol):
    """The part of a Gymnasium environment that trials use; one step takes one step of the model."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]: ...


class Seen(NamedTuple):
    """What is known after a step.

    Attributes:
        observation: images by view, uint8 [H, W, 3], and "joint_state" [S] in the robot's units.
        success: the task is done.
        ended: the environment does not go on.
    """

    observation: dict[str, Any]
    success: bool
    ended: bool


class TrialRobot(Protocol):
    """A robot in its environment that carries out chunks."""

    def reset(self, seed: int) -> tuple[Seen, str]:
        """Lay out an episode: what is seen, and the instruction."""

    def committed(self, stamp: float, joint_state: FloatArray) -> Any:
        """Motion that a plan from an observation at `stamp` [s] shall continue, for `TrialPolicy.plan`; None: none."""

    def schedule(self, chunk: ActionChunk, due: float) -> None:
        """Let a chunk take over at `due` [s]."""

    def step(self) -> Seen:
        """One step of the model's rate."""


@dataclass(frozen=True)
class TrialSettings:
    """How a trial runs.

    Attributes:
        replan_steps: steps between plans.
        latency_steps: steps between an observation and the first use of its plan.
        max_steps: a trial ends without success after this many steps; None: when the environment truncates it.
    """

    replan_steps: int = 4
    latency_steps: float = 0
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.latency_steps <= self.replan_steps:
            raise ValueError(f"latency_steps {self.latency_steps} is not within 0..replan_steps ({self.replan_steps})")


@dataclass(frozen=True)
class TrialResult:
    """One episode: what came of it, what the plans cost, what ran the networks, and why it could not be played."""

    seed: int
    success: bool
    steps: int
    plan_ms: tuple[float, ...]
    engine: str = ""
    fault: str = ""


def image_period(config: ModelConfig, settings: TrialSettings) -> int:
    """Steps between the images that plans read; a trial is the same whatever those between them show."""
    return math.gcd(settings.replan_steps, *config.horizon.memory_offsets)


class ObservationHistory:
    """Images of the last steps, sampled at the memory offsets of the model."""

    def __init__(self, config: ModelConfig) -> None:
        self._size = config.latent.image_size
        self._horizon = config.horizon
        self._views = config.embodiment.view_names
        self._frames: deque[ImageArray] = deque(maxlen=1 - min(config.horizon.memory_offsets))

    def copy(self) -> ObservationHistory:
        """The same history, to be continued differently."""
        return copy.deepcopy(self)

    def add(self, observation: dict[str, Any]) -> None:
        """Keep one step's images."""
        self._frames.append(np.stack([resize_image(observation[view], self._size) for view in self._views]))

    def assemble(self, observation: dict[str, Any], instruction: str, stamp: float) -> Observation:
        """What the policy may know; before the first step the first image repeats, as in the training windows."""
        rows = memory_rows(len(self._frames) - 1, self._horizon)
        images = np.stack([self._frames[row] for row in rows], axis=1)
        return Observation(images, np.array(observation["joint_state"], dtype=np.float64), instruction, stamp)


class BareRobot:
    """Rows of a chunk are the environment's actions as they are: no continuation, interpolation or safety filter.

    Args:
        environment: moves joints to absolute targets within a step.
        step_hz: steps per second.
    """

    def __init__(self, environment: Environment, step_hz: float) -> None:
        self._environment, self._period = environment, 1.0 / step_hz

    def reset(self, seed: int) -> tuple[Seen, str]:
        """Lay out an episode; the joints stay where they are until the first chunk."""
        observation, info = self._environment.reset(seed=seed)
        self._num_steps = 0
        self._waiting: deque[tuple[float, ActionChunk]] = deque()
        stay = np.array(observation["joint_state"], dtype=np.float64)
        self._chunk = ActionChunk(stay[None], 0.0, self._period)
        return Seen(observation, bool(info["success"]), False), str(info["instruction"])

    def committed(self, stamp: float, joint_state: FloatArray) -> None:
        """Nothing: every chunk is planned as if it were the first."""

    def schedule(self, chunk: ActionChunk, due: float) -> None:
        """Its rows are acted on from the first step at or after `due` [s]."""
        self._waiting.append((due, chunk))

    def step(self) -> Seen:
        """The row that is due at the end of this step; after the last one, that one."""
        while self._waiting and self._waiting[0][0] <= self._num_steps * self._period + _EPS:
            self._chunk = self._waiting.popleft()[1]
        row = self._num_steps - round(self._chunk.stamp / self._period)
        action = self._chunk.positions[min(row, len(self._chunk.positions) - 1)]
        self._num_steps += 1
        observation, _, terminated, truncated, info = self._environment.step(action)
        return Seen(observation, bool(info["success"]), terminated or truncated)


def run_trial(robot: TrialRobot, policy: TrialPolicy, seed: int, settings: TrialSettings) -> TrialResult:
    """One episode from `robot.reset(seed)`; every plan's seed follows from `seed` and its step."""
    period = 1.0 / policy.config.horizon.step_hz
    policy.reset()
    seen, instruction = robot.reset(seed)
    history = ObservationHistory(policy.config)
    plan_ms: list[float] = []
    for step in count():
        history.add(seen.observation)
        if step % settings.replan_steps == 0:
            now = step * period
            observation = history.assemble(seen.observation, instruction, now)
            committed = robot.committed(now, observation.joint_state)
            begin = time.perf_counter()
            plan = policy.plan(observation, seed=plan_seed(seed, step), committed=committed)
            plan_ms.append(1000.0 * (time.perf_counter() - begin))
            robot.schedule(plan.chunk, now + settings.latency_steps * period)
        seen = robot.step()
        if seen.success or seen.ended or step + 1 == settings.max_steps:
            break
    engine = f"{policy.engine.name} {policy.engine.precision}"
    return TrialResult(seed, seen.success, step + 1, tuple(plan_ms), engine)


def plan_seed(episode_seed: int, step: int) -> int:
    """Seed of the plan made at `step`: the same for every condition that is compared on this episode."""
    return int(np.random.SeedSequence([episode_seed, step]).generate_state(1)[0])
