"""A policy acts in a simulated world before the operator takes over: recoveries from its own mistakes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wav_models.configuration import ConfigurationError
from wav_models.evaluation.closed_loop import BareRobot, TrialSettings, image_period, run_trial

if TYPE_CHECKING:
    from wav_models.types import FloatArray, ImageArray
    from wav_policy.policy.wav_policy import WAVPolicy
    from wav_policy.sim.world import World


@dataclass(frozen=True)
class Visitor:
    """Acts without planning, in lockstep, chunks as they are; picklable, the policy is loaded when first needed.

    Raises:
        ConfigurationError: the checkpoint's steps are not the operator's.
        EmbodimentError: it is of another robot.
    """

    checkpoint: Path

    def __post_init__(self) -> None:
        from wav_models.checkpoint import load_model_config
        from wav_models.embodiments import BIMANUAL_PIPER
        from wav_policy.sim.operator import ACTION_PERIOD

        config = load_model_config(self.checkpoint)
        config.embodiment.require(BIMANUAL_PIPER, f"checkpoint {self.checkpoint}", "the simulator")
        if config.horizon.step_hz * ACTION_PERIOD != 1.0:
            raise ConfigurationError(
                f"{self.checkpoint} acts {config.horizon.step_hz:g} times a second; demonstrations have "
                f"{1.0 / ACTION_PERIOD:g} steps"
            )

    def __call__(self, world: World, seed: int, steps: int) -> int:
        """Act in the world as it stands, until it succeeds or for so many steps; returns how many."""
        if steps == 0:
            return 0
        policy = _policy(self.checkpoint)
        settings = TrialSettings(policy.config.horizon.num_execute_steps, max_steps=steps)
        environment = _Standing(world, image_period(policy.config, settings))
        return run_trial(BareRobot(environment, policy.config.horizon.step_hz), policy, seed, settings).steps


class _Standing:
    """A world that has been laid out, as an environment; between images the last ones are repeated."""

    def __init__(self, world: World, image_period: int) -> None:
        self._world, self._period, self._step = world, image_period, 0
        self._images: dict[str, ImageArray] = {}

    def reset(self, *, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._seen(), self._info()

    def step(self, action: FloatArray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        from wav_policy.sim.operator import ACTION_PERIOD

        self._world.set_targets(action, ACTION_PERIOD)
        self._world.step(ACTION_PERIOD)
        self._step += 1
        return self._seen(), 0.0, False, False, self._info()

    def _seen(self) -> dict[str, Any]:
        if self._step % self._period == 0:
            self._images = self._world.render_all()
        return {**self._images, "joint_state": self._world.joint_positions}

    def _info(self) -> dict[str, Any]:
        return {"instruction": self._world.instruction, "success": self._world.success()}


@lru_cache(maxsize=1)
def _policy(checkpoint: Path) -> WAVPolicy:
    """Loaded once in every process."""
    import wav_models.experiments  # noqa: F401  its planners have names here
    from wav_models.checkpoint import load_planner_config
    from wav_models.experiments.conditions import named_conditions
    from wav_policy.policy.wav_policy import WAVPolicy

    planner = named_conditions(replace(load_planner_config(checkpoint), deadline=None), ("k0",))["k0"]
    return WAVPolicy.load(checkpoint, engine="torch", planner=planner, num_threads=1)
