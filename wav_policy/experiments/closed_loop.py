"""Closed-loop trials of one checkpoint in the simulator: every condition on the same seeds, in several processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from wav_models.checkpoint import checkpoint_hash
from wav_models.engines.precision import choose_dtype
from wav_models.evaluation.closed_loop import BareRobot, TrialRobot, TrialSettings, image_period
from wav_models.evaluation.trial_log import TrialLog, fingerprint
from wav_models.evaluation.trials import PolicyWorker, run_logged, summarise
from wav_policy.experiments.robot_stack import RobotStack, StackConfig

if TYPE_CHECKING:
    from wav_models.planner.config import PlannerConfig
    from wav_policy.policy.wav_policy import WAVPolicy


TRIALS_VERSION: Final = 3
"""To be raised with every change of planner, policy, stack or simulator that changes what becomes of a trial: those of
an earlier version are not resumed."""


@dataclass(frozen=True)
class SimTrials:
    """What to run, but for the planners.

    Attributes:
        checkpoint: directory.
        tasks: of the simulator.
        seeds: of the episodes, for every task and planner.
        split: "train" or "held_out" layouts.
        phrasing: "train" or "held_out" instructions.
        instruction_of: the task whose instructions are given in the scenes of all, or None: their own.
        settings: how an episode is run.
        stack: of the robot, which carries out the chunks; None: their rows are the actions as they are.
        engine, dtype: what runs the networks, and in which number format.
        workers: processes, one torch thread each.
        scheduler: of dask, whose workers do the trials instead, see `worker_pool`.
        pretrained: local LTX-Video directory, for checkpoints that use its auto-encoder and T5.
    """

    checkpoint: Path
    tasks: tuple[str, ...]
    seeds: range
    split: str = "train"
    phrasing: str = "train"
    instruction_of: str | None = None
    settings: TrialSettings = field(default_factory=TrialSettings)
    stack: StackConfig | None = field(default_factory=StackConfig)
    engine: str = "torch"
    dtype: str = "fp32"
    workers: int = 2
    scheduler: str | None = None
    pretrained: Path | None = None

    def run(self, planners: Mapping[str, PlannerConfig], log: TrialLog) -> dict[str, Any]:
        """Summary per task of all planners; what the log has of them is not run again."""
        policies = {name: partial(_make_policy, self, planner) for name, planner in planners.items()}
        return {
            task: summarise(
                run_logged(
                    partial(PolicyWorker, partial(_make_robot, self, task), policies, self.settings),
                    self._fingerprints(task, planners),
                    self.seeds,
                    log,
                    task,
                    num_workers=self.workers,
                    scheduler=self.scheduler,
                )
            )
            for task in self.tasks
        }

    def _fingerprints(self, task: str, planners: Mapping[str, PlannerConfig]) -> dict[str, str]:
        """Per planner, what decides the outcome of a trial beside its seed."""
        common = {
            "version": TRIALS_VERSION,
            "checkpoint": checkpoint_hash(self.checkpoint),
            "task": task,
            "settings": asdict(self.settings),
            "stack": None if self.stack is None else asdict(self.stack),
            **{name: getattr(self, name) for name in ("split", "phrasing", "instruction_of", "engine")},
            "dtype": self._number_format(),
        }
        if self.pretrained is not None:
            common["pretrained"] = str(self.pretrained.resolve())
        return {name: fingerprint({**common, "planner": asdict(planner)}) for name, planner in planners.items()}

    def _number_format(self) -> str:
        """What torch makes of "auto" on this machine; for other engines the trials say what they ran on."""
        import torch

        if self.engine != "torch":
            return self.dtype
        return choose_dtype(self.dtype, "cuda" if torch.cuda.is_available() else "cpu")


def _make_robot(trials: SimTrials, task: str) -> TrialRobot:
    import gymnasium

    from wav_models.checkpoint import load_model_config
    from wav_policy.sim import ENVIRONMENTS

    name = next(name for name, its_task in ENVIRONMENTS.items() if its_task == task)
    config = load_model_config(trials.checkpoint)
    options: dict[str, Any] = {
        "split": trials.split,
        "phrasing": trials.phrasing,
        "image_period": image_period(config, trials.settings),
    }
    environment: Any = gymnasium.make(name, disable_env_checker=True, **options)
    if trials.instruction_of is not None:
        from wav_policy.sim.instructed import InstructedEnv

        environment = InstructedEnv(environment, trials.instruction_of, trials.phrasing)
    if trials.stack is None:
        return BareRobot(environment, config.horizon.step_hz)
    return RobotStack(environment, config.horizon, trials.stack)


def _make_policy(trials: SimTrials, planner: PlannerConfig) -> WAVPolicy:
    from wav_policy.policy.wav_policy import WAVPolicy

    return WAVPolicy.load(
        trials.checkpoint,
        engine=trials.engine,
        planner=planner,
        num_threads=1,
        dtype=trials.dtype,
        pretrained=trials.pretrained,
    )
