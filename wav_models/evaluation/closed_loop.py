"""Closed-loop trials: the policy moves the simulated robot in lockstep, no ROS and no clock between them.

What reaches the policy is an `Observation` built from camera images, measured joints and the instruction; nothing else
of the environment. Images are resized by the one function that training used, memory frames are sampled at the same
offsets. `latency_steps` makes a chunk take effect that many steps after the observation it was planned from, while the
previous chunk goes on, as on the robot.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from wav_models.data.images import resize_image
from wav_models.presets import ModelConfig
from wav_models.types import VIEWS, ImageArray, Observation, Plan

if TYPE_CHECKING:
    from wav_models.engines.base import Engine


class Policy(Protocol):
    """The part of `WAVPolicy` that trials use."""

    config: ModelConfig
    engine: Engine

    def plan(self, observation: Observation, *, seed: int = 0) -> Plan: ...

    def reset(self) -> None: ...


class Environment(Protocol):
    """The part of a Gymnasium environment that trials use."""

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]: ...

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]: ...


@dataclass(frozen=True)
class TrialSettings:
    """How a trial runs.

    Attributes:
        replan_steps: steps between plans.
        latency_steps: steps between an observation and the first use of its plan.
        max_steps: a trial ends without success after this many steps; None: when the environment truncates it.
    """

    replan_steps: int = 4
    latency_steps: int = 0
    max_steps: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.latency_steps <= self.replan_steps:
            raise ValueError(f"latency_steps {self.latency_steps} is not within 0..replan_steps ({self.replan_steps})")


@dataclass(frozen=True)
class TrialResult:
    """One episode: what came of it, what the plans cost, and what ran the networks."""

    seed: int
    success: bool
    steps: int
    plan_ms: tuple[float, ...]
    engine: str = ""


def image_period(config: ModelConfig, settings: TrialSettings) -> int:
    """Steps between the images that plans read; a trial is the same whatever those between them show."""
    return math.gcd(settings.replan_steps, *config.horizon.memory_offsets)


class ObservationHistory:
    """Images of the last steps, sampled at the memory offsets of the model."""

    def __init__(self, config: ModelConfig) -> None:
        self._size = config.latent.image_size
        self._offsets = config.horizon.memory_offsets
        self._frames: deque[ImageArray] = deque(maxlen=1 - min(self._offsets))

    def copy(self) -> ObservationHistory:
        """The same history, to be continued differently."""
        return copy.deepcopy(self)

    def add(self, observation: dict[str, Any]) -> None:
        """Keep one step's images."""
        self._frames.append(np.stack([resize_image(observation[view], self._size) for view in VIEWS]))

    def assemble(self, observation: dict[str, Any], instruction: str, stamp: float) -> Observation:
        """What the policy may know; before the first step the first image repeats, as in the training windows."""
        newest = len(self._frames) - 1
        images = np.stack([self._frames[max(0, newest + offset)] for offset in self._offsets], axis=1)
        return Observation(images, np.array(observation["joint_state"], dtype=np.float64), instruction, stamp)


def run_trial(environment: Environment, policy: Policy, seed: int, settings: TrialSettings) -> TrialResult:
    """One episode from `environment.reset(seed=seed)`; every plan's seed follows from `seed` and its step."""
    config = policy.config
    policy.reset()
    observation, info = environment.reset(seed=seed)
    instruction = str(info["instruction"])
    history = ObservationHistory(config)
    current: np.ndarray | None = None
    waiting: deque[tuple[int, np.ndarray]] = deque()
    started = 0
    plan_ms: list[float] = []
    hold = np.array(observation["joint_state"], dtype=np.float64)
    for step in count():
        history.add(observation)
        if step % settings.replan_steps == 0:
            begin = time.perf_counter()
            seen = history.assemble(observation, instruction, step / config.horizon.step_hz)
            plan = policy.plan(seen, seed=plan_seed(seed, step))
            plan_ms.append(1000.0 * (time.perf_counter() - begin))
            waiting.append((step, plan.chunk.positions))
        if waiting and step - waiting[0][0] >= settings.latency_steps:
            started, current = waiting.popleft()
        action = hold if current is None else current[min(step - started, len(current) - 1)]
        observation, _, terminated, truncated, info = environment.step(action)
        if bool(info["success"]) or terminated or truncated or step + 1 == settings.max_steps:
            break
    engine = f"{policy.engine.name} {policy.engine.precision}"
    return TrialResult(seed, bool(info["success"]), step + 1, tuple(plan_ms), engine)


def plan_seed(episode_seed: int, step: int) -> int:
    """Seed of the plan made at `step`: the same for every condition that is compared on this episode."""
    return int(np.random.SeedSequence([episode_seed, step]).generate_state(1)[0])
