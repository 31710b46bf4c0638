"""What every measurement is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wav_models.data.dataset import Dataset
    from wav_models.evaluation.trial_log import TrialLog
    from wav_models.experiments.held_out import Split

Files = dict[str, dict[str, Any]]
"""Data by the name of its file."""


@dataclass(frozen=True)
class ReportInputs:
    """Checkpoint, tasks, data and size of a report.

    Attributes:
        data: labelled dataset, or None.
        episodes: per task and condition.
        seed: the first one.
        dtype: number format of the networks where a policy acts or is timed.
        log: of closed-loop trials: what several figures need is run once.
        tell: is told how much of how much is measured; trials tell it themselves.
    """

    checkpoint: Path
    tasks: tuple[str, ...]
    data: Path | None
    episodes: int
    seed: int
    dtype: str
    workers: int
    log: TrialLog
    tell: Callable[[int, int], None] = lambda done, total: None

    def dataset(self) -> Dataset:
        """The dataset, where one was given; DatasetError unless it is of the checkpoint's robot."""
        from wav_models.checkpoint import load_model_config
        from wav_models.data.dataset import Dataset

        assert self.data is not None
        return Dataset(self.data, robot=load_model_config(self.checkpoint).embodiment)

    def require_simulated(self) -> None:
        """EmbodimentError unless the simulator is of the checkpoint's robot."""
        from wav_models.checkpoint import load_model_config
        from wav_policy.robot.joints import ROBOT

        load_model_config(self.checkpoint).embodiment.require(ROBOT, f"checkpoint {self.checkpoint}", "the simulator")

    def split(self, dataset: Dataset) -> Split:
        """Episodes that training held out, where the checkpoint knows this dataset; else all, with a warning."""
        from wav_models.checkpoint import load_training_record
        from wav_models.experiments.held_out import announced_split

        return announced_split(load_training_record(self.checkpoint), dataset)
