"""Who acts in a suite: a random policy, the suite's scripted operator, or a checkpoint; all through one loop."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from wav_models.configuration import ConfigurationError
from wav_models.evaluation.closed_loop import ObservationHistory, TrialPolicy, TrialResult, plan_seed
from wav_models.planner.config import PlannerConfig
from wav_models.types import FloatArray
from wav_policy.experiments.suites.catalogue import Suite
from wav_policy.experiments.suites.environment import SuiteEnvironment, SuiteSeen

RENDER_SIZE: Final = 256
"""Of the images that published evaluations take [px]; policies resize them."""


class Player(Protocol):
    """Chooses commands; one at a time plays in one process."""

    def begin(self, environment: SuiteEnvironment, seed: int) -> None:
        """An episode has been laid out."""

    def act(self, seen: SuiteSeen) -> FloatArray:
        """The command of the next step, [A]."""

    def costs(self) -> tuple[float, ...]:
        """Duration of every plan of the episode [ms]."""


class RandomPlayer:
    """Uniform commands within the limits of the robot's actions: nothing can score less."""

    def begin(self, environment: SuiteEnvironment, seed: int) -> None:
        robot = environment.suite.robot
        self._rng = np.random.default_rng(seed)
        self._lower = np.array([channel.lower for channel in robot.actions])
        self._upper = np.array([channel.upper for channel in robot.actions])

    def act(self, seen: SuiteSeen) -> FloatArray:
        return self._rng.uniform(self._lower, self._upper)

    def costs(self) -> tuple[float, ...]:
        return ()


class OperatorPlayer:
    """The suite's scripted operator, which sees the simulator's state."""

    def begin(self, environment: SuiteEnvironment, seed: int) -> None:
        self._environment = environment
        environment.operate(seed, "skilled")

    def act(self, seen: SuiteSeen) -> FloatArray:
        return self._environment.demonstrate().action

    def costs(self) -> tuple[float, ...]:
        return ()


class CheckpointPlayer:
    """A policy in lockstep: plans every `replan_steps`, sees images at the memory offsets of its model.

    Args:
        policy: whose steps are `hold` steps of the suite.
        replan_steps: commands of a chunk that are run; None: as the model's configuration says.
        hold: steps of the suite that a command is held for.
    """

    def __init__(self, policy: TrialPolicy, replan_steps: int | None = None, hold: int = 1) -> None:
        self._policy, self._hold = policy, hold
        self._replan = replan_steps or policy.config.horizon.num_execute_steps
        self._period = int(np.gcd.reduce([self._replan, *policy.config.horizon.memory_offsets]))

    def begin(self, environment: SuiteEnvironment, seed: int) -> None:
        self._environment, self._seed = environment, seed
        self._history, self._step, self._ms = ObservationHistory(self._policy.config), 0, []
        self._held = 0
        self._policy.reset()

    def act(self, seen: SuiteSeen) -> FloatArray:
        if self._held == 0:
            self._command, self._held = self._next(seen), self._hold
        self._held -= 1
        return self._command

    def _next(self, seen: SuiteSeen) -> FloatArray:
        """The command of the model's next step; rendered only where a plan now, or one that remembers now, needs it."""
        row = self._step % self._replan
        if self._step % self._period == 0:
            self._images: dict[str, Any] = dict(self._environment.render(RENDER_SIZE))
        self._history.add(self._images)
        if row == 0:
            now = self._step / self._policy.config.horizon.step_hz
            observation = self._history.assemble(
                {**self._images, "joint_state": seen.state}, self._environment.instruction, now
            )
            began = time.perf_counter()
            plan = self._policy.plan(observation, seed=plan_seed(self._seed, self._step))
            self._ms.append(1000.0 * (time.perf_counter() - began))
            self._chunk = plan.chunk.positions
        self._step += 1
        return self._chunk[min(row, len(self._chunk) - 1)]

    def costs(self) -> tuple[float, ...]:
        return tuple(self._ms)

    _ms: list[float]


@dataclass(frozen=True)
class PlayerSpec:
    """What makes a player, in another process.

    Attributes:
        kind: "random", "operator" or "checkpoint".
        checkpoint, planner, dtype, pretrained, replan_steps: of a checkpoint.
    """

    kind: str
    checkpoint: Path | None = None
    planner: PlannerConfig = field(default_factory=PlannerConfig)
    dtype: str = "fp32"
    pretrained: Path | None = None
    replan_steps: int | None = None

    def make(self, suite: Suite) -> Player:
        """Raises EmbodimentError where the checkpoint is of another robot, ValueError where its rate does not fit."""
        if self.kind == "random":
            return RandomPlayer()
        if self.kind == "operator":
            return OperatorPlayer()
        from wav_policy.policy.wav_policy import WAVPolicy

        assert self.checkpoint is not None
        policy = WAVPolicy.load(
            self.checkpoint,
            engine="torch",
            planner=self.planner,
            num_threads=1,
            dtype=self.dtype,
            pretrained=self.pretrained,
            robot=suite.robot,
        )
        hold = suite.robot.control_rate / policy.config.horizon.step_hz
        if not hold.is_integer():
            raise ValueError(
                f"{self.checkpoint} plans at {policy.config.horizon.step_hz:g} Hz; {suite.name} runs at "
                f"{suite.robot.control_rate:g} Hz, which is no multiple of it"
            )
        return CheckpointPlayer(policy, self.replan_steps, int(hold))


def checkpoint_players(
    checkpoint: Path, suite: Suite, conditions: Sequence[str] = (), *, replan_steps: int | None = None, **options: Any
) -> dict[str, PlayerSpec]:
    """By condition of planning, which is the checkpoint's own where none is named.

    Args:
        options: of every `PlayerSpec`.

    Raises:
        EmbodimentError: the checkpoint is of another robot than the suite's: once, not in every worker.
        ConfigurationError: an unknown condition, or more commands of a chunk than there are.
    """
    import wav_models.experiments  # noqa: F401  its planners have names here
    from wav_models.checkpoint import load_model_config, load_planner_config
    from wav_models.experiments.conditions import named_conditions

    config = load_model_config(checkpoint)
    config.embodiment.require(suite.robot, f"checkpoint {checkpoint}", f"suite {suite.name}")
    if replan_steps is not None and replan_steps > config.horizon.action_horizon:
        raise ConfigurationError(
            f"--replan-steps is {replan_steps}; {checkpoint} plans {config.horizon.action_horizon} commands at a time"
        )
    base = replace(load_planner_config(checkpoint), deadline=None)
    planners = named_conditions(base, conditions) if conditions else {"planner.json": base}
    return {
        name: PlayerSpec("checkpoint", checkpoint, planner, replan_steps=replan_steps, **options)
        for name, planner in planners.items()
    }


def play(environment: SuiteEnvironment, player: Player, task: int, state: int) -> TrialResult:
    """One trial from an initial state of a task, up to the largest budget; the seed of its draws is its number."""
    suite = environment.suite
    number = trial_number(suite, task, state)
    seen = environment.reset(task, state=state, seed=number)
    player.begin(environment, number)
    steps = 0
    while not seen.success and steps < suite.max_steps:
        seen = environment.step(player.act(seen))
        steps += 1
    return TrialResult(number, seen.success, steps, player.costs())


def trial_number(suite: Suite, task: int, state: int) -> int:
    """Of a task's initial state: what trials are known by."""
    return task * suite.num_states + state
